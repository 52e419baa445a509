# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Backward passes in many directions: transfer rates, Fisher modulus, Monte Carlo metric, and the
factor of full matrices [O Def. 2, Def. 3, Prop. 27].

The directions of a tile are taken in groups, each a dense linear pass; a faster form has only to
leave the same sums in the signals' second rows.
"""
from libc.math cimport sqrt
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from scipy.linalg.cython_blas cimport dsyrk

from ._types cimport (
    FK_BERNOULLI, FK_FULL, FK_RATES, FK_SQUARE, FK_VALUES_DRAWS, FK_VALUES_SQUARES, fk_fault,
)
from ._view cimport (
    ROWS_ACTIVITIES, ROWS_DIRECT, ROWS_DRAWN, ROWS_FACTOR, ROWS_LIVE, ROWS_RANDOM, ROWS_RATES,
    ROWS_ROOTS, ROWS_SIGNALS, ROWS_START, ROWS_SUMS, ROWS_TARGETS, ROWS_UNREDUCED_DIRECT,
    ROWS_UNREDUCED_RATES, ROWS_UNREDUCED_ROOTS, ROWS_UNREDUCED_START, PassView, place,
)


cdef fk_fault run_transfer(PassView* v, char* rows, int slot, int64_t first, int n,
                           bint add) noexcept nogil:
    """All directions of one tile, between its output layer and its backward pass, which overwrites
    what the forward pass kept. Returns the first fault of a drawn target."""
    cdef bint unreduced = v.out_sums != NULL or v.out_rates != NULL
    cdef int64_t row = v.leaves.tile * v.itemsize
    cdef fk_fault fault = fk_fault(-1, -1), found
    cdef int e = 0, count
    cdef int64_t p
    cdef void* squares = NULL
    if v.signals != FK_RATES:
        squares = <char*>place(v, rows, ROWS_SIGNALS) + row
        for p in range(v.dag.n_units):
            memset(<char*>place(v, rows, ROWS_SIGNALS) + (2 * p + 1) * row, 0, row)
    if v.out_sums != NULL:
        memset(place(v, rows, ROWS_SUMS), 0, v.dag.n_units * row)
    find_roots(v, rows, n, unreduced)
    while e < v.n_directions:
        count = min(v.group, v.n_directions - e)
        found = start_group(v, rows, first, n, e, count, unreduced)
        if found.sample >= 0 and fault.sample < 0:
            fault = found
        v.leaves.transfer(
            v.dag, v.group, v.first, v.weights_out, place(v, rows, ROWS_ACTIVITIES),
            place(v, rows, ROWS_SIGNALS), v.rows, place(v, rows, ROWS_START),
            place(v, rows, ROWS_UNREDUCED_START), <uint8_t*>place(v, rows, ROWS_LIVE),
            place(v, rows, ROWS_RATES), place(v, rows, ROWS_UNREDUCED_RATES) if unreduced else NULL,
            squares)
        use_group(v, rows, slot, first, n, e, count, add)
        e += count
    return fault


cdef void find_roots(PassView* v, char* rows, int n, bint unreduced) noexcept nogil:
    """The square roots of the outputs' Fisher metric, or what stands in their place."""
    cdef void* activities = place(v, rows, ROWS_ACTIVITIES)
    cdef void* signals = place(v, rows, ROWS_SIGNALS)
    cdef double[64] losses
    if v.signals == FK_VALUES_DRAWS or v.signals == FK_VALUES_SQUARES:
        return
    if v.signals == FK_RATES:
        v.leaves.identity_roots(v.dag, n, True, activities, signals, v.rows,
                                place(v, rows, ROWS_ROOTS))
        v.leaves.identity_roots(v.dag, n, False, activities, signals, v.rows,
                                place(v, rows, ROWS_UNREDUCED_ROOTS))
        return
    v.leaves.roots(v.dag, v.interpretation, n, True, activities, signals, v.rows,
                   place(v, rows, ROWS_DIRECT), place(v, rows, ROWS_ROOTS))
    if unreduced:
        v.leaves.output(v.dag, v.interpretation, n, False, activities, signals, v.rows,
                        place(v, rows, ROWS_TARGETS), place(v, rows, ROWS_UNREDUCED_DIRECT), losses)
        v.leaves.roots(v.dag, v.interpretation, n, False, activities, signals, v.rows,
                       place(v, rows, ROWS_UNREDUCED_DIRECT), place(v, rows, ROWS_UNREDUCED_ROOTS))


