/* Directions [O Prop. 25, Remark 12] and parameter updates over ranges of units; once per dtype.
 *
 * The statistics may be taken about an origin (`shift`) of the activities: a_i = shift_i + a'_i.
 * Each direction below is that of the raw coordinates, computed without the cancellation that raw
 * moments suffer when the mean is far from zero.
 */
#include <float.h>
#include "template.h"
#include "vector.h"

#if FK_REAL_IS_DOUBLE
#define ROUNDING (DBL_EPSILON / 2)
#define SMALLEST DBL_MIN
#define LARGEST DBL_MAX
#else
#define ROUNDING (FLT_EPSILON / 2)
#define SMALLEST FLT_MIN
#define LARGEST FLT_MAX
#endif

static void NAME(gather_weights)(const fk_dag *dag, int64_t first, int64_t last, const void *theta,
                                 void *weights_out)
{
    for (int64_t e = first; e < last; e++)
        ((REAL *)weights_out)[e] = ((const REAL *)theta)[dag->out_parameter[e]];
}

/* Adds the slots in their order into the first and scales the sum. */
static void NAME(sum_slots)(void *sums_, int64_t stride, int n_slots, int64_t first, int64_t last,
                            double scale)
{
    REAL *sums = sums_;
    for (int s = 1; s < n_slots; s++)
        for (int64_t i = first; i < last; i++) sums[i] += sums[s * stride + i];
    for (int64_t i = first; i < last; i++) sums[i] *= (REAL)scale;
}

static void NAME(blend)(void *running_, const void *batch_, int64_t first, int64_t last,
                        double rate)
{
    REAL *running = running_;
    const REAL *batch = batch_, r = (REAL)rate;
    if (rate == 1)
        memcpy(running + first, batch + first, sizeof(REAL) * (size_t)(last - first));
    else
        for (int64_t i = first; i < last; i++) running[i] += r * (batch[i] - running[i]);
}

FK_INLINE int NAME(is_frozen)(const fk_solve *solve, int64_t parameter)
{
    return solve->frozen && solve->frozen[parameter];
}

FK_INLINE REAL NAME(origin)(const fk_solve *solve, int32_t source)
{
    return solve->shift ? ((const REAL *)solve->shift)[source] : 0;
}

/* 0 where the activity was constant so far, which is also what initialization calls constant */
FK_INLINE REAL NAME(range)(const fk_solve *solve, int32_t source)
{
    const REAL low = ((const REAL *)solve->low)[source], high = ((const REAL *)solve->high)[source];
    const REAL size = MATH(fmax)(MATH(fabs)(low), MATH(fabs)(high));
    return high - low > (REAL)1e-6 * size ? high - low : 0;
}

/* 0 where the divisor is below the smallest normal number: the quotient could overflow, and the
 * divisor's digits are lost; the unit is saturated, or its source's range too small for the dtype */
FK_INLINE REAL NAME(quotient)(REAL value, REAL divisor)
{
    return divisor >= SMALLEST ? value / divisor : 0;
}

/* delta_i = G_i / (A_ii + damping), or its root form (AdaGrad); statistics without a shift. */
static void NAME(diagonal)(const fk_dag *dag, const fk_solve *solve, int32_t first, int32_t last,
                           const void *gradient_, const void *diagonal_, int root,
                           void *direction_)
{
    const int by_range = solve->rule == FK_DAMPING_RANGE;
    const REAL epsilon = (REAL)solve->value;
    for (int32_t k = first; k < last; k++) {
        const int64_t block = dag->indptr[k];
        const REAL *g = (const REAL *)gradient_ + block, *a = (const REAL *)diagonal_ + block;
        REAL *d = (REAL *)direction_ + block;
        const int32_t *source = dag->source + block;
        for (int64_t j = 0; j < dag->indptr[k + 1] - block; j++) {
            REAL extra = epsilon;
            if (by_range) {
                const REAL range = j ? NAME(range)(solve, source[j]) : 0;
                extra = j ? epsilon * a[0] * range * range : (REAL)0.01 * a[0];
                if (j && range == 0) extra = INFINITY;
            }
            REAL damped = a[j] + extra;
            if (root) damped = MATH(sqrt)(damped);
            d[j] = NAME(is_frozen)(solve, block + j) ? 0 : NAME(quotient)(g[j], damped);
        }
    }
}

