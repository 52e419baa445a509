# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One tile of samples through its stages, by one thread or by several that share its rows.

Threads that share a tile take parts of each level and meet behind it. A parameter's sums are then
one thread's work, in the order of the tiles, and do not depend on the number of threads.
"""
from libc.stdint cimport int32_t, int64_t

from ._openmp cimport fk_barrier
from ._transfer cimport run_transfer
from ._types cimport FK_BERNOULLI, FK_NO_METRIC, FK_RATES, fk_fault, fk_moments
from ._view cimport (
    FORWARD, OUTPUT, ROWS_ACTIVITIES, ROWS_DIRECT, ROWS_SIGNALS, ROWS_SUMS, ROWS_TARGETS,
    STATISTICS, PassView, place,
)


cdef void share(int64_t n, int thread, int n_threads, int64_t* first, int64_t* last) noexcept nogil:
    """The thread's part of range(n)."""
    first[0] = n * thread // n_threads
    last[0] = n * (thread + 1) // n_threads


cdef struct Tile:
    PassView* v
    char* rows
    int n_rows                   # signal rows per unit
    int slot, n                  # accumulators; samples
    int64_t first                # sample of the batch
    int thread, n_threads        # of those that share the tile
    bint is_first                # of its slot
    bint add, in_metric          # to what the accumulators hold; to those of the metric


cdef void run_tile(PassView* v, char* rows, int slot, int64_t tile, int thread,
                   int n_threads) noexcept nogil:
    cdef Tile t
    t.v, t.rows, t.slot, t.thread, t.n_threads = v, rows, slot, thread, n_threads
    t.first = tile * v.leaves.tile
    t.n = <int>min(v.n_samples - t.first, <int64_t>v.leaves.tile)
    t.is_first, t.in_metric = tile < v.n_slots, tile < v.metric_tiles
    t.add = v.adds or not t.is_first
    t.n_rows = v.rows if t.in_metric else 1
    load(&t)
    forward(&t)
    if thread == 0 and v.out_activities != NULL:
        store(&t, ROWS_ACTIVITIES, 0, 1, v.dag.position, v.dag.n_units, v.out_activities)
    if thread == 0 and v.out_outputs != NULL:
        store(&t, ROWS_ACTIVITIES, 0, 1, v.dag.outputs, v.dag.n_outputs, v.out_outputs)
    if v.with_ranges:
        ranges(&t)
    if v.stage == FORWARD:
        return
    if thread == 0:
        run_output(&t)
    if v.stage == OUTPUT:
        return
    if thread == 0 and v.n_directions and t.in_metric:
        note_fault(&t, run_transfer(v, rows, slot, t.first, t.n, t.add))
    if v.signals == FK_RATES:
        return
    fk_barrier(n_threads)
    backward(&t)
    if thread == 0 and v.out_modulus != NULL:
        store(&t, ROWS_SIGNALS, 1, 2, v.dag.position, v.dag.n_units, v.out_modulus)
    if thread == 0 and v.out_sums != NULL:
        store(&t, ROWS_SUMS, 0, 1, v.dag.position, v.dag.n_units, v.out_sums)
    if v.stage == STATISTICS and not v.by_source:
        statistics(&t)


cdef void level_part(Tile* t, int32_t level, int32_t* first, int32_t* last) noexcept nogil:
    """The thread's positions of a level."""
    cdef const int32_t* starts = t.v.dag.level_starts
    cdef int64_t a, b
    share(starts[level + 1] - starts[level], t.thread, t.n_threads, &a, &b)
    first[0] = <int32_t>(starts[level] + a)
    last[0] = <int32_t>(starts[level] + b)


cdef void load(Tile* t) noexcept nogil:
    """The thread's inputs."""
    cdef PassView* v = t.v
    cdef int32_t a, b
    level_part(t, 0, &a, &b)
    v.leaves.load(<const char*>v.inputs + <int64_t>a * v.itemsize, v.dag.n_inputs, b - a, v.samples,
                  t.first, t.n, <char*>place(v, t.rows, ROWS_ACTIVITIES)
                  + <int64_t>a * v.leaves.tile * v.itemsize)
    fk_barrier(t.n_threads)


cdef void store(Tile* t, int which, int row, int stride, const int32_t* positions, int64_t width,
                void* out) noexcept nogil:
    cdef PassView* v = t.v
    v.leaves.store(<char*>place(v, t.rows, which) + row * v.leaves.tile * v.itemsize, stride,
                   positions, width, t.first, t.n, out)


cdef void forward(Tile* t) noexcept nogil:
    cdef PassView* v = t.v
    cdef bint only_losses = v.interpretation == FK_BERNOULLI and v.stage != FORWARD \
        and v.out_activities == NULL and v.out_outputs == NULL
    cdef int32_t level, a, b
    for level in range(1, v.dag.n_levels):
        level_part(t, level, &a, &b)
        v.leaves.forward(v.dag, a, b, v.theta, place(v, t.rows, ROWS_ACTIVITIES),
                         place(v, t.rows, ROWS_SIGNALS), t.n_rows, only_losses)
        fk_barrier(t.n_threads)


