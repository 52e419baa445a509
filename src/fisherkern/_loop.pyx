# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled training loop: whole steps without the GIL, in one parallel region.

A step is: a pass over the batch (slots), one thread's decision, statistics and directions by
ranges of units, one thread's step size, the update. Threads meet at barriers only.
"""
import numpy as np

from libc.math cimport ceil
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from ._control cimport (
    ADAM, ADAPTIVE, CONSTANT, DIRECTION_NOT_FINITE, FRESH, GRADIENT, LOSS_NOT_FINITE, METRIC,
    MOMENTUM, OK, PENDING, READY, THETA_NOT_FINITE, TRUST_REGION, LoopView, any_failed,
    blend_noise, choose_rate, decide, judge, metric_noise, next_blend_rate,
)
from ._network cimport Dag
from ._openmp cimport fk_barrier, fk_parallel
from ._pass cimport Pass, gather_weights, run_slots, total_loss
from ._simd cimport step_leaves
from ._step cimport solve_units, unit_share, work_bytes
from ._step import units_by_size
from ._tile cimport share
from ._types cimport FK_DAMPING_ABSOLUTE, FK_DAMPING_RANGE, FK_QUASI_DIAGONAL, FK_UNITWISE
from ._view cimport OUTPUT, STATISTICS, PassView

STATUS_OK = OK
NOT_FINITE = {LOSS_NOT_FINITE: "loss", DIRECTION_NOT_FINITE: "direction", THETA_NOT_FINITE: "theta"}
METHODS = {"gradient": GRADIENT, "momentum": MOMENTUM, "adam": ADAM, "metric": METRIC}
RULES = {"constant": CONSTANT, "trust_region": TRUST_REGION, "adaptive": ADAPTIVE}

cdef class Trainer:
    """State of an optimizer on one network, and its compiled loop.

    Parameters
    ----------
    dag : Dag
    theta : (n_parameters,) ndarray
        Written in place by every step.
    batch_size : int
    settings : dict
        interpretation, signals, statistics, method, root, damping ("range" or a float),
        range_damping, metric_rate (None: each batch alone), warm_start, metric_fraction,
        metric_every, rule, learning_rate, trust_radius, noise_floor (None: no noise variance),
        decay (three floats), n_draws, prior, averaging (whether there is one).
    frozen : (n_parameters,) uint8 or None
    shift : (n_units,) by position, or None
    """
    cdef LoopView view
    cdef readonly Pass batch
    cdef readonly object theta, frozen, shift
    cdef tuple order
    cdef dict settings

    def __cinit__(self, Dag dag, theta, int64_t batch_size, dict settings, frozen=None,
                  shift=None, int n_threads=1):
        cdef LoopView* v = &self.view
        cdef size_t address = theta.ctypes.data
        cdef bint by_range = settings["damping"] == "range"
        memset(v, 0, sizeof(LoopView))
        self.settings = settings
        self.batch = Pass(dag, theta.dtype, batch_size, STATISTICS, settings["interpretation"],
                          settings["signals"], settings["statistics"], n_threads,
                          by_range or settings["prior"],
                          settings["n_draws"],
                          settings["metric_fraction"] <= 0.5 or settings["metric_every"] > 1)
        self.theta, self.shift = theta, shift
        self._freeze(frozen)
        self.batch.set_theta(theta)
        v.batch, v.theta, v.batch_size = &self.batch.view, <void*>address, batch_size
        v.method, v.rule = METHODS[settings["method"]], RULES[settings["rule"]]
        v.metric_rate = 1.0 if settings["metric_rate"] is None else settings["metric_rate"]
        v.warm_start, v.whole_batch = settings["warm_start"], settings["whole_batch"]
        v.metric_every = settings["metric_every"]
        # less what rounding may have added to the product
        v.metric_tiles = <int64_t>ceil(settings["metric_fraction"] * v.batch.n_tiles - 1e-9)
        v.with_noise = settings["noise_floor"] is not None
        v.noise_floor = settings["noise_floor"] or 0.0
        v.inverse_noise = 1
        v.rate = v.ceiling = settings["learning_rate"]
        v.radius = settings["trust_radius"]
        v.decay[0], v.decay[1], v.decay[2] = settings["decay"]
        self._bind_step(by_range)
        self._allocate()

    def _bind_step(self, bint by_range):
        cdef LoopView* v = &self.view
        cdef PassView* b = v.batch
        cdef size_t address
        v.step.dag, v.step.leaves = b.dag, b.step
        v.double_step = step_leaves(True)
        v.step.is_double = b.itemsize == 8
        v.step.reduction = self.settings["statistics"]
        v.step.root = self.settings["root"]
        v.step.solve.rule = FK_DAMPING_RANGE if by_range else FK_DAMPING_ABSOLUTE
        v.step.solve.value = self.settings["range_damping" if by_range else "damping"]
        if self.shift is not None:
            address = self.shift.ctypes.data
            v.step.solve.shift = b.shift = <const void*>address
        v.step.gradient = b.means[0]
        v.step.diagonal = b.means[1]
        v.step.cross = b.means[2]
        v.step.blocks = b.slots[0].blocks
        v.step.full = b.slots[0].full
        if self.settings["statistics"] == FK_UNITWISE:
            self.order = units_by_size(self.batch.dag)
            address = self.order[0].ctypes.data
            v.step.order = <const int32_t*>address
            address = self.order[1].ctypes.data
            v.step.order_starts = <const int64_t*>address
        if b.with_ranges:
            v.range[0], v.range[1] = self._zeros(b.unit_stride), self._zeros(b.unit_stride)
            v.step.solve.low, v.step.solve.high = v.range[0], v.range[1]

    cdef void* _zeros(self, int64_t n_values) except NULL:
        cdef void* memory = self.batch.allocate(n_values * self.view.batch.itemsize)
        memset(memory, 0, n_values * self.view.batch.itemsize)
        return memory

    cdef void* _running(self, void* batch) except NULL:
        """An array of running means of the batches' entries, or the batch's own."""
        return batch if self.view.in_place else self._zeros(self.view.batch.slot_stride)

    def _allocate(self):
        cdef LoopView* v = &self.view
        cdef PassView* b = v.batch
        cdef int64_t n_units = b.dag.n_units - b.dag.n_inputs
        cdef int t
        cdef bint thrifty = b.shared and v.rule != ADAPTIVE
        cdef bint has_running = (v.metric_rate < 1 or v.metric_every > 1) and v.method == METRIC
        # where memory is what limits the network, arrays change their meaning in place
        v.in_place = thrifty and has_running and not v.with_noise and b.means[1] != NULL
        b.adds = v.in_place
        if (v.method == GRADIENT and v.rule != ADAPTIVE
                or thrifty and v.step.reduction == FK_QUASI_DIAGONAL):
            v.directions[0] = b.means[0]
        else:
            v.directions[0] = self._zeros(b.slot_stride)
        v.directions[1] = v.directions[0]
        if v.rule == ADAPTIVE:
            v.directions[1] = self._zeros(b.slot_stride)
            v.origin = self._zeros(b.slot_stride)
        if has_running:
            if b.means[1] != NULL:
                v.running[0] = self._running(b.means[1])
                v.step.diagonal = v.running[0]
            if b.means[2] != NULL:
                v.running[1] = self._running(b.means[2])
                v.step.cross = v.running[1]
            if b.slots[0].blocks != NULL:
                v.running[2] = self._zeros(b.block_stride)
                v.step.blocks = v.running[2]
            if b.slots[0].full != NULL:
                v.running[3] = self._zeros(8 * b.dag.n_parameters**2 // b.itemsize)
                v.step.full = <double*>v.running[3]
        if v.method in (MOMENTUM, ADAM):
            v.moments[0] = self._zeros(b.slot_stride)
        if self.settings["averaging"]:
            v.average = self._zeros(b.slot_stride)
        if v.method == ADAM:
            v.moments[1] = self._zeros(b.slot_stride)
        v.unit_decrement = <double*>self.batch.allocate(n_units * sizeof(double))
        if self.settings["prior"]:
            v.unit_penalty = <double*>self.batch.allocate(n_units * sizeof(double))
        v.step.decrement = v.unit_decrement
        v.n_threads = self.batch.n_threads
        v.failed = <bint*>self.batch.allocate(v.n_threads * sizeof(bint))
        memset(v.failed, 0, v.n_threads * sizeof(bint))
        v.work = <void**>self.batch.allocate(self.batch.n_threads * sizeof(void*))
        v.step.work_size = 0
        for t in range(self.batch.n_threads):
            v.work[t] = self.batch.allocate(work_bytes(&v.step))

    def set_data(self, inputs, targets):
        """As `Pass.set_data`."""
        self.batch.set_data(inputs, targets)
        self.batch.view.shift = self.view.step.solve.shift

    def restart(self, frozen):
        """theta or the frozen flags were changed between two runs: what was known of them is
        not; running means go on."""
        self._freeze(frozen)
        self.view.phase = FRESH
        self.view.resolved = False

    def _freeze(self, frozen):
        cdef size_t address = 0 if frozen is None else frozen.ctypes.data
        self.frozen = frozen
        self.view.step.solve.frozen = <const uint8_t*>address

    def start_metric(self, sums, double loss, double rate):
        """Start the running metric from the mean `loss` and the `Pass.sums()` of other samples;
        `rate` from now on."""
        cdef LoopView* v = &self.view
        cdef size_t address
        cdef int i
        cdef double scale = 1
        if v.with_noise:
            blend_noise(v, loss)
            scale = metric_noise(v)
        metrics = (sums.diagonal, sums.cross, sums.blocks, sums.full)
        for i in range(4):
            if v.running[i] != NULL:
                start = np.ascontiguousarray(metrics[i] * scale,
                                             np.float64 if i == 3 else self.theta.dtype)
                address = start.ctypes.data
                memcpy(v.running[i], <void*>address, start.nbytes)
        if sums.low is not None:
            for i, values in enumerate(map(np.ascontiguousarray, (sums.low, sums.high))):
                address = values.ctypes.data
                memcpy(v.range[i], <void*>address, values.nbytes)
            v.has_range = True
        v.metric_rate, v.warm_start = rate, False
        v.metric_count += 1

    @property
    def average(self):
        """(n_parameters,) average of theta over the steps so far, or None (a copy)."""
        if self.view.average == NULL:
            return None
        out = np.empty_like(self.theta)
        cdef size_t address = out.ctypes.data
        memcpy(<void*>address, self.view.average, out.nbytes)
        return out

    def run(self, const int64_t[::1] samples, const double[::1] factors, double[::1] losses,
            double[::1] rates, uint8_t[::1] accepted, random=None,
            const double[::1] priors=None, const double[::1] averaging=None, int n_threads=0):
        """Attempt `len(losses)` steps; returns how many were done and a status.

        samples : rows of each step's batch, one after the other; one batch in whole-batch mode
        factors : learning rates ("constant") or f ("trust_region"), one per step
        losses, rates, accepted : filled, one entry per step
        priors : the prior's precision over fan_in range^2, one per step, where there is one
        averaging : share of each step's theta in the average, where there is one
        random : numbers that draw each step's targets, as `Pass.random_numbers`, step by step
        n_threads : of those that there are; 0: all
        """
        cdef LoopView* v = &self.view
        if n_threads <= 0 or n_threads > self.batch.n_threads:
            n_threads = self.batch.n_threads
        v.n_threads = n_threads
        v.n_steps = losses.shape[0]
        if v.n_steps == 0:
            return 0, OK
        v.samples, v.factors = &samples[0], &factors[0]
        v.losses, v.rates, v.accepted = &losses[0], &rates[0], &accepted[0]
        v.batch.samples = v.samples
        v.priors, v.averaging = NULL, NULL
        if priors is not None:
            v.priors = &priors[0]
        if averaging is not None:
            v.averaging = &averaging[0]
        self._bind_random(random)
        v.status = OK
        v.done = 0
        v.cancelled_before = False
        with nogil:
            fk_parallel(loop_region, v, n_threads, True)
            if v.rule == ADAPTIVE and v.phase == PENDING:
                resolve(v, n_threads)
        return v.done, v.status

    def _bind_random(self, random):
        cdef size_t address = 0
        if random is not None:
            address = random.ctypes.data
            self.batch.set_draws(random, True)
            self.view.random_bytes = random.nbytes // self.view.n_steps
        self.view.random = <const char*>address

    def direction(self, const int64_t[::1] samples):
        """The direction at theta from one batch, its targets drawn by what `batch.set_draws` was
        given; changes nothing but this object's state."""
        cdef LoopView* v = &self.view
        cdef int n_threads = self.batch.n_threads
        v.n_threads = n_threads
        cdef double loss, rate
        cdef double factor = 0
        cdef uint8_t accepted
        v.samples, v.factors, v.n_steps = &samples[0], &factor, 1
        v.losses, v.rates, v.accepted = &loss, &rate, &accepted
        v.random = NULL
        v.status = OK
        v.done = 0
        v.rule = CONSTANT
        with nogil:
            fk_parallel(direction_region, v, n_threads, False)
        out = np.empty_like(self.theta)
        cdef size_t address = out.ctypes.data
        memcpy(<void*>address, v.directions[0], out.nbytes)
        return out, v.status

    @property
    def cancelled_before(self):
        """Whether the last `run` also cancelled the last attempt of the one before."""
        return self.view.cancelled_before


