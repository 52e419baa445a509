# cython: language_level=3
from libc.stdint cimport int64_t

from ._network cimport Dag
from ._view cimport PassView

cdef class Pass:
    """Buffers of a pass over a batch: tiles per thread, accumulation slots per problem."""
    cdef PassView view
    cdef readonly int n_threads
    cdef readonly Dag dag
    cdef readonly object dtype
    cdef object _keep, _theta_keep, _shift_keep, _draws_keep
    cdef list _memory
    cdef void* allocate(self, int64_t n_bytes) except NULL

cdef void run_slots(PassView* view, int thread, int n_threads) noexcept nogil
cdef void gather_weights(PassView* view, int thread, int n_threads) noexcept nogil
cdef double total_loss(PassView* view) noexcept nogil