cdef void ranges(Tile* t) noexcept nogil:
    cdef PassView* v = t.v
    cdef int64_t a, b
    share(v.dag.n_units, t.thread, t.n_threads, &a, &b)
    v.leaves.ranges(<int32_t>a, <int32_t>b, not t.is_first, place(v, t.rows, ROWS_ACTIVITIES),
                    v.slots[t.slot].low, v.slots[t.slot].high)


cdef void note_fault(Tile* t, fk_fault fault) noexcept nogil:
    """Keeps the first fault of a slot."""
    if fault.sample >= 0 and t.v.slot_fault[t.slot].sample < 0:
        t.v.slot_fault[t.slot] = fk_fault(t.first + fault.sample, fault.output)


cdef void run_output(Tile* t) noexcept nogil:
    """Losses and direct terms; without targets the losses mean nothing."""
    cdef PassView* v = t.v
    cdef double[64] losses
    cdef void* targets = place(v, t.rows, ROWS_TARGETS)
    cdef fk_fault fault
    cdef int i
    if v.targets != NULL:
        v.leaves.load(v.targets, v.dag.n_outputs, v.dag.n_outputs, v.samples, t.first, t.n, targets)
    elif v.classes != NULL:
        v.leaves.load_classes(v.classes, 1, v.dag.n_outputs, v.samples, t.first, t.n, targets)
    fault = v.leaves.output(v.dag, v.interpretation, t.n, v.out_output_metric == NULL,
                            place(v, t.rows, ROWS_ACTIVITIES), place(v, t.rows, ROWS_SIGNALS),
                            t.n_rows, targets, place(v, t.rows, ROWS_DIRECT), losses)
    if v.out_output_metric != NULL:
        store(t, ROWS_DIRECT, 1, 2, NULL, v.dag.n_outputs, v.out_output_metric)
    if v.targets != NULL or v.classes != NULL:
        note_fault(t, fault)
    for i in range(t.n):
        v.slot_loss[t.slot] += losses[i]
        if v.sample_loss != NULL:
            v.sample_loss[t.first + i] = losses[i]


cdef void backward(Tile* t) noexcept nogil:
    cdef PassView* v = t.v
    cdef int32_t level = v.dag.n_levels - 1, a, b
    while level >= (1 if v.first and not v.by_source else 0):
        level_part(t, level, &a, &b)
        backward_units(t, a, b)
        fk_barrier(t.n_threads)
        level -= 1


cdef void backward_units(Tile* t, int32_t first, int32_t last) noexcept nogil:
    """Positions [first, last), gathering the weights that they need where those of the network are
    not there in this order."""
    cdef PassView* v = t.v
    cdef const int64_t* start = v.dag.out_start
    cdef char* weights = <char*>v.weights_out
    cdef void* sums = place(v, t.rows, ROWS_SUMS) if v.out_sums != NULL else NULL
    cdef int32_t middle
    cdef fk_moments moments
    moments.kind, moments.add = v.statistics if t.in_metric else FK_NO_METRIC, t.add
    moments.shift, moments.slot = v.shift, &v.slots[t.slot]
    if v.weights_part:
        weights += t.thread * v.weights_part * v.itemsize
    while last > first:
        middle = first
        if v.weights_part:
            middle = last - 1
            while middle > first and start[middle - 1] - start[last] <= v.weights_part:
                middle -= 1
            v.step.gather_weights(v.dag, start[last], start[middle], v.theta, weights)
        v.leaves.backward(v.dag, v.signals, t.n_rows, middle, last,
                          weights if v.weights_part else weights + start[last] * v.itemsize,
                          place(v, t.rows, ROWS_ACTIVITIES), place(v, t.rows, ROWS_DIRECT),
                          place(v, t.rows, ROWS_SIGNALS), sums, &moments if v.by_source else NULL)
        last = middle


cdef void statistics(Tile* t) noexcept nogil:
    cdef PassView* v = t.v
    cdef int64_t first, last
    cdef int32_t level, a, b
    if v.shift != NULL:
        share(v.dag.n_units, t.thread, t.n_threads, &first, &last)
        v.leaves.centre(<int32_t>first, <int32_t>last, v.shift, place(v, t.rows, ROWS_ACTIVITIES))
        fk_barrier(t.n_threads)
    for level in range(1, v.dag.n_levels):
        level_part(t, level, &a, &b)
        v.leaves.statistics(v.dag, a, b, v.statistics if t.in_metric else FK_NO_METRIC, t.n_rows,
                            t.add, place(v, t.rows, ROWS_ACTIVITIES),
                            place(v, t.rows, ROWS_SIGNALS),
                            &v.slots[t.slot])