cdef void loop_region(void* context, int thread, int n_threads) noexcept nogil:
    cdef LoopView* v = <LoopView*>context
    cdef int64_t s
    for s in range(v.n_steps):
        if v.rule != ADAPTIVE or v.phase != READY:
            evaluate(v, s, thread, n_threads)
            if v.status != OK:
                return
        if v.reduce:
            make_direction(v, thread, n_threads)
        fk_barrier(n_threads)
        if thread == 0:
            choose_rate(v, s)
        fk_barrier(n_threads)
        if v.status != OK:
            return
        if not update(v, s, thread, n_threads):
            return
        fk_barrier(n_threads)
        if thread == 0:
            v.done += 1
            v.phase = PENDING
            v.reduce = v.resolved = False
        fk_barrier(n_threads)


cdef void direction_region(void* context, int thread, int n_threads) noexcept nogil:
    cdef LoopView* v = <LoopView*>context
    evaluate(v, 0, thread, n_threads)
    if v.status == OK:
        make_direction(v, thread, n_threads)
        fk_barrier(n_threads)
        if thread == 0:
            choose_rate(v, 0)


cdef void evaluate(LoopView* v, int64_t s, int thread, int n_threads) noexcept nogil:
    """The pass over step s's batch, and what its loss decides."""
    gather_weights(v.batch, thread, n_threads)
    if thread == 0:
        v.batch.samples = v.samples + (0 if v.whole_batch else s * v.batch_size)
        if v.random != NULL:
            v.batch.draws = v.random + s * v.random_bytes
        if v.priors != NULL:
            v.step.solve.prior = v.priors[s]
        v.batch.metric_tiles = v.metric_tiles if v.metric_count % v.metric_every == 0 else 0
        if v.batch.metric_tiles:
            v.blend_rate = next_blend_rate(v)
    fk_barrier(n_threads)
    if v.in_place:
        make_ready(v, thread, n_threads)
        fk_barrier(n_threads)
    run_slots(v.batch, thread, n_threads)
    fk_barrier(n_threads)
    if thread == 0:
        decide(v, s)
    fk_barrier(n_threads)