/* One weight of the quasi-diagonal step: its direction, and how much it moves the bias. */
FK_INLINE REAL NAME(quasi_diagonal_weight)(const fk_solve *solve, int64_t size, REAL g0, REAL a00,
                                           REAL inverse, REAL g, REAL second, REAL cross,
                                           int32_t source, int free_bias, REAL *carried)
{
    const REAL epsilon = (REAL)solve->value, shift = NAME(origin)(solve, source);
    const REAL centred = cross * inverse, mean = shift + centred;
    REAL variance = second - cross * centred, right = g - centred * g0;
    if (!(variance > 0)) variance = 0;
    *carried = mean;
    if (!free_bias) {
        variance += mean * mean * a00;
        right = g + shift * g0;
    }
    if (solve->rule == FK_DAMPING_RANGE) {
        const REAL range = NAME(range)(solve, source);
        if (range == 0) return 0;
        return NAME(quotient)(right, variance + epsilon * a00 * range * range);
    }
    if (epsilon == 0) {
        /* what is left of the variance of an input that rounding alone makes vary */
        const REAL noise = 4 * (REAL)ROUNDING * mean;
        const REAL least = 4 * size * (REAL)ROUNDING * second + noise * noise * a00;
        return variance <= least ? 0 : NAME(quotient)(right, variance);
    }
    if (free_bias) {
        /* A00 + epsilon moves both the centre and the reduced variance */
        const REAL share = epsilon / (a00 + epsilon);
        variance += mean * mean * a00 * share;
        right += mean * g0 * share;
        *carried = mean * (1 - share);
    }
    return NAME(quotient)(right, variance + epsilon);
}

/* [O Prop. 25] with damping as docs/methods.md; O(n_edges). */
static void NAME(quasi_diagonal)(const fk_dag *dag, const fk_solve *solve, int32_t first,
                                 int32_t last, const void *gradient_, const void *diagonal_,
                                 const void *cross_, void *direction_)
{
    const fk_solve local = *solve; /* a copy that the writes below cannot alias */
    const int by_range = local.rule == FK_DAMPING_RANGE;
    for (int32_t k = first; k < last; k++) {
        const int64_t block = dag->indptr[k], size = dag->indptr[k + 1] - block;
        const REAL *g = (const REAL *)gradient_ + block, *a = (const REAL *)diagonal_ + block;
        const REAL *cross = (const REAL *)cross_ + block;
        REAL *d = (REAL *)direction_ + block;
        const int32_t *source = dag->source + block;
        const int free_bias = !NAME(is_frozen)(&local, block);
        const REAL damped = by_range ? (REAL)1.01 * a[0] : a[0] + (REAL)local.value;
        /* below the smallest normal number the inverse would overflow: the unit is saturated */
        if (!(damped >= SMALLEST)) {
            memset(d, 0, sizeof(REAL) * (size_t)size);
            continue;
        }
        const REAL inverse = a[0] >= SMALLEST ? 1 / a[0] : 0;
        REAL bias = free_bias ? g[0] / damped : 0;
        for (int64_t j = 1; j < size; j++) {
            REAL carried;
            d[j] = NAME(is_frozen)(&local, block + j) ? 0
                : NAME(quasi_diagonal_weight)(&local, size, g[0], a[0], inverse, g[j], a[j],
                                              cross[j], source[j], free_bias, &carried);
            if (d[j] != 0) bias -= carried * d[j];
        }
        d[0] = free_bias ? bias : 0;
    }
}

#include "unitwise.h"

/* The damped system of the whole network, in double: members (entries of theta), lower triangle by
 * rows, right-hand side. The range rule adds to each unit's block what it adds to that of the
 * unitwise metric, in raw coordinates: 0.01 A_00 (1, mu) (1, mu)^T and epsilon A_00 R_i^2. */
static int NAME(full_system)(const fk_dag *dag, const fk_solve *solve, const void *gradient,
                             const double *full, int32_t *members, double *matrix, double *right)
{
    const int by_range = solve->rule == FK_DAMPING_RANGE;
    const int64_t n = dag->n_parameters;
    const int32_t n_units = dag->n_units - dag->n_inputs;
    int size = 0;
    for (int32_t k = 0; k < n_units; k++) {
        const int64_t start = dag->indptr[k];
        if (by_range && !(full[start * n + start] >= DBL_MIN)) continue;
        for (int64_t i = start; i < dag->indptr[k + 1]; i++)
            if (!NAME(is_frozen)(solve, i)
                && !(by_range && i > start && NAME(range)(solve, dag->source[i]) == 0))
                members[size++] = (int32_t)i;
    }
    for (int r = 0; r < size; r++) {
        right[r] = ((const REAL *)gradient)[members[r]];
        for (int c = 0; c <= r; c++)
            matrix[(size_t)r * size + c] = full[members[c] * n + members[r]];
        if (!by_range) matrix[(size_t)r * size + r] += solve->value;
    }
    int32_t k = 0;
    for (int first = 0, last; by_range && first < size; first = last) {
        while (dag->indptr[k + 1] <= members[first]) k++;
        const int64_t start = dag->indptr[k];
        const double *bias = full + start * n, a00 = bias[start];
        for (last = first; last < size && members[last] < dag->indptr[k + 1]; last++) {
            const double mean = bias[members[last]] / a00;
            double *row = matrix + (size_t)last * size;
            for (int c = first; c <= last && !NAME(is_frozen)(solve, start); c++)
                row[c] += 0.01 * mean * bias[members[c]];
            if (members[last] > start) {
                const double range = NAME(range)(solve, dag->source[members[last]]);
                row[last] += solve->value * a00 * range * range;
            }
        }
    }
    return size;
}

