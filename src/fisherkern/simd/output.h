/* Output layer of one tile [O Example 1, (7), (27), Def. 3]: the loss, and each output's direct
 * terms in reduced form: r b and r^2 Omega_oo, formed without dividing by a saturated slope.
 * `direct` holds two rows per output. With reduced = 0 the second row is Omega_oo itself. */

typedef struct {
    REAL value, modulus;
    double loss;
} NAME(direct);

/* (2 / sqrt(pi)) / erfcx(z): the erf unit's slope over 1 - a, by a continued fraction where
 * erfc underflows. */
FK_INLINE double NAME(erf_hazard)(double z)
{
    if (z < 5) return 1.12837916709551257390 * exp(-z * z) / erfc(z);
    double tail = z;
    for (int n = 24; n >= 1; n--) tail = z + 0.5 * n / tail;
    return 2 * tail;
}

/* log(erfc(z) / 2) */
FK_INLINE double NAME(log_half_erfc)(double z)
{
    if (z < 0) return log1p(-0.5 * erfc(-z));
    if (z < 5) return log(0.5 * erfc(z));
    return -z * z - log(1.77245385090551602730 * NAME(erf_hazard)(z));
}

FK_INLINE NAME(direct) NAME(bernoulli_erf)(double z, double y, int reduced)
{
    const double up = NAME(erf_hazard)(-z), down = NAME(erf_hazard)(z);
    const double modulus = reduced ? up * down : 1 / (erfc(z) * erfc(-z));
    /* the product with a zero target is zero even where the logarithm is infinite */
    const double loss = -((y > 0 ? y * NAME(log_half_erfc)(-z) : 0)
                          + (y < 1 ? (1 - y) * NAME(log_half_erfc)(z) : 0));
    return (NAME(direct)){(REAL)(y * up - (1 - y) * down), (REAL)modulus, loss};
}

FK_INLINE REAL NAME(bernoulli_steepness)(int code)
{
    return code == FK_TANH ? 2 : code == FK_LECUN_TANH ? (REAL)(4.0 / 3.0) : 1;
}

/* p = logistic(k z); density is dp/da. Rows: z, y in; value, modulus, loss out. The loss lacks
 * log(1 + e), e = exp(-|k z|): `product` gathers the product of all 1 + e, less one, so that one
 * logarithm serves many outputs and none of its digits is lost. */
FK_INLINE void NAME(bernoulli_logistic)(const VEC *z, const VEC *y, REAL k, REAL density,
                                        int reduced, VEC *value, VEC *modulus, VEC *loss,
                                        VEC *product)
{
    VEC size[VECS], e[VECS], large[VECS];
    EACH_VECTOR size[v] = NAME(magnitude)(z[v] * k);
    EACH_ABREAST(v) NAME(exp_minus)(ABREAST, size + v, e + v);
    EACH_VECTOR large[v] = 1 / (1 + e[v]);
    EACH_VECTOR {
        const VEC small = e[v] * large[v];
        const BITS below = z[v] * k < 0;
        const VEC p = NAME(select)(below, small, large[v]);
        const VEC q = NAME(select)(below, large[v], small);
        value[v] = (y[v] * q - (1 - y[v]) * p) * k;
        modulus[v] = reduced ? p * q * (k * k) : density * density / (p * q);
        loss[v] = size[v] * NAME(select)(below, y[v], 1 - y[v]);
        product[v] += e[v] + e[v] * product[v];
    }
}

static void NAME(flush_product)(REAL *product, double *losses)
{
    EACH_SAMPLE {
        losses[t] += log1p((double)product[t]);
        product[t] = 0;
    }
}