cdef void make_ready(LoopView* v, int thread, int n_threads) noexcept nogil:
    """Accumulators that hold the running metric, scaled so that the batch's sums may be added:
    blend_rate times their mean is what they count in the next one."""
    cdef PassView* b = v.batch
    cdef int64_t first, last
    cdef double weight = v.blend_rate * metric_scale(v)
    share(b.dag.n_parameters, thread, n_threads, &first, &last)
    memset(<char*>b.means[0] + first * b.itemsize, 0, (last - first) * b.itemsize)
    if b.metric_tiles:
        b.step.sum_slots(v.running[0], 0, 1, first, last, (1 - v.blend_rate) / weight)
        if v.running[1] != NULL:
            b.step.sum_slots(v.running[1], 0, 1, first, last, (1 - v.blend_rate) / weight)


cdef double metric_scale(LoopView* v) noexcept nogil:
    """Of the sums of a batch's metric to its mean over the samples that it is taken from, at the
    noise variance."""
    cdef PassView* b = v.batch
    return metric_noise(v) / min(b.n_samples, v.metric_tiles * b.leaves.tile)


cdef void make_direction(LoopView* v, int thread, int n_threads) noexcept nogil:
    """Sums, running metric and direction of the thread's units."""
    cdef const int64_t* indptr = v.batch.dag.indptr
    cdef int32_t u0 = unit_share(&v.step, thread, n_threads), i, k
    cdef int32_t u1 = unit_share(&v.step, thread + 1, n_threads)
    cdef int64_t first = indptr[u0], last = indptr[u1]
    cdef void* direction = v.directions[1]
    v.failed[thread] = False
    sum_and_blend(v, u0, u1, thread, n_threads)
    if v.priors != NULL:
        v.step.leaves.pull(v.batch.dag, &v.step.solve, u0, u1, v.theta, v.batch.means[0],
                           v.unit_penalty)
    if v.method == GRADIENT and direction != v.batch.means[0]:
        memcpy(<char*>direction + first * v.batch.itemsize,
               <char*>v.batch.means[0] + first * v.batch.itemsize,
               (last - first) * v.batch.itemsize)
    if v.method == MOMENTUM:
        v.step.leaves.momentum(first, last, v.decay[0], v.batch.means[0], v.moments[0],
                               direction)
    elif v.method == ADAM:
        v.step.leaves.adam(first, last, v.moment_count, v.decay[0], v.decay[1], v.decay[2],
                           v.batch.means[0], v.moments[0], v.moments[1], direction)
    elif v.method == METRIC:
        v.step.direction = direction
        if v.step.order != NULL:
            fk_barrier(n_threads)  # the thread's places in the order are not its units
        v.failed[thread] = not solve_units(&v.step, u0, u1, v.work[thread])
    if v.step.solve.frozen != NULL and v.method != METRIC:
        v.step.leaves.mask(first, last, v.step.solve.frozen, direction)
    if v.step.reduction != FK_QUASI_DIAGONAL and (v.method == METRIC or v.rule != CONSTANT):
        for i in range(u0, u1):
            k = i if v.step.order == NULL else v.step.order[i]
            v.unit_decrement[k] = v.step.leaves.decrement(
                v.batch.dag, v.step.solve.shift, k, v.batch.means[0], direction)


