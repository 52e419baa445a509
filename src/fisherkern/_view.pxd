# cython: language_level=3
"""What a pass over a batch reads and writes, as its kernels see it."""
from libc.stdint cimport int32_t, int64_t

from ._types cimport fk_dag, fk_fault, fk_slot, fk_step_leaves, fk_tile_leaves

# How far a pass goes.
cdef enum:
    FORWARD = 0
    OUTPUT = 1
    BACKWARD = 2
    STATISTICS = 3

# A thread's working memory, one tile at a time; in rows per unit or output, if not said otherwise.
cdef enum:
    ROWS_ACTIVITIES = 0
    ROWS_SIGNALS            # one or two per unit
    ROWS_DIRECT             # two per output
    ROWS_TARGETS
    ROWS_SUMS               # unreduced moduli
    # of the transfer pass:
    ROWS_ROOTS              # three per output
    ROWS_START              # a group per output
    ROWS_RATES              # a group per unit
    ROWS_UNREDUCED_DIRECT
    ROWS_UNREDUCED_ROOTS
    ROWS_UNREDUCED_START
    ROWS_UNREDUCED_RATES
    ROWS_DRAWN              # two per output: direct terms of one drawn target
    ROWS_RANDOM
    ROWS_LIVE               # a byte per unit
    ROWS_FACTOR             # a group of doubles per parameter
    N_ROWS

cdef struct PassView:
    const fk_dag* dag
    const fk_tile_leaves* leaves
    const fk_step_leaves* step
    int itemsize, stage, signals, statistics, interpretation, rows, first
    int n_directions, group
    const void* theta
    void* weights_out            # by outgoing edges; or a part of them for each thread
    int64_t weights_part         # edges of a part, or 0
    const void* inputs           # (n, n_inputs)
    const void* targets          # (n, n_outputs), or NULL
    const int64_t* classes       # (n,), or NULL
    const int64_t* samples       # rows to visit, or NULL for 0, 1, ...
    const void* draws            # (n_samples, n_directions, n_outputs) targets or random numbers,
                                 # or (n_samples, n_directions) uniform numbers; or NULL
    const int64_t* drawn_classes # (n_samples, n_directions), or NULL
    bint draws_are_random
    int64_t n_samples, n_tiles
    int64_t metric_tiles         # the first ones alone add to the metric
    int n_slots
    bint shared                  # the threads share each tile, and its rows
    bint adds                    # the accumulators were made ready: the first tiles add, too
    void** thread_rows
    int64_t[<int>N_ROWS] row_offset
    double* sample_loss          # (n_samples,), or NULL
    double* slot_loss
    fk_fault* slot_fault
    fk_slot* slots
    bint by_source               # the slots are in the order of the outgoing edges
    const int32_t* places        # by_source: of each parameter in that order
    void* means[3]               # gradient, diagonal, cross in theta's order, summed over slots
    int64_t slot_stride, block_stride, unit_stride
    const void* shift
    bint with_ranges
    void* out_activities
    void* out_outputs
    void* out_modulus            # reduced moduli
    void* out_sums               # their sums over the outgoing edges, or unreduced moduli
    void* out_output_metric      # Omega_oo
    void* out_rates              # (n_outputs, n_samples, n_units) transfer rates


cdef inline void* place(PassView* v, char* rows, int which) noexcept nogil:
    """Where a thread's working memory holds what one of the ROWS names."""
    return rows + v.row_offset[which]
