# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What one thread decides between the passes of the loop: whether an attempt holds, the scales of
its sums, and the step size. Nothing here touches more than O(n_units) values."""
from libc.math cimport isfinite, sqrt
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from ._pass cimport total_loss
from ._types cimport FK_VALUES_SQUARES


cdef void decide(LoopView* v, int64_t s) noexcept nogil:
    """Accept or cancel the pending attempt; then the scales of this batch's sums."""
    cdef double loss = total_loss(v.batch) / v.batch.n_samples
    v.reduce = True
    if v.rule == ADAPTIVE and v.phase == PENDING:
        v.reduce = judge(v, loss)
        if s > 0:
            v.accepted[s - 1] = v.reduce
    elif not isfinite(loss):
        v.status = LOSS_NOT_FINITE
        return
    else:
        v.reference = loss
    if not v.reduce:
        return
    if v.with_noise:
        blend_noise(v, loss)
    merge_ranges(v)
    v.metric_count += 1
    v.moment_count += 1
    if v.batch.metric_tiles == 0:
        return
    v.metric_updates += 1


cdef double next_blend_rate(LoopView* v) noexcept nogil:
    """Share of the next batch in the running metric."""
    if v.warm_start:
        return max(v.metric_rate, 1.0 / (v.metric_updates + 1))
    return v.metric_rate


cdef bint judge(LoopView* v, double loss) noexcept nogil:
    """[O section 4]: a step that raises the loss is cancelled and the rate halved."""
    v.before[0], v.before[1] = v.reference, v.rate
    if loss > v.reference or not isfinite(loss):
        v.rate *= 0.5
        return False
    if loss < v.reference:
        v.rate *= 1.1
    v.reference = loss
    return True


cdef void blend_noise(LoopView* v, double loss) noexcept nogil:
    """Running mean square of a square loss's residuals, at the metric's rate."""
    cdef double mean_square = 2 * loss / v.batch.dag.n_outputs
    cdef double rate = v.metric_rate
    if v.warm_start or v.metric_count == 0:
        rate = max(rate, 1.0 / (v.metric_count + 1))
    v.noise += rate * (mean_square - v.noise)
    v.inverse_noise = 1 / max(v.noise, v.noise_floor)


cdef double metric_noise(LoopView* v) noexcept nogil:
    """Scale of the metric at the noise variance: 1/s^2, or 1/s^4 for squared values."""
    if v.batch.signals == FK_VALUES_SQUARES:
        return v.inverse_noise * v.inverse_noise
    return v.inverse_noise


cdef void merge_ranges(LoopView* v) noexcept nogil:
    """Ranges of the activities over all samples so far."""
    cdef int s, side
    if v.range[0] == NULL:
        return
    for s in range(v.batch.n_slots):
        for side in range(2):
            merge_range(v.batch.itemsize == 8, v.batch.dag.n_units, side,
                        v.batch.slots[s].high if side else v.batch.slots[s].low, v.range[side],
                        v.has_range)
        v.has_range = True


cdef void merge_range(bint is_double, int32_t n, int side, const void* batch, void* range_,
                      bint add) noexcept nogil:
    cdef int32_t p
    cdef double new, old
    for p in range(n):
        new = (<const double*>batch)[p] if is_double else (<const float*>batch)[p]
        if add:
            old = (<const double*>range_)[p] if is_double else (<const float*>range_)[p]
            new = max(old, new) if side else min(old, new)
        if is_double:
            (<double*>range_)[p] = new
        else:
            (<float*>range_)[p] = <float>new


cdef void choose_rate(LoopView* v, int64_t s) noexcept nogil:
    """Step size of attempt s; a direction that is not finite cancels or stops."""
    cdef int32_t k
    cdef double total = 0
    v.losses[s] = v.reference
    v.accepted[s] = True
    if v.reduce and (v.method == METRIC or v.rule != CONSTANT):
        for k in range(v.batch.dag.n_units - v.batch.dag.n_inputs):
            total += v.unit_decrement[k]
        v.decrement = total
        if not isfinite(total) or any_failed(v):
            if v.rule == ADAPTIVE and (v.phase == PENDING or v.resolved):
                cancel(v, s)
            else:
                v.status = DIRECTION_NOT_FINITE
                return
    if v.rule == CONSTANT:
        v.rate = v.factors[s]
    elif v.rule == TRUST_REGION:
        v.rate = v.ceiling
        if v.decrement > 0:
            v.rate = min(v.rate, sqrt(2 * v.radius / v.decrement))
            v.rate = min(v.rate, objective(v) / v.decrement)
        v.rate *= v.factors[s]
    elif v.reduce:
        v.directions[0], v.directions[1] = v.directions[1], v.directions[0]
        memcpy(v.origin, v.theta, v.batch.dag.n_parameters * v.batch.itemsize)
    v.rates[s] = v.rate


cdef double objective(LoopView* v) noexcept nogil:
    """The batch's loss and what the prior adds to it."""
    cdef double total = v.reference * v.inverse_noise
    cdef int32_t k
    if v.priors != NULL:
        for k in range(v.batch.dag.n_units - v.batch.dag.n_inputs):
            total += v.unit_penalty[k]
    return total


cdef void cancel(LoopView* v, int64_t s) noexcept nogil:
    """The pending attempt led to where no direction can be found: as if it had raised the loss."""
    v.reduce = False
    v.reference, v.rate = v.before[0], 0.5 * v.before[1]
    v.losses[s] = v.reference
    if s > 0:
        v.accepted[s - 1] = False
    else:
        v.cancelled_before = True


cdef bint any_failed(LoopView* v) noexcept nogil:
    cdef int t
    for t in range(v.n_threads):
        if v.failed[t]:
            return True
    return False
