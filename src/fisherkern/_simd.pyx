# cython: language_level=3
"""The choice of leaf loops, made once at import; the only module that links simd/.

The best instruction set that the machine runs, or the one that FISHERKERN_ISA names.
"""
import os

from ._openmp cimport FK_OPENMP
from ._types cimport (
    fk_available_isa, fk_choose_isa, fk_isa, fk_step_select, fk_tile_select,
)

cdef const fk_tile_leaves* tile_leaves(bint is_double, int tile) noexcept nogil:
    return fk_tile_select(is_double, tile)


cdef const fk_step_leaves* step_leaves(bint is_double) noexcept nogil:
    return fk_step_select(is_double)


def available_isas():
    """Names of the instruction sets that this machine runs, the best first."""
    names = []
    while fk_available_isa(<int>len(names)) != NULL:
        names.append(fk_available_isa(<int>len(names)).decode())
    return names


def _choose():
    known = available_isas()
    wanted = os.environ.get("FISHERKERN_ISA") or known[0]
    if not fk_choose_isa(wanted.encode()):
        raise ImportError(f"FISHERKERN_ISA={wanted!r}: this machine runs {', '.join(known)}")


def build_info():
    """The instruction set of the leaf loops, and whether they were built with OpenMP."""
    return {"isa": fk_isa().decode(), "openmp": bool(FK_OPENMP)}


_choose()