cdef inline int n_arrays(PassView* b) noexcept nogil:
    """Of the means, those that this batch adds to: the gradient, and the metric's where it does."""
    return 3 if b.metric_tiles else 1


cdef void sum_slots(LoopView* v, int64_t first, int64_t last) noexcept nogil:
    """Means over the batch of entries [first, last) in the slots' order, in the first slot."""
    cdef PassView* b = v.batch
    cdef void** sums = <void**>b.slots
    cdef int i
    for i in range(n_arrays(b)):
        if sums[i] != NULL:
            b.step.sum_slots(sums[i], b.slot_stride, metric_slots(b) if i else b.n_slots, first,
                             last, metric_weight(v) if i else v.inverse_noise / b.n_samples)


cdef inline int metric_slots(PassView* b) noexcept nogil:
    return <int>min(<int64_t>b.n_slots, b.metric_tiles)


cdef double metric_weight(LoopView* v) noexcept nogil:
    """What the slots' sums count in the metric's array, which in place is the running one."""
    return metric_scale(v) * (v.blend_rate if v.in_place else 1.0)


cdef void sum_and_blend(LoopView* v, int32_t u0, int32_t u1, int thread,
                        int n_threads) noexcept nogil:
    """Slots to means over the batch; metric entries into the running metric."""
    cdef PassView* b = v.batch
    cdef const int64_t* indptr = b.dag.indptr
    cdef void** sums = <void**>b.slots
    cdef int64_t first, last, packed
    cdef int32_t k, size
    cdef int i
    if b.by_source:
        share(b.dag.n_parameters, thread, n_threads, &first, &last)
        sum_slots(v, first, last)
        fk_barrier(n_threads)
    first, last = indptr[u0], indptr[u1]
    if not b.by_source:
        sum_slots(v, first, last)
    for i in range(n_arrays(b)):
        if b.by_source and sums[i] != NULL:
            b.step.arrange(b.means[i], sums[i], b.places, first, last)
        if i and v.running[i - 1] != NULL and not v.in_place:
            b.step.blend(v.running[i - 1], b.means[i], first, last, v.blend_rate)
    if b.metric_tiles == 0:
        return
    if b.slots[0].full != NULL:
        first *= b.dag.n_parameters
        last *= b.dag.n_parameters
        v.double_step.sum_slots(b.slots[0].full, 0, 1, first, last, metric_weight(v))
        if v.running[3] != NULL:
            v.double_step.blend(v.running[3], b.slots[0].full, first, last, v.blend_rate)
    if b.slots[0].blocks == NULL:
        return
    for k in range(u0, u1):
        size = <int32_t>(indptr[k + 1] - indptr[k])
        packed = b.dag.packed[b.dag.position[b.dag.n_inputs + k]]
        last = packed + <int64_t>size * (size + 1) // 2
        b.step.sum_slots(b.slots[0].blocks, b.block_stride, metric_slots(b), packed, last,
                         metric_weight(v))
        if v.running[2] != NULL:
            b.step.blend(v.running[2], b.slots[0].blocks, packed, last, v.blend_rate)


