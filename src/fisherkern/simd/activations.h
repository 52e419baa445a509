/* Activities s(z) and slopes r = s'(z) of one row [O, Notation]. */

FK_INLINE REAL NAME(normal_cdf)(REAL z)
{
    return (REAL)0.5 * MATH(erfc)(z * (REAL)-0.70710678118654752440);
}

/* Those beside which a call is cheap. */
static void NAME(activate_other)(int code, const void *z_, void *a_, void *r_)
{
    const REAL *restrict z = z_;
    const VEC *zs = z_;
    REAL unused[FK_TILE] __attribute__((aligned(64)));
    REAL *restrict a = a_, *restrict r = r_ ? r_ : unused;
    VEC *as = (VEC *)a, *rs = (VEC *)r, other[VECS];
    switch (code) {
    case FK_ERF:
        EACH_SAMPLE {
            a[t] = MATH(erf)(z[t]);
            r[t] = (REAL)1.12837916709551257390 * MATH(exp)(-z[t] * z[t]);
        }
        break;
    case FK_LECUN_TANH:
        EACH_VECTOR other[v] = zs[v] * (REAL)(2.0 / 3.0);
        EACH_ABREAST(v) NAME(tanh)(ABREAST, other + v, as + v, rs + v);
        EACH_VECTOR as[v] *= (REAL)1.7159, rs[v] *= (REAL)(1.7159 * 2.0 / 3.0);
        break;
    case FK_SOFTPLUS:
        EACH_VECTOR as[v] = NAME(magnitude)(zs[v]);
        EACH_ABREAST(v) {
            NAME(logistic)(ABREAST, zs + v, rs + v, other + v);
            NAME(exp_minus)(ABREAST, as + v, other + v);
        }
        EACH_VECTOR
            as[v] = NAME(select)(zs[v] < 0, (VEC){0}, zs[v]) + NAME(log1p)(other[v]);
        break;
    case FK_SILU:
        EACH_ABREAST(v) NAME(logistic)(ABREAST, zs + v, rs + v, other + v);
        EACH_VECTOR as[v] = zs[v] * rs[v], rs[v] *= 1 + zs[v] * other[v];
        break;
    case FK_GELU:
        EACH_SAMPLE {
            const REAL cdf = NAME(normal_cdf)(z[t]);
            const REAL density = (REAL)0.39894228040143267794 * MATH(exp)((REAL)-0.5 * z[t] * z[t]);
            a[t] = z[t] * cdf, r[t] = cdf + z[t] * density;
        }
        break;
    }
}

/* Activities and, where r is given, slopes, from z: exact where 1 - a would cancel. Inline for the
 * commonest: a call takes a third as long as tanh of a short row, and longer than relu.
 * relu and leaky relu are written so that a NaN stays one. */
FK_INLINE void NAME(activate_row)(int code, double leaky_slope, const REAL *restrict z,
                                  REAL *restrict a, REAL *restrict r)
{
    const REAL leak = (REAL)leaky_slope;
    const VEC *zs = (const VEC *)z;
    VEC *as = (VEC *)a, *rs = (VEC *)r, other[ABREAST];
    switch (code) {
    case FK_IDENTITY:
        EACH_SAMPLE a[t] = z[t];
        if (r) EACH_SAMPLE r[t] = 1;
        break;
    case FK_RELU:
        EACH_SAMPLE a[t] = z[t] < 0 ? 0 : z[t];
        if (r) EACH_SAMPLE r[t] = z[t] > 0 ? 1 : 0;
        break;
    case FK_LEAKY_RELU:
        EACH_SAMPLE a[t] = z[t] < 0 ? leak * z[t] : z[t];
        if (r) EACH_SAMPLE r[t] = z[t] > 0 ? 1 : leak;
        break;
    case FK_SIGMOID:
        EACH_ABREAST(v) {
            NAME(logistic)(ABREAST, zs + v, as + v, other);
            if (r) EACH(i, ABREAST) rs[v + i] = as[v + i] * other[i];
        }
        break;
    case FK_TANH:
        EACH_ABREAST(v) {
            NAME(tanh)(ABREAST, zs + v, as + v, other);
            if (r) EACH(i, ABREAST) rs[v + i] = other[i];
        }
        break;
    default: NAME(activate_other)(code, z, a, r);
    }
}

static void NAME(activate)(int code, double leaky_slope, const void *z, void *a, void *r)
{
    NAME(activate_row)(code, leaky_slope, z, a, r);
}

/* Slopes of the unit at position p: in the row that the forward pass kept, from the kept z, or
 * from the activities; in the latter cases they go to `buffer`. */
FK_INLINE const REAL *NAME(slopes)(const fk_dag *dag, int32_t p, const REAL *a, const REAL *kept,
                                   REAL *buffer)
{
    REAL again[FK_TILE] __attribute__((aligned(64)));
    const int code = dag->activation[p];
    const REAL below = code == FK_IDENTITY ? 1 : code == FK_RELU ? 0 : (REAL)dag->leaky_slope;
    if (dag->keeps[p] == FK_KEEPS_SLOPE) return kept;
    if (dag->keeps[p] == FK_KEEPS_Z)
        NAME(activate)(code, dag->leaky_slope, kept, again, buffer);
    else
        EACH_SAMPLE buffer[t] = a[t] > 0 ? 1 : below;
    return buffer;
}