/* y - a: near a bound of the activity, from the distance to that bound, which does not cancel */
FK_INLINE REAL NAME(residual)(int code, REAL y, REAL a, REAL r, REAL z)
{
    const REAL size = MATH(fabs)(a), bound = a < 0 ? -1 : 1;
    if (!(size > (REAL)0.5)) return y - a;
    if (code == FK_SIGMOID) return (y - 1) + r / a;
    if (code == FK_TANH) return (y - bound) + bound * (r / (1 + size));
    if (code == FK_ERF) return (y - bound) + bound * MATH(erfc)(MATH(fabs)(z));
    return y - a;
}

static void NAME(square)(int code, const REAL *a, const REAL *z, const REAL *y, const REAL *r,
                         int reduced, REAL *value, REAL *modulus, REAL *loss)
{
    const int bounded = code == FK_SIGMOID || code == FK_TANH || code == FK_ERF;
    EACH_SAMPLE loss[t] = y[t] - a[t];
    if (bounded) EACH_SAMPLE loss[t] = NAME(residual)(code, y[t], a[t], r[t], z[t]);
    EACH_SAMPLE {
        value[t] = r[t] * loss[t];
        modulus[t] = reduced ? r[t] * r[t] : 1;
        loss[t] *= (REAL)0.5 * loss[t];
    }
}

static void NAME(output_separate)(const fk_dag *dag, int interpretation, int n_samples,
                                  int reduced, const REAL *activities, const REAL *signals,
                                  int rows, const REAL *targets, REAL *direct, double *losses)
{
    VEC product[VECS] = {0};
    EACH_SAMPLE losses[t] = 0;
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const int32_t p = dag->outputs[o];
        const REAL *a = activities + (size_t)p * FK_TILE;
        const REAL *z = signals + (size_t)p * rows * FK_TILE, *y = targets + (size_t)o * FK_TILE;
        REAL *value = direct + (size_t)o * 2 * FK_TILE, *modulus = value + FK_TILE;
        const int code = dag->activation[p];
        REAL loss[FK_TILE] __attribute__((aligned(64)));
        if (interpretation == FK_SQUARE) {
            REAL buffer[FK_TILE] __attribute__((aligned(64)));
            const REAL *r = NAME(slopes)(dag, p, a, z, buffer);
            NAME(square)(code, a, z, y, r, reduced, value, modulus, loss);
        } else if (code == FK_ERF)
            EACH_SAMPLE {
                const NAME(direct) d = NAME(bernoulli_erf)(z[t], y[t], reduced);
                value[t] = d.value, modulus[t] = d.modulus, loss[t] = (REAL)d.loss;
            }
        else {
            const REAL k = NAME(bernoulli_steepness)(code);
            const REAL density = code == FK_TANH ? (REAL)0.5
                : code == FK_LECUN_TANH ? (REAL)(0.5 / 1.7159) : 1;
            NAME(bernoulli_logistic)((const VEC *)z, (const VEC *)y, k, density, reduced,
                                     (VEC *)value, (VEC *)modulus, (VEC *)loss, product);
            /* 64 factors of at most 2 fit every dtype */
            if (o % 64 == 63) NAME(flush_product)((REAL *)product, losses);
        }
        EACH_SAMPLE losses[t] += loss[t];
        for (int t = n_samples; t < FK_TILE; t++) value[t] = modulus[t] = 0;
    }
    if (interpretation == FK_BERNOULLI) NAME(flush_product)((REAL *)product, losses);
}

/* q_o = sum of the p_j with j != o for one sample, by prefix and suffix sums: 1 - p_o would
 * cancel. Each output has `stride` rows: p in the first, q goes to the second. */
FK_INLINE void NAME(others)(int n_outputs, int stride, REAL *rows, int t)
{
    REAL before = 0, after = 0;
    for (int32_t o = 0; o < n_outputs; o++) {
        REAL *p = rows + (size_t)o * stride * FK_TILE + t;
        p[FK_TILE] = before;
        before += *p;
    }
    for (int32_t o = n_outputs - 1; o >= 0; o--) {
        REAL *p = rows + (size_t)o * stride * FK_TILE + t;
        p[FK_TILE] += after;
        after += *p;
    }
}

