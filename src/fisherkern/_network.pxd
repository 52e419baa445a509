# cython: language_level=3
from ._types cimport fk_dag

cdef class Dag:
    """A checked DAG in the order of the kernels; owns the arrays that `view` points into."""
    cdef fk_dag view
    cdef readonly object indptr, position, level_starts, out_start, out_target
    cdef readonly object source, block, fan_in, outputs
    cdef readonly int widest_level
    cdef object _keep, _packed, _places
