# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One pass over a batch: each tile runs forward, output layer, backward and statistics.

A thread owns whole accumulation slots, and a slot owns every n_slots-th tile; in the largest
networks, all threads share the only slot and each of its tiles. The number of slots and the tile
width depend on the problem alone, so sums do not depend on the number of threads.
"""
from collections import namedtuple

import numpy as np

cimport cython
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from ._network cimport Dag
from ._openmp cimport fk_barrier, fk_parallel
from ._simd cimport step_leaves, tile_leaves
from ._tile cimport run_tile, share
from ._types cimport (
    FK_BERNOULLI, FK_DIAGONAL, FK_FULL, FK_GROUP, FK_MAX_LANES, FK_NO_METRIC, FK_QUASI_DIAGONAL,
    FK_RATES, FK_SOFTMAX, FK_SPHERICAL, FK_UNITWISE, FK_VALUES, FK_VALUES_DRAWS, FK_VALUES_FISHER,
    FK_VALUES_MODULUS, FK_VALUES_SQUARES, fk_fault, fk_slot,
)
from ._view cimport (
    BACKWARD, FORWARD, N_ROWS, OUTPUT, ROWS_ACTIVITIES, ROWS_DIRECT, ROWS_DRAWN, ROWS_FACTOR,
    ROWS_LIVE, ROWS_RANDOM, ROWS_RATES, ROWS_ROOTS, ROWS_SIGNALS, ROWS_START, ROWS_SUMS,
    ROWS_TARGETS, ROWS_UNREDUCED_DIRECT, ROWS_UNREDUCED_RATES, ROWS_UNREDUCED_ROOTS,
    ROWS_UNREDUCED_START, STATISTICS,
)

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    /* Large memory lies in large pages where the system has them: rows are read at random, and each
     * read of a small page would first have to find it. */
    static int fk_allocate(void **memory, size_t size)
    {
        const size_t page = (size_t)1 << 21;
        if (posix_memalign(memory, size < 2 * page ? 64 : page, size)) return 0;
    #ifdef MADV_HUGEPAGE
        if (size >= 2 * page) madvise(*memory, size, MADV_HUGEPAGE);
    #endif
        return 1;
    }
    """
    bint fk_allocate(void** memory, size_t size) nogil

cdef enum:
    MAX_SLOTS = 16              # accumulators of small networks
    WEIGHTS_PART = 1 << 14      # edges whose weights a thread gathers at a time in shared tiles
    TILE_BUDGET = 1 << 20       # bytes of one level's rows that should stay in the L2 cache
    SHARED_ROW = 128            # bytes of the shortest row that sharing among threads makes
    FLOPS_PER_THREAD = 200_000  # a step below this is faster on one thread

# bytes of accumulators that as many slots as may be, but at least two, stay within; where three
# numbers per parameter exceed it, the threads share the tiles
SLOT_BUDGET = 32 << 20
# bytes of a tile's rows above which sums are taken in the backward pass, by sources: the rows would
# have to come from afar again; and of one row at least, as three sums for each end over its lanes.
# The gradient alone is worth it from fewer rows on, if its sums change their order once for several
# tiles: those of all of them count, of so many at most
SOURCE_ROWS = 2 << 20
SOURCE_ROW = 128
SOURCE_TILES = 4
# edges per level that are worth two meetings of the threads
LEVEL_WORK = 1 << 14

STAGES = {"forward": FORWARD, "output": OUTPUT, "backward": BACKWARD, "statistics": STATISTICS}
SIGNALS = {"values": FK_VALUES, "values_modulus": FK_VALUES_MODULUS,
           "values_squares": FK_VALUES_SQUARES, "values_fisher": FK_VALUES_FISHER,
           "values_draws": FK_VALUES_DRAWS, "transfer_rates": FK_RATES}
REDUCTIONS = {"none": FK_NO_METRIC, "diagonal": FK_DIAGONAL, "quasi_diagonal": FK_QUASI_DIAGONAL,
              "unitwise": FK_UNITWISE, "full": FK_FULL}

Sums = namedtuple("Sums", "gradient diagonal cross blocks full low high")


cdef int64_t padded(int64_t n_bytes) noexcept nogil:
    return (n_bytes + 63) // 64 * 64


