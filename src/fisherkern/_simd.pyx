# cython: language_level=3
"""The choice of leaf loops; the only module that links simd/."""
from ._openmp cimport FK_OPENMP
from ._types cimport fk_isa, fk_step_select, fk_tile_select

cdef const fk_tile_leaves* tile_leaves(bint is_double, int tile) noexcept nogil:
    return fk_tile_select(is_double, tile)


cdef const fk_step_leaves* step_leaves(bint is_double) noexcept nogil:
    return fk_step_select(is_double)


def build_info():
    """The instruction set of the leaf loops, and whether they were built with OpenMP."""
    return {"isa": fk_isa().decode(), "openmp": bool(FK_OPENMP)}
