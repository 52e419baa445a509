# cython: language_level=3
from libc.stdint cimport int32_t, int64_t, uint8_t

from ._network cimport Dag
from ._types cimport fk_dag, fk_fault, fk_slot, fk_step_leaves, fk_tile_leaves

# How far a pass goes.
cdef enum:
    FORWARD = 0
    OUTPUT = 1
    BACKWARD = 2
    STATISTICS = 3

cdef struct PassView:
    const fk_dag* dag
    const fk_tile_leaves* leaves
    const fk_step_leaves* step
    int itemsize, stage, signals, statistics, interpretation, rows, first
    const void* theta
    void* weights_out
    const void* inputs           # (n, n_inputs)
    const void* targets          # (n, n_outputs), or NULL
    const int64_t* classes       # (n,), or NULL
    const int64_t* samples       # rows to visit, or NULL for 0, 1, ...
    int64_t n_samples, n_tiles
    int n_slots
    void** thread_rows           # per thread: activities, signals, direct, targets, unreduced
    int64_t[5] row_offset
    double* sample_loss          # (n_samples,), or NULL
    double* slot_loss
    fk_fault* slot_fault
    fk_slot* slots
    int64_t slot_stride, block_stride, unit_stride
    const void* shift
    bint with_ranges
    void* out_activities
    void* out_outputs
    void* out_modulus            # reduced moduli
    void* out_sums               # their sums over the outgoing edges
    void* out_output_metric      # Omega_oo

cdef class Pass:
    """Buffers of a pass over a batch: tiles per thread, accumulation slots per problem."""
    cdef PassView view
    cdef readonly int n_threads
    cdef readonly Dag dag
    cdef readonly object dtype
    cdef object _keep, _theta_keep, _shift_keep
    cdef list _memory
    cdef void* allocate(self, int64_t n_bytes) except NULL

cdef void run_slots(PassView* view, int thread, int n_threads) noexcept nogil
cdef void gather_weights(PassView* view, int thread, int n_threads) noexcept nogil
cdef double total_loss(PassView* view) noexcept nogil
cdef void share(int64_t n, int thread, int n_threads, int64_t* first, int64_t* last) noexcept nogil
