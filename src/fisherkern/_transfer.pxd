# cython: language_level=3
from libc.stdint cimport int64_t

from ._types cimport fk_fault
from ._view cimport PassView

cdef fk_fault run_transfer(PassView* view, char* rows, int slot, int64_t first, int n,
                           bint add) noexcept nogil
