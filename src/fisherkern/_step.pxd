# cython: language_level=3
from libc.stdint cimport int32_t, int64_t

from ._types cimport fk_dag, fk_solve, fk_step_leaves

cdef struct StepView:
    const fk_dag* dag
    const fk_step_leaves* leaves
    fk_solve solve
    int reduction      # fk_statistics
    bint root          # diagonal: divide by the root (AdaGrad)
    bint is_double
    const void* gradient
    const void* diagonal
    const void* cross
    const void* blocks
    const double* full  # upper triangle by rows, or NULL
    void* direction
    double* decrement   # (n_units,) direction . G, or NULL; filled by the quasi-diagonal solve
    int64_t work_size  # largest block
    const int32_t* order        # unitwise: the units by size, or NULL
    const int64_t* order_starts

cdef int64_t work_bytes(StepView* view) noexcept nogil
cdef bint solve_units(StepView* view, int32_t first, int32_t last, void* work) noexcept nogil
cdef int32_t unit_share(StepView* view, int thread, int n_threads) noexcept nogil