static void NAME(full_direction)(const fk_dag *dag, const int32_t *members, int size,
                                 const double *solution, void *direction)
{
    memset(direction, 0, sizeof(REAL) * (size_t)dag->n_parameters);
    /* what the dtype cannot hold belongs to a saturated unit or a source of tiny range */
    for (int r = 0; r < size; r++)
        ((REAL *)direction)[members[r]] =
            MATH(fabs)((REAL)solution[r]) <= LARGEST ? (REAL)solution[r] : 0;
}

static void NAME(momentum)(int64_t first, int64_t last, double decay, const void *gradient,
                           void *velocity_, void *direction)
{
    REAL *velocity = velocity_;
    for (int64_t i = first; i < last; i++)
        ((REAL *)direction)[i] = velocity[i] =
            (REAL)decay * velocity[i] + ((const REAL *)gradient)[i];
}

static void NAME(adam)(int64_t first, int64_t last, int64_t step, double decay1, double decay2,
                       double damping, const void *gradient, void *mean_, void *square_,
                       void *direction)
{
    REAL *mean = mean_, *square = square_;
    const REAL b1 = (REAL)decay1, b2 = (REAL)decay2;
    const REAL correct1 = (REAL)(1 / (1 - pow(decay1, (double)step)));
    const REAL correct2 = (REAL)(1 / (1 - pow(decay2, (double)step)));
    for (int64_t i = first; i < last; i++) {
        const REAL g = ((const REAL *)gradient)[i];
        mean[i] = b1 * mean[i] + (1 - b1) * g;
        square[i] = b2 * square[i] + (1 - b2) * g * g;
        ((REAL *)direction)[i] =
            mean[i] * correct1 / (MATH(sqrt)(square[i] * correct2) + (REAL)damping);
    }
}

static void NAME(mask)(int64_t first, int64_t last, const uint8_t *frozen, void *values)
{
    for (int64_t i = first; i < last; i++)
        if (frozen[i]) ((REAL *)values)[i] = 0;
}

/* direction . G of one unit, G in raw coordinates. */
static double NAME(decrement)(const fk_dag *dag, const void *shift_, int32_t unit,
                              const void *gradient_, const void *direction_)
{
    const int64_t start = dag->indptr[unit], size = dag->indptr[unit + 1] - start;
    const REAL *g = (const REAL *)gradient_ + start, *d = (const REAL *)direction_ + start;
    const REAL *shift = shift_;
    const int32_t *source = dag->source + start;
    double sum = 0, bias = d[0];
    for (int64_t j = 1; j < size; j++) sum += (double)d[j] * g[j];
    if (shift)
        for (int64_t j = 1; j < size; j++) bias += (double)shift[source[j]] * d[j];
    return sum + bias * g[0];
}

static void NAME(advance)(void *theta, const void *origin, const void *direction, int64_t first,
                          int64_t last, double rate)
{
    for (int64_t i = first; i < last; i++)
        ((REAL *)theta)[i] =
            ((const REAL *)origin)[i] + (REAL)rate * ((const REAL *)direction)[i];
}

static const fk_step_leaves NAME(step_leaves) = {
    NAME(gather_weights), NAME(sum_slots), NAME(blend), NAME(diagonal), NAME(quasi_diagonal),
    LANES, NAME(unit_system), NAME(unit_systems), NAME(cholesky), NAME(unit_direction),
    NAME(full_system), NAME(full_direction), NAME(momentum), NAME(adam), NAME(mask),
    NAME(decrement), NAME(advance),
};

#undef ROUNDING
#undef SMALLEST
#undef LARGEST
#include "untemplate.h"
