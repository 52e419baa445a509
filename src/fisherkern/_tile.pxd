# cython: language_level=3
from libc.stdint cimport int64_t

from ._view cimport PassView

cdef void run_tile(PassView* view, char* rows, int slot, int64_t tile, int thread,
                   int n_threads) noexcept nogil
cdef void share(int64_t n, int thread, int n_threads, int64_t* first, int64_t* last) noexcept nogil
