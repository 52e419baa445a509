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

/* Weights of the outgoing edges [first, last), the first of them at `weights_out`. */
static void NAME(gather_weights)(const fk_dag *dag, int64_t first, int64_t last, const void *theta,
                                 void *weights_out)
{
    for (int64_t e = first; e < last; e++)
        ((REAL *)weights_out)[e - first] = ((const REAL *)theta)[dag->out_parameter[e]];
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

static void NAME(arrange)(void *out, const void *values, const int32_t *places, int64_t first,
                          int64_t last)
{
    for (int64_t i = first; i < last; i++)
        ((REAL *)out)[i] = ((const REAL *)values)[places[i]];
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

/* What the range rule adds to a weight's entry over its source's squared range. */
FK_INLINE REAL NAME(range_damping)(const fk_solve *solve, REAL a00, int64_t size)
{
    return (REAL)solve->value * a00 + (REAL)(solve->prior * (double)(size - 1));
}

/* G' = G - p w with the prior's precision p = prior fan_in range^2 of each weight, and each unit's
 * p w^2 / 2 over its free weights: what the prior adds to the loss. */
static void NAME(pull)(const fk_dag *dag, const fk_solve *solve, int32_t first, int32_t last,
                       const void *theta, void *gradient, double *penalty)
{
    for (int32_t k = first; k < last; k++) {
        const int64_t block = dag->indptr[k], size = dag->indptr[k + 1] - block;
        const REAL *w = (const REAL *)theta + block, scale = NAME(range_damping)(solve, 0, size);
        REAL *g = (REAL *)gradient + block;
        double twice = 0;
        for (int64_t j = 1; j < size; j++) {
            const REAL range = NAME(range)(solve, dag->source[block + j]);
            const REAL pulled = scale * range * (range * w[j]);
            g[j] -= pulled;
            if (!NAME(is_frozen)(solve, block + j)) twice += (double)pulled * w[j];
        }
        penalty[k] = 0.5 * twice;
    }
}

/* 0 where the divisor is below the smallest normal number: the quotient could overflow, and the
 * divisor's digits are lost; the unit is saturated, or its source's range too small for the dtype.
 * NaN where the divisor has overflowed: nothing is known of it */
FK_INLINE REAL NAME(quotient)(REAL value, REAL divisor)
{
    return divisor < SMALLEST ? 0 : value / (divisor + (divisor - divisor));
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
        const int64_t size = dag->indptr[k + 1] - block;
        if (by_range && a[0] < SMALLEST) { /* a saturated unit stays, under a prior too */
            memset(d, 0, sizeof(REAL) * (size_t)size);
            continue;
        }
        for (int64_t j = 0; j < size; j++) {
            const REAL range = by_range && j ? NAME(range)(solve, source[j]) : 0;
            REAL damped = a[j] + epsilon;
            if (by_range)
                damped = a[j] + (j ? NAME(range_damping)(solve, a[0], size) * range * range
                                   : (REAL)0.01 * a[0]);
            if (root) damped = MATH(sqrt)(damped);
            const int stays = NAME(is_frozen)(solve, block + j) || (by_range && j && range == 0);
            d[j] = stays ? 0 : NAME(quotient)(g[j], damped);
        }
    }
}

/* What the weights of one unit share in the quasi-diagonal step. */
typedef struct {
    int free_bias;
    REAL g0, a00, inverse, size;
    REAL share;     /* epsilon / (a00 + epsilon) */
    REAL by_range;  /* range_damping */
} NAME(quasi_diagonal_unit);

/* Directions of LANES weights, and how much each moves the bias; `range` is of their sources. */
FK_INLINE VEC NAME(quasi_diagonal_weights)(const fk_solve *solve, int by_range,
                                           const NAME(quasi_diagonal_unit) *u, VEC g, VEC second,
                                           VEC cross, VEC shift, VEC range, VEC *carried)
{
    const REAL epsilon = (REAL)solve->value;
    const VEC centred = cross * u->inverse, mean = shift + centred, none = {0};
    VEC variance = second - cross * centred, right = g - centred * u->g0, divisor;
    BITS moves = none == none;
    variance = NAME(select)(variance < 0, none, variance);
    *carried = mean;
    if (!u->free_bias) {
        variance += mean * mean * u->a00;
        right = g + shift * u->g0;
    }
    if (by_range) {
        divisor = variance + u->by_range * range * range;
        moves = range != 0;
    } else if (epsilon == 0) {
        /* what is left of the variance of an input that rounding alone makes vary */
        const VEC noise = 4 * (REAL)ROUNDING * mean;
        divisor = variance;
        moves = ~(variance <= 4 * u->size * (REAL)ROUNDING * second + noise * noise * u->a00);
    } else {
        if (u->free_bias) {
            /* A00 + epsilon moves both the centre and the reduced variance */
            variance += mean * mean * u->a00 * u->share;
            right += mean * u->g0 * u->share;
            *carried = mean * (1 - u->share);
        }
        divisor = variance + epsilon;
    }
    /* see `quotient` */
    moves &= ~(divisor < SMALLEST);
    divisor += divisor - divisor;
    return NAME(select)(moves, right / NAME(select)(moves, divisor, none + 1), none);
}

/* The first n <= LANES values from `array` on. */
FK_INLINE VEC NAME(part)(const REAL *array, int n)
{
    VEC values = {0};
    if (n == LANES)
        memcpy(&values, array, sizeof values);
    else
        for (int l = 0; l < n; l++) values[l] = array[l];
    return values;
}

/* Which of the entries [j, j + n) of a block are weights that may move. */
FK_INLINE BITS NAME(free_weights)(const fk_solve *solve, int64_t block, int64_t j, int64_t size,
                                  int n)
{
    BITS entry;
    EACH(l, LANES) entry[l] = (INT)l;
    BITS free = (entry > (INT)-j) & (entry < (INT)(size - j));
    for (int l = 0; solve->frozen && l < n; l++)
        if (solve->frozen[block + j + l]) free[l] = 0;
    return free;
}

/* Sums over the weights of a unit: what they take from its bias, and d_j G_j, G in raw
 * coordinates. */
typedef struct {
    VEC taken, gain;
} NAME(weight_sums);

/* Entries [j, j + LANES) of one unit's block, of which n may be read and written. */
FK_INLINE void NAME(quasi_diagonal_entries)(const fk_solve *solve, int by_range,
                                            const NAME(quasi_diagonal_unit) *unit, int64_t block,
                                            int64_t j, int64_t size, int n, const int32_t *source,
                                            const REAL *gradient, const REAL *diagonal,
                                            const REAL *crosses, REAL *direction,
                                            NAME(weight_sums) *sums)
{
    const int64_t e = block + j;
    const VEC g = NAME(part)(gradient + e, n);
    VEC shift = {0}, range = {0}, carried;
    if (solve->shift) EACH(l, LANES) if (l < n) shift[l] = NAME(origin)(solve, source[e + l]);
    if (by_range) EACH(l, LANES) if (l < n) range[l] = NAME(range)(solve, source[e + l]);
    VEC d = NAME(quasi_diagonal_weights)(solve, by_range, unit, g, NAME(part)(diagonal + e, n),
                                         NAME(part)(crosses + e, n), shift, range, &carried);
    d = NAME(select)(NAME(free_weights)(solve, block, j, size, n), d, (VEC){0});
    /* nothing is carried by what stays, even where the mean is infinite */
    sums->taken += NAME(select)(d != 0, carried * d, (VEC){0});
    sums->gain += d * (g + shift * unit->g0);
    if (n == LANES)
        memcpy(direction + e, &d, sizeof d);
    else
        for (int l = 0; l < n; l++) direction[e + l] = d[l];
}

FK_INLINE REAL NAME(lane_sum)(VEC values)
{
    REAL sum = values[0];
    EACH(l, LANES - 1) sum += values[l + 1];
    return sum;
}

/* One unit. A vector may reach past its block into entries that are written later, but not past
 * the next `limit` entries. Returns direction . G. */
FK_INLINE double NAME(quasi_diagonal_block)(const fk_solve *solve, int by_range,
                                            const NAME(quasi_diagonal_unit) *unit, REAL damped,
                                            int64_t block, int64_t size, int64_t limit,
                                            const int32_t *source, const REAL *gradient,
                                            const REAL *diagonal, const REAL *crosses,
                                            REAL *direction)
{
    NAME(weight_sums) sums = {{0}, {0}};
    int64_t j = 0;
    for (; j < size && j + LANES <= limit; j += LANES)
        NAME(quasi_diagonal_entries)(solve, by_range, unit, block, j, size, LANES, source,
                                     gradient, diagonal, crosses, direction, &sums);
    if (j < size)
        NAME(quasi_diagonal_entries)(solve, by_range, unit, block, j, size, (int)(limit - j),
                                     source, gradient, diagonal, crosses, direction, &sums);
    const REAL bias = unit->free_bias ? unit->g0 / damped - NAME(lane_sum)(sums.taken) : 0;
    direction[block] = bias;
    return (double)NAME(lane_sum)(sums.gain) + (double)bias * unit->g0;
}

FK_INLINE void NAME(quasi_diagonal_units)(const fk_dag *dag, const fk_solve *solve, int by_range,
                                          int32_t first, int32_t last, const REAL *gradient,
                                          const REAL *diagonal, const REAL *crosses,
                                          REAL *direction, double *decrement)
{
    for (int32_t k = first; k < last; k++) {
        const int64_t block = dag->indptr[k], size = dag->indptr[k + 1] - block;
        const REAL g0 = gradient[block], a00 = diagonal[block];
        const int free_bias = !NAME(is_frozen)(solve, block);
        const REAL damped = by_range ? (REAL)1.01 * a00 : a00 + (REAL)solve->value;
        /* below the smallest normal number the inverse would overflow: the unit is saturated */
        if (damped < SMALLEST) {
            memset(direction + block, 0, sizeof(REAL) * (size_t)size);
            if (decrement) decrement[k] = 0;
            continue;
        }
        const NAME(quasi_diagonal_unit) unit = {
            free_bias, g0, a00, a00 >= SMALLEST ? 1 / a00 : 0, (REAL)size,
            by_range ? 0 : (REAL)solve->value / damped,
            by_range ? NAME(range_damping)(solve, a00, size) : 0,
        };
        const double promised = NAME(quasi_diagonal_block)(
            solve, by_range, &unit, damped, block, size,
            direction == gradient ? size : dag->indptr[last] - block, dag->source, gradient,
            diagonal, crosses, direction);
        if (decrement) decrement[k] = promised;
    }
}

/* [O Prop. 25] with damping as docs/methods.md, and each unit's direction . G where `decrement` is
 * given; the direction may take the gradient's place. O(n_edges). */
static void NAME(quasi_diagonal)(const fk_dag *dag, const fk_solve *solve, int32_t first,
                                 int32_t last, const void *gradient, const void *diagonal,
                                 const void *cross, void *direction, double *decrement)
{
    const fk_solve local = *solve; /* a copy that the writes below cannot alias */
    if (local.rule == FK_DAMPING_RANGE)
        NAME(quasi_diagonal_units)(dag, &local, 1, first, last, gradient, diagonal, cross,
                                   direction, decrement);
    else
        NAME(quasi_diagonal_units)(dag, &local, 0, first, last, gradient, diagonal, cross,
                                   direction, decrement);
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
                row[last] += (solve->value * a00
                              + solve->prior * (double)(dag->indptr[k + 1] - start - 1))
                             * range * range;
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

/* Whether every value that `advance` would make is finite. */
static int NAME(lands)(const void *origin, const void *direction, int64_t first, int64_t last,
                       double rate)
{
    const REAL infinite = INFINITY;
    INT largest = 0, limit;
    memcpy(&limit, &infinite, sizeof limit);
    for (int64_t i = first; i < last; i++) {
        const REAL size = MATH(fabs)(((const REAL *)origin)[i]
                                     + (REAL)rate * ((const REAL *)direction)[i]);
        INT bits; /* of values that are not negative, in the values' order; NaN above infinity */
        memcpy(&bits, &size, sizeof bits);
        largest = bits > largest ? bits : largest;
    }
    return largest < limit;
}

static const fk_step_leaves NAME(step_leaves) = {
    NAME(gather_weights), NAME(sum_slots), NAME(arrange), NAME(blend), NAME(diagonal),
    NAME(quasi_diagonal), NAME(pull), LANES, NAME(unit_system), NAME(unit_systems),
    NAME(cholesky), NAME(unit_direction),
    NAME(full_system), NAME(full_direction), NAME(momentum), NAME(adam), NAME(mask),
    NAME(decrement), NAME(lands), NAME(advance),
};

#undef ROUNDING
#undef SMALLEST
#undef LARGEST
#include "untemplate.h"
