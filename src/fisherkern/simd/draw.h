/* Targets drawn from the output distribution [O (100)], from random numbers that come with the
 * batch: standard normal (square) or uniform in [0, 1), one per output, or one per sample where the
 * outputs are the probabilities of classes. */

/* P(y = 1) of a Bernoulli output */
FK_INLINE void NAME(probability)(int code, const REAL *z, REAL *p)
{
    const REAL k = NAME(bernoulli_steepness)(code);
    VEC u[VECS], other[ABREAST];
    if (code == FK_ERF)
        EACH_SAMPLE p[t] = (REAL)0.5 * MATH(erfc)(-z[t]);
    else {
        EACH_VECTOR u[v] = ((const VEC *)z)[v] * k;
        EACH_ABREAST(v) NAME(logistic)(ABREAST, u + v, (VEC *)p + v, other);
    }
}

/* Not normalized, as far as the largest |a|, or a, is `top`. */
FK_INLINE double NAME(class_weight)(int interpretation, double a, double top)
{
    if (interpretation == FK_SOFTMAX) return exp(a - top);
    return top > 0 ? (a / top) * (a / top) : 0;
}

/* The class in whose share of the total the uniform number falls. */
static void NAME(draw_class)(const fk_dag *dag, int interpretation, const REAL *activities,
                             REAL uniform, REAL *targets, int t)
{
    double top = -INFINITY, total = 0, before = 0;
    int32_t chosen = 0;
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const double a = activities[(size_t)dag->outputs[o] * FK_TILE + t];
        top = fmax(top, interpretation == FK_SOFTMAX ? a : fabs(a));
    }
    for (int32_t o = 0; o < dag->n_outputs; o++)
        total += NAME(class_weight)(
            interpretation, activities[(size_t)dag->outputs[o] * FK_TILE + t], top);
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const double weight = NAME(class_weight)(
            interpretation, activities[(size_t)dag->outputs[o] * FK_TILE + t], top);
        targets[(size_t)o * FK_TILE + t] = 0;
        if (weight > 0 && before <= (double)uniform * total) chosen = o;
        before += weight;
    }
    targets[(size_t)chosen * FK_TILE + t] = 1;
}

static void NAME(draw)(const fk_dag *dag, int interpretation, int n_samples,
                       const void *activities_, const void *signals_, int rows,
                       const void *random_, void *targets_)
{
    const REAL *activities = activities_, *signals = signals_, *random = random_;
    REAL *targets = targets_;
    if (interpretation == FK_SOFTMAX || interpretation == FK_SPHERICAL) {
        for (int t = 0; t < n_samples; t++)
            NAME(draw_class)(dag, interpretation, activities, random[t], targets, t);
        return;
    }
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const int32_t p = dag->outputs[o];
        const REAL *a = activities + (size_t)p * FK_TILE, *u = random + (size_t)o * FK_TILE;
        REAL *y = targets + (size_t)o * FK_TILE;
        REAL one[FK_TILE] __attribute__((aligned(64)));
        if (interpretation == FK_SQUARE)
            EACH_SAMPLE y[t] = a[t] + u[t];
        else {
            NAME(probability)(dag->activation[p], signals + (size_t)p * rows * FK_TILE, one);
            EACH_SAMPLE y[t] = u[t] < one[t];
        }
    }
}