cdef bint update(LoopView* v, int64_t s, int thread, int n_threads) noexcept nogil:
    """The step; False, theta being as it was, where that would not be finite. The adaptive control
    judges such a step by its loss."""
    cdef int64_t first, last
    share(v.batch.dag.n_parameters, thread, n_threads, &first, &last)
    if v.rule == ADAPTIVE:
        v.step.leaves.advance(v.theta, v.origin, v.directions[0], first, last, v.rate)
        return True
    v.failed[thread] = not v.step.leaves.lands(v.theta, v.directions[0], first, last, v.rate)
    fk_barrier(n_threads)
    if any_failed(v):
        if thread == 0:
            v.status = THETA_NOT_FINITE
        return False
    v.step.leaves.advance(v.theta, v.theta, v.directions[0], first, last, v.rate)
    if v.average != NULL:
        v.step.leaves.blend(v.average, v.theta, first, last, v.averaging[s])
    return True


cdef void resolve(LoopView* v, int n_threads) noexcept nogil:
    """Judge the last attempt by a forward pass, so that theta is a step that holds."""
    cdef bint good
    v.batch.stage = OUTPUT
    fk_parallel(slots_region, v.batch, n_threads, True)
    v.batch.stage = STATISTICS
    good = judge(v, total_loss(v.batch) / v.batch.n_samples)
    v.accepted[v.n_steps - 1] = good
    v.phase = FRESH if good else READY
    v.resolved = good
    if not good:
        memcpy(v.theta, v.origin, v.batch.dag.n_parameters * v.batch.itemsize)


cdef void slots_region(void* context, int thread, int n_threads) noexcept nogil:
    run_slots(<PassView*>context, thread, n_threads)