/* What turns the output activities of one sample into the probabilities of classes: the largest
 * (spherical: in size), and the sum relative to it. */
typedef struct {
    REAL top, sum;
} NAME(scale);

/* p and q = 1 - p of a softmax */
FK_INLINE NAME(scale) NAME(softmax)(const fk_dag *dag, const REAL *activities, int stride,
                                    REAL *rows, int t)
{
    NAME(scale) scale = {-INFINITY, 0};
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const REAL a = activities[(size_t)dag->outputs[o] * FK_TILE + t];
        if (!(a <= scale.top)) scale.top = a;
    }
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        REAL *p = rows + (size_t)o * stride * FK_TILE + t;
        *p = MATH(exp)(activities[(size_t)dag->outputs[o] * FK_TILE + t] - scale.top);
        scale.sum += *p;
    }
    for (int32_t o = 0; o < dag->n_outputs; o++)
        rows[(size_t)o * stride * FK_TILE + t] /= scale.sum;
    NAME(others)(dag->n_outputs, stride, rows, t);
    return scale;
}

/* The same for the spherical model P(o) = a_o^2 / S, sums of (a / top)^2 not divided by S. */
FK_INLINE NAME(scale) NAME(spherical)(const fk_dag *dag, const REAL *activities, int stride,
                                      REAL *rows, int t)
{
    NAME(scale) scale = {0, 0};
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const REAL a = MATH(fabs)(activities[(size_t)dag->outputs[o] * FK_TILE + t]);
        if (!(a <= scale.top)) scale.top = a;
    }
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const REAL a = activities[(size_t)dag->outputs[o] * FK_TILE + t];
        const REAL u = a / (scale.top > 0 ? scale.top : 1);
        rows[(size_t)o * stride * FK_TILE + t] = u * u;
        scale.sum += u * u;
    }
    NAME(others)(dag->n_outputs, stride, rows, t);
    return scale;
}

/* Unreduced direct terms of a softmax over the output activities, and the loss. */
static double NAME(softmax_sample)(const fk_dag *dag, const REAL *activities, const REAL *targets,
                                   REAL *direct, int t)
{
    const NAME(scale) scale = NAME(softmax)(dag, activities, 2, direct, t);
    const double log_sum = log((double)scale.sum);
    double loss = 0;
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        REAL *value = direct + (size_t)o * 2 * FK_TILE + t;
        const REAL y = targets[(size_t)o * FK_TILE + t], p = value[0], q = value[FK_TILE];
        const REAL a = activities[(size_t)dag->outputs[o] * FK_TILE + t];
        if (y > 0) loss += y * (p > q ? log1p((double)q / p) : log_sum - ((double)a - scale.top));
        value[0] = y * q - (1 - y) * p;
        value[FK_TILE] = p * q;
    }
    return loss;
}

/* The same for the spherical model; a fault is an output of zero that its target needs. */
static double NAME(spherical_sample)(const fk_dag *dag, const REAL *activities,
                                     const REAL *targets, REAL *direct, int t,
                                     NAME(scale) *scale, fk_fault *fault)
{
    *scale = NAME(spherical)(dag, activities, 2, direct, t);
    const double top = scale->top, sum = scale->sum;
    double loss = 0;
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const REAL *share = direct + (size_t)o * 2 * FK_TILE + t;
        const double y = targets[(size_t)o * FK_TILE + t], p = share[0], q = share[FK_TILE];
        const double u = activities[(size_t)dag->outputs[o] * FK_TILE + t] / (top > 0 ? top : 1);
        if (y > 0) {
            if (u == 0 && fault->sample < 0) *fault = (fk_fault){t, o};
            loss += y * (p > q ? log1p(q / p) : log(sum) - 2 * log(fabs(u)));
        }
    }
    return top > 0 ? loss : INFINITY;
}