cdef fk_fault start_group(PassView* v, char* rows, int64_t first, int n, int e, int count,
                          bint unreduced) noexcept nogil:
    """Starts of the directions [e, e + count) at the outputs."""
    cdef void* start = place(v, rows, ROWS_START)
    cdef uint8_t* live = <uint8_t*>place(v, rows, ROWS_LIVE)
    cdef bint separate = v.signals == FK_RATES or v.interpretation == FK_SQUARE \
        or v.interpretation == FK_BERNOULLI
    cdef fk_fault fault = fk_fault(-1, -1), found
    cdef int c
    if v.signals == FK_VALUES_SQUARES:
        v.leaves.value_column(v.dag, v.group, 0, 1.0, place(v, rows, ROWS_DIRECT), start, live)
    elif v.signals == FK_VALUES_DRAWS:
        memset(start, 0, <int64_t>v.dag.n_outputs * v.group * v.leaves.tile * v.itemsize)
        for c in range(count):
            found = start_draw(v, rows, first, n, e + c)
            if found.sample >= 0 and fault.sample < 0:
                fault = found
            v.leaves.value_column(v.dag, v.group, c, 1 / sqrt(<double>v.n_directions),
                                  place(v, rows, ROWS_DRAWN), start, live)
    else:
        v.leaves.root_columns(v.dag, separate, v.group, e, count, place(v, rows, ROWS_ROOTS),
                              start, live)
        if unreduced:
            v.leaves.root_columns(v.dag, separate, v.group, e, count,
                                  place(v, rows, ROWS_UNREDUCED_ROOTS),
                                  place(v, rows, ROWS_UNREDUCED_START), live)
    return fault


cdef fk_fault start_draw(PassView* v, char* rows, int64_t first, int n, int e) noexcept nogil:
    """Direct terms of the e-th draw's targets."""
    cdef void* activities = place(v, rows, ROWS_ACTIVITIES)
    cdef void* signals = place(v, rows, ROWS_SIGNALS)
    cdef void* targets = place(v, rows, ROWS_RANDOM if v.draws_are_random else ROWS_TARGETS)
    cdef bint separate = v.interpretation == FK_SQUARE or v.interpretation == FK_BERNOULLI
    cdef int64_t width = v.dag.n_outputs if separate or not v.draws_are_random else 1
    cdef const char* draws = <const char*>v.draws
    cdef double[64] losses
    if v.drawn_classes != NULL:
        v.leaves.load_classes(v.drawn_classes + e, v.n_directions, v.dag.n_outputs, NULL, first, n,
                              targets)
    else:
        v.leaves.load(draws + e * width * v.itemsize, v.n_directions * width, width, NULL, first,
                      n, targets)
    if v.draws_are_random:
        v.leaves.draw(v.dag, v.interpretation, n, activities, signals, v.rows, targets,
                      place(v, rows, ROWS_TARGETS))
    return v.leaves.output(v.dag, v.interpretation, n, True, activities, signals, v.rows,
                           place(v, rows, ROWS_TARGETS), place(v, rows, ROWS_DRAWN), losses)


cdef void use_group(PassView* v, char* rows, int slot, int64_t first, int n, int e, int count,
                    bint add) noexcept nogil:
    """What the rates of a group contribute to."""
    cdef const uint8_t* live = <const uint8_t*>place(v, rows, ROWS_LIVE)
    cdef char* unreduced = <char*>place(v, rows, ROWS_UNREDUCED_RATES)
    cdef int64_t row = v.leaves.tile * v.itemsize
    cdef int c
    if v.signals == FK_RATES:
        for c in range(count):
            v.leaves.store(unreduced + c * row, v.group, v.dag.position, v.dag.n_units, first, n,
                           <char*>v.out_rates
                           + (e + c) * v.n_samples * v.dag.n_units * v.itemsize)
        return
    if v.out_sums != NULL:
        v.leaves.add_squares(v.dag, v.group, live, unreduced, place(v, rows, ROWS_SUMS))
    if v.statistics == FK_FULL:
        add_product(v, rows, slot, add or e > 0)


cdef void add_product(PassView* v, char* rows, int slot, bint add) noexcept nogil:
    """Adds the products of the group's parameter rates to the full matrix; O(P^2 group tile)."""
    cdef double* factor = <double*>place(v, rows, ROWS_FACTOR)
    cdef char lower = b"L", transposed = b"T"
    cdef int n = <int>v.dag.n_parameters, k = v.group * v.leaves.tile
    cdef double one = 1, keep = 1 if add else 0
    v.leaves.parameter_rates(v.dag, v.group, <const uint8_t*>place(v, rows, ROWS_LIVE),
                             place(v, rows, ROWS_ACTIVITIES), place(v, rows, ROWS_RATES), factor)
    # the lower triangle by columns is the upper one by rows
    dsyrk(&lower, &transposed, &n, &k, &one, factor, &k, &keep, v.slots[slot].full, &n)
