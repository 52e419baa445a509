# cython: language_level=3
from ._types cimport fk_step_leaves, fk_tile_leaves

cdef const fk_tile_leaves* tile_leaves(bint is_double, int tile) noexcept nogil
cdef const fk_step_leaves* step_leaves(bint is_double) noexcept nogil