/* Its direct terms at one output, reduced before anything is divided by a small radius */
FK_INLINE void NAME(spherical_terms)(NAME(scale) scale, int reduced, double a, double r, double y,
                                     REAL *value, REAL *modulus)
{
    const double top = scale.top, sum = scale.sum, q = *modulus / sum, rate = r / top;
    if (!(top > 0)) {
        *value = 0, *modulus = reduced ? 0 : INFINITY;
        return;
    }
    /* 2 y / a - 2 a / S without the difference */
    const double own = y > 0 && a != 0 ? y * q * (r / a) : 0;
    *value = (REAL)(2 * (own - (1 - y) * (a / top) / sum * rate));
    *modulus = (REAL)(reduced ? 4 * q / sum * rate * rate : 4 * q / sum / top / top);
}

/* Square root of Omega over the classes of one sample, R R^T = Omega, unreduced: R_oe = own_o where
 * e = o and -left_o right_e elsewhere, own and left still to be multiplied by what is returned.
 * Each output has three rows: own, left, right. */
static double NAME(class_roots)(const fk_dag *dag, int interpretation, const REAL *activities,
                                REAL *roots, int t)
{
    const int softmax = interpretation == FK_SOFTMAX;
    const NAME(scale) scale = softmax ? NAME(softmax)(dag, activities, 3, roots, t)
        : NAME(spherical)(dag, activities, 3, roots, t);
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        REAL *own = roots + (size_t)o * 3 * FK_TILE + t, *left = own + FK_TILE;
        REAL *right = left + FK_TILE;
        const REAL p = own[0], q = left[0];
        if (softmax) {
            *right = MATH(sqrt)(p);
            *own = q * *right, *left = p;
        } else if (scale.top > 0) {
            *right = activities[(size_t)dag->outputs[o] * FK_TILE + t] / scale.top
                / MATH(sqrt)(scale.sum);
            *own = q / scale.sum, *left = *right;
        } else
            *own = 1, *left = *right = 0;
    }
    return softmax ? 1 : 2 / ((double)scale.top * sqrt((double)scale.sum));
}

static fk_fault NAME(output)(const fk_dag *dag, int interpretation, int n_samples, int reduced,
                             const void *activities_, const void *signals_, int rows,
                             const void *targets, void *direct_, double *losses)
{
    const REAL *activities = activities_, *signals = signals_;
    REAL *direct = direct_;
    fk_fault fault = {-1, -1};
    if (interpretation == FK_SQUARE || interpretation == FK_BERNOULLI) {
        NAME(output_separate)(dag, interpretation, n_samples, reduced, activities, signals, rows,
                              targets, direct, losses);
        return fault;
    }
    memset(direct, 0, sizeof(REAL) * 2 * FK_TILE * (size_t)dag->n_outputs);
    NAME(scale) scales[FK_TILE];
    for (int t = 0; t < n_samples; t++)
        losses[t] = interpretation == FK_SOFTMAX
            ? NAME(softmax_sample)(dag, activities, targets, direct, t)
            : NAME(spherical_sample)(dag, activities, targets, direct, t, &scales[t], &fault);
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const int32_t p = dag->outputs[o];
        REAL *value = direct + (size_t)o * 2 * FK_TILE;
        REAL buffer[FK_TILE] __attribute__((aligned(64)));
        const REAL *r = NAME(slopes)(dag, p, activities + (size_t)p * FK_TILE,
                                     signals + (size_t)p * rows * FK_TILE, buffer);
        for (int t = 0; t < n_samples; t++) {
            if (interpretation == FK_SPHERICAL) {
                NAME(spherical_terms)(scales[t], reduced, activities[(size_t)p * FK_TILE + t],
                                      r[t], ((const REAL *)targets)[(size_t)o * FK_TILE + t],
                                      &value[t], &value[FK_TILE + t]);
                continue;
            }
            value[t] *= r[t];
            if (reduced) value[FK_TILE + t] *= r[t] * r[t];
        }
    }
    return fault;
}