@cython.no_gc_clear
cdef class Pass:
    """Buffers and settings of passes over batches of up to `n_samples` rows.

    Parameters
    ----------
    dag : Dag
    dtype : numpy.dtype
        float32 or float64.
    n_samples : int
        Rows of the largest batch.
    stage, signals, statistics : int
        How far a pass goes, and what it accumulates.
    interpretation : int
    n_threads : int
    with_ranges : bool
        Also take each unit's smallest and largest activity.
    n_draws : int
        Targets per sample, where signals are of draws.
    rare_metric : bool
        Most tiles will not add to the metric.
    """

    def __cinit__(self, Dag dag, dtype, int64_t n_samples, int stage, int interpretation=0,
                  int signals=FK_VALUES, int statistics=FK_NO_METRIC, int n_threads=1,
                  bint with_ranges=False, int n_draws=1, bint rare_metric=False):
        cdef PassView* v = &self.view
        self._memory = []
        self.dag, self.dtype = dag, np.dtype(dtype)
        v.dag = &dag.view
        v.itemsize = self.dtype.itemsize
        v.stage, v.signals, v.statistics = stage, signals, statistics
        v.interpretation, v.with_ranges = interpretation, with_ranges
        v.rows = 1 if signals in (FK_VALUES, FK_RATES) else 2
        v.n_directions = 0
        if signals in (FK_VALUES_FISHER, FK_RATES):
            v.n_directions = dag.view.n_outputs
        elif signals == FK_VALUES_DRAWS:
            v.n_directions = n_draws
        elif signals == FK_VALUES_SQUARES and statistics == FK_FULL:
            v.n_directions = 1
        v.group = 1 if v.n_directions <= 1 else FK_GROUP
        v.first = dag.view.n_inputs
        v.shared = self._shares()
        v.n_samples = n_samples
        v.leaves = tile_leaves(v.itemsize == 8, self._choose_tile(1 if rare_metric else v.rows))
        v.by_source = self._sums_by_source(v.leaves.tile)
        v.step = step_leaves(v.itemsize == 8)
        v.n_tiles = (n_samples + v.leaves.tile - 1) // v.leaves.tile
        v.metric_tiles = v.n_tiles
        self._allocate_slots()
        self._allocate_means()
        flops = (6.0 + 2.0 * v.n_directions) * dag.view.n_edges * n_samples
        if not v.shared:
            n_threads = min(n_threads, v.n_slots)
        self.n_threads = max(1, min(n_threads, int(1 + flops // FLOPS_PER_THREAD)))
        self._allocate_rows()

    def __dealloc__(self):
        for address in self._memory or ():
            free(<void*><size_t>address)

    cdef void* allocate(self, int64_t n_bytes) except NULL:
        cdef void* memory = NULL
        if not fk_allocate(&memory, max(64, padded(n_bytes))):
            raise MemoryError(f"no memory for a kernel buffer of {n_bytes / 2**20:.0f} MiB")
        self._memory.append(<size_t>memory)
        return memory

    def _allocate_slots(self):
        cdef PassView* v = &self.view
        cdef int64_t P = v.dag.n_parameters
        cdef int n_arrays = 1 + (v.statistics in (FK_DIAGONAL, FK_QUASI_DIAGONAL)) \
            + (v.statistics == FK_QUASI_DIAGONAL)
        cdef int64_t blocks = 0
        if v.statistics == FK_UNITWISE:
            self.dag.place_blocks()
            blocks = v.dag.n_blocks
        cdef int64_t size = (P * n_arrays + blocks) * v.itemsize
        v.n_slots = max(1, min(v.n_tiles, MAX_SLOTS))
        if v.statistics == FK_FULL or v.shared:
            v.n_slots = 1
        elif v.stage == STATISTICS:
            v.n_slots = max(1, min(v.n_slots, max(2, SLOT_BUDGET // size)))
        v.slot_stride = padded(P * v.itemsize) // v.itemsize
        v.block_stride = padded((blocks + FK_MAX_LANES) * v.itemsize) // v.itemsize  # put_ahead
        v.unit_stride = padded(v.dag.n_units * v.itemsize) // v.itemsize
        v.slots = <fk_slot*>self.allocate(v.n_slots * sizeof(fk_slot))
        v.slot_loss = <double*>self.allocate(v.n_slots * sizeof(double))
        v.slot_fault = <fk_fault*>self.allocate(v.n_slots * sizeof(fk_fault))
        memset(v.slots, 0, v.n_slots * sizeof(fk_slot))
        if v.stage == STATISTICS:
            self._fill(v.slot_stride, 0)
            if n_arrays > 1:
                self._fill(v.slot_stride, 1)
            if n_arrays > 2:
                self._fill(v.slot_stride, 2)
            if blocks:
                self._fill(v.block_stride, 3)
        if v.with_ranges:
            self._fill(v.unit_stride, 4)
            self._fill(v.unit_stride, 5)
        if v.statistics == FK_FULL:
            v.slots[0].full = <double*>self.allocate(P * P * sizeof(double))
            memset(v.slots[0].full, 0, P * P * sizeof(double))

    def _allocate_means(self):
        cdef PassView* v = &self.view
        cdef const int32_t[::1] places
        cdef void** slot = <void**>v.slots
        cdef int i
        for i in range(3):
            v.means[i] = slot[i]
            if v.by_source and slot[i] != NULL:
                v.means[i] = self.allocate(v.slot_stride * v.itemsize)
                memset(v.means[i], 0, v.slot_stride * v.itemsize)
        if v.by_source:
            places = self.dag.place_edges()
            v.places = &places[0]

    def _choose_tile(self, int rows):
        """Widest tile that the batch fills and whose rows of one level stay in cache, or that takes
        its sums by sources; large problems are cut into four at least, so that threads can share
        them, but not into rows that are too short for their kernels."""
        cdef PassView* v = &self.view
        cdef int tile = 64, shared_row = SHARED_ROW
        if v.statistics == FK_UNITWISE:
            shared_row *= 2  # each product of two rows ends with a sum over lanes
        cdef bint large = 6.0 * v.dag.n_edges * v.n_samples > 10 * FLOPS_PER_THREAD
        while tile > 16 and (
                tile >= 2 * v.n_samples
                or (large and 4 * tile > v.n_samples and tile * v.itemsize > shared_row)
                or (<int64_t>self.dag.widest_level * tile * v.itemsize * rows > TILE_BUDGET
                    and not (self._sums_by_source(tile) and tile // 2 * v.itemsize < SOURCE_ROW))):
            tile //= 2
        return tile

    def _sums_by_source(self, int tile):
        cdef PassView* v = &self.view
        cdef int64_t rows = <int64_t>v.dag.n_units * tile * v.itemsize * (1 + v.rows)
        if v.statistics == FK_NO_METRIC:
            rows *= min((v.n_samples + tile - 1) // tile, SOURCE_TILES)
        return (v.stage == STATISTICS and not v.shared
                and v.statistics in (FK_NO_METRIC, FK_DIAGONAL, FK_QUASI_DIAGONAL)
                and tile * v.itemsize >= SOURCE_ROW and rows > SOURCE_ROWS)

    def _shares(self):
        """Whether threads share each tile: rows and accumulators are too large for one set each."""
        cdef PassView* v = &self.view
        return (3 * v.dag.n_parameters * v.itemsize > SLOT_BUDGET
                and v.dag.n_edges >= LEVEL_WORK * v.dag.n_levels
                # one thread alone does the directions
                and v.n_directions <= FK_GROUP
                # a unit's block may be written past its end, where another thread's begins
                and v.statistics != FK_UNITWISE)

    def _fill(self, int64_t stride, int field):
        """One contiguous array over the slots for a field of fk_slot, in the struct's order."""
        cdef int64_t n_bytes = self.view.n_slots * stride * self.view.itemsize
        cdef char* base = <char*>self.allocate(n_bytes)
        cdef int s
        memset(base, 0, n_bytes)  # some entries, as a bias's cross moment, are never written
        for s in range(self.view.n_slots):
            (<void**>&self.view.slots[s])[field] = base + s * stride * self.view.itemsize

    def _allocate_rows(self):
        cdef PassView* v = &self.view
        cdef int64_t row = v.leaves.tile * v.itemsize, total = 0
        cdef int64_t units = v.dag.n_units * row, outputs = v.dag.n_outputs * row
        cdef int t, i
        sizes = {ROWS_ACTIVITIES: units, ROWS_SIGNALS: units * v.rows, ROWS_DIRECT: 2 * outputs,
                 ROWS_TARGETS: outputs}
        if v.stage == BACKWARD:
            sizes[ROWS_SUMS] = units
        if v.n_directions:
            sizes |= {ROWS_START: v.group * outputs, ROWS_RATES: v.group * units,
                      ROWS_LIVE: v.dag.n_units, ROWS_ROOTS: 3 * outputs}
        if v.n_directions and v.stage == BACKWARD:
            sizes |= {ROWS_UNREDUCED_DIRECT: 2 * outputs, ROWS_UNREDUCED_ROOTS: 3 * outputs,
                      ROWS_UNREDUCED_START: v.group * outputs,
                      ROWS_UNREDUCED_RATES: v.group * units}
        if v.signals == FK_VALUES_DRAWS:
            sizes |= {ROWS_DRAWN: 2 * outputs, ROWS_RANDOM: outputs}
        if v.statistics == FK_FULL:
            sizes[ROWS_FACTOR] = v.dag.n_parameters * v.group * v.leaves.tile * sizeof(double)
        for i in range(N_ROWS):
            v.row_offset[i] = total
            total += padded(sizes.get(i, 0))
        v.thread_rows = <void**>self.allocate(self.n_threads * sizeof(void*))
        for t in range(self.n_threads):
            if v.shared and t:
                v.thread_rows[t] = v.thread_rows[0]
                continue
            v.thread_rows[t] = self.allocate(total)
            memset(v.thread_rows[t], 0, total)
        if v.stage >= BACKWARD:
            if v.shared and not v.n_directions:
                widest = int(-np.diff(self.dag.out_start).min())
                v.weights_part = max(WEIGHTS_PART, widest)
            size = self.n_threads * v.weights_part or v.dag.n_edges
            v.weights_out = self.allocate(size * v.itemsize)

    def set_data(self, inputs, targets=None):
        """Point at C-contiguous rows of the pass's dtype; targets (n, n_outputs) or classes (n,).
        """
        cdef size_t address = inputs.ctypes.data
        self._keep = (inputs, targets)
        self.view.inputs = <const void*>address
        self.view.targets = NULL
        self.view.classes = NULL
        if targets is not None:
            address = targets.ctypes.data
            if targets.ndim == 1:
                self.view.classes = <const int64_t*>address
            else:
                self.view.targets = <const void*>address

    def set_draws(self, draws, bint are_random):
        """Drawn targets of the next run's samples, or the random numbers that draw them: in the
        pass's dtype (n_samples, n_draws, n_outputs); uniform numbers for classes
        (n_samples, n_draws); classes (n_samples, n_draws) int64."""
        cdef size_t address = draws.ctypes.data
        self._draws_keep = draws
        self.view.draws_are_random = are_random
        self.view.draws, self.view.drawn_classes = NULL, NULL
        if draws.dtype == np.int64:
            self.view.drawn_classes = <const int64_t*>address
        else:
            self.view.draws = <const void*>address

    @property
    def form(self):
        """Who passes through a tile and takes its sums: "own", "shared" or "by source"."""
        return "shared" if self.view.shared else "by source" if self.view.by_source else "own"

    @property
    def n_draws(self):
        """Directions of a transfer pass: targets per sample where they are drawn."""
        return self.view.n_directions

    def random_numbers(self, rng, int64_t n_samples):
        """What `set_draws` takes for `n_samples` rows, from a numpy Generator."""
        cdef PassView* v = &self.view
        shape = (n_samples, v.n_directions)
        if v.interpretation in (FK_SOFTMAX, FK_SPHERICAL):
            return rng.random(shape, self.dtype)
        if v.interpretation == FK_BERNOULLI:
            return rng.random((*shape, v.dag.n_outputs), self.dtype)
        return rng.standard_normal((*shape, v.dag.n_outputs), self.dtype)

    def set_theta(self, theta):
        cdef size_t address = theta.ctypes.data
        self._theta_keep = theta
        self.view.theta = <const void*>address

    def set_shift(self, shift):
        """Origin of the activities in the statistics, (n_units,) by position; None: zero."""
        cdef size_t address = 0 if shift is None else shift.ctypes.data
        self._shift_keep = shift
        self.view.shift = <const void*>address

    def run(self, sample_loss=None, activities=None, outputs=None, modulus=None, sums=None,
            output_metric=None, rates=None):
        """One pass over rows 0 to n_samples - 1; fills the arrays that are given."""
        cdef PassView* v = &self.view
        v.samples = NULL
        v.sample_loss = <double*>address_of(sample_loss)
        v.out_activities = address_of(activities)
        v.out_outputs = address_of(outputs)
        v.out_modulus = address_of(modulus)
        v.out_sums = address_of(sums)
        v.out_output_metric = address_of(output_metric)
        v.out_rates = address_of(rates)
        v.first = v.dag.n_inputs
        if v.out_modulus != NULL or v.out_sums != NULL or v.out_rates != NULL:
            v.first = 0
        cdef int n_threads = self.n_threads
        with nogil:
            fk_parallel(pass_region, v, n_threads, False)
        v.sample_loss = NULL
        return total_loss(v) / v.n_samples

    def fault(self):
        """(sample, output) of the first loss without a derivative, or None."""
        cdef int s
        found = [(self.view.slot_fault[s].sample, self.view.slot_fault[s].output)
                 for s in range(self.view.n_slots) if self.view.slot_fault[s].sample >= 0]
        return min(found) if found else None

    def sums(self):
        """Slots summed in their order and divided by the samples, None where not accumulated; the
        full matrix is an upper triangle. Once after each run: the sums are made in place."""
        cdef PassView* v = &self.view
        cdef fk_slot* slot = &v.slots[0]
        cdef double scale = 1.0 / v.n_samples
        P = v.dag.n_parameters
        full = None
        if slot.full != NULL:
            full = as_array(slot.full, P * P, np.dtype(np.float64)).reshape(P, P) * scale
        return Sums(
            self._in_order(slot_sum(self, slot.gradient, v.slot_stride, P, scale)),
            self._in_order(slot_sum(self, slot.diagonal, v.slot_stride, P, scale)),
            self._in_order(slot_sum(self, slot.cross, v.slot_stride, P, scale)),
            slot_sum(self, slot.blocks, v.block_stride, v.dag.n_blocks, scale),
            full,
            *self.extremes(),
        )

    def _in_order(self, values):
        """Sums in theta's order."""
        if values is None or not self.view.by_source:
            return values
        return values[self.dag.place_edges()]

    def extremes(self):
        """Smallest and largest activity of each unit by position, or (None, None)."""
        cdef PassView* v = &self.view
        if not v.with_ranges:
            return None, None
        shape = v.n_slots * v.unit_stride
        low = as_array(v.slots[0].low, shape, self.dtype).reshape(v.n_slots, -1)
        high = as_array(v.slots[0].high, shape, self.dtype).reshape(v.n_slots, -1)
        n = v.dag.n_units
        return low.min(axis=0)[:n], high.max(axis=0)[:n]


def activate(rows, int code, double leaky_slope):
    """s(z) of float64 rows (n, 64 m), in place of a pass: what initialization needs."""
    cdef double[:, ::1] z = rows
    out = np.empty_like(rows)
    cdef double[:, ::1] a = out
    cdef int64_t i, t
    cdef void* memory = NULL
    if not fk_allocate(&memory, 2 * 64 * sizeof(double)):
        raise MemoryError("no memory for one row of activities")
    cdef double* aligned = <double*>memory
    for i in range(z.shape[0]):
        for t in range(0, z.shape[1], 64):
            memcpy(aligned, &z[i, t], 64 * sizeof(double))
            tile_leaves(True, 64).activate(code, leaky_slope, aligned, aligned + 64,
                                           NULL)
            memcpy(&a[i, t], aligned + 64, 64 * sizeof(double))
    free(memory)
    return out


cdef slot_sum(Pass batch, void* base, int64_t stride, int64_t size, double scale):
    if base == NULL:
        return None
    batch.view.step.sum_slots(base, stride, batch.view.n_slots, 0, size, scale)
    return as_array(base, size, batch.dtype).copy()


cdef void* address_of(array):
    cdef size_t address = 0 if array is None else array.ctypes.data
    return <void*>address


cdef as_array(void* base, int64_t size, dtype):
    if dtype == np.float32:
        return np.asarray(<float[:size]>base)
    return np.asarray(<double[:size]>base)


cdef void gather_weights(PassView* v, int thread, int n_threads) noexcept nogil:
    """The thread's part of the weights in the order of the outgoing edges."""
    cdef int64_t first, last
    if v.stage < BACKWARD or v.weights_part:
        return
    # no signal passes to a unit before the first
    share(v.dag.out_start[v.first], thread, n_threads, &first, &last)
    v.step.gather_weights(v.dag, first, last, v.theta,
                          <char*>v.weights_out + first * v.itemsize)


cdef void pass_region(void* context, int thread, int n_threads) noexcept nogil:
    cdef PassView* v = <PassView*>context
    gather_weights(v, thread, n_threads)
    fk_barrier(n_threads)
    run_slots(v, thread, n_threads)


cdef void run_slots(PassView* v, int thread, int n_threads) noexcept nogil:
    """Every tile of the thread's slots, or the thread's part of every tile."""
    cdef int slot = 0 if v.shared else thread, stride = 1 if v.shared else n_threads
    cdef int64_t tile
    while slot < v.n_slots:
        if thread == 0 or not v.shared:
            v.slot_loss[slot] = 0
            v.slot_fault[slot] = fk_fault(-1, -1)
        tile = slot
        while tile < v.n_tiles:
            if v.shared:
                run_tile(v, <char*>v.thread_rows[0], slot, tile, thread, n_threads)
                fk_barrier(n_threads)
            else:
                run_tile(v, <char*>v.thread_rows[thread], slot, tile, 0, 1)
            tile += v.n_slots
        slot += stride


cdef double total_loss(PassView* v) noexcept nogil:
    """Sum of the losses of the batch, slots in their order."""
    cdef double total = 0
    cdef int s
    for s in range(v.n_slots):
        total += v.slot_loss[s]
    return total
