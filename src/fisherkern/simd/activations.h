/* Activities s(z) and slopes r = s'(z) of one row [O, Notation]. */

FK_INLINE REAL NAME(normal_cdf)(REAL z)
{
    return (REAL)0.5 * MATH(erfc)(z * (REAL)-0.70710678118654752440);
}

/* relu and leaky relu are written so that a NaN stays one */
static void NAME(activate)(int code, double leaky_slope, const void *z_, void *a_)
{
    const REAL *restrict z = z_, leak = (REAL)leaky_slope;
    const VEC *zs = z_;
    REAL *restrict a = a_;
    VEC *as = a_, other;
    switch (code) {
    case FK_SIGMOID: EACH_VECTOR as[v] = NAME(logistic)(zs[v], &other); break;
    case FK_TANH: EACH_VECTOR as[v] = NAME(tanh)(zs[v]); break;
    case FK_RELU: EACH_SAMPLE a[t] = z[t] < 0 ? 0 : z[t]; break;
    case FK_LEAKY_RELU: EACH_SAMPLE a[t] = z[t] < 0 ? leak * z[t] : z[t]; break;
    case FK_ERF: EACH_SAMPLE a[t] = MATH(erf)(z[t]); break;
    case FK_LECUN_TANH:
        EACH_VECTOR as[v] = NAME(tanh)(zs[v] * (REAL)(2.0 / 3.0)) * (REAL)1.7159;
        break;
    case FK_SOFTPLUS:
        EACH_VECTOR as[v] = NAME(select)(zs[v] < 0, (VEC){0}, zs[v])
            + NAME(log1p)(NAME(exp_minus)(NAME(magnitude)(zs[v])));
        break;
    case FK_SILU: EACH_VECTOR as[v] = zs[v] * NAME(logistic)(zs[v], &other); break;
    case FK_GELU: EACH_SAMPLE a[t] = z[t] * NAME(normal_cdf)(z[t]); break;
    default: memcpy(a, z, sizeof(REAL) * FK_TILE);
    }
}

/* Slopes; z is read only where the activity does not determine the slope (keeps_z). */
static void NAME(slopes)(int code, double leaky_slope, const REAL *restrict a, const REAL *restrict z,
                         REAL *restrict r)
{
    const REAL leak = (REAL)leaky_slope;
    VEC other;
    switch (code) {
    case FK_SIGMOID: EACH_SAMPLE r[t] = a[t] * (1 - a[t]); break;
    case FK_TANH: EACH_SAMPLE r[t] = 1 - a[t] * a[t]; break;
    case FK_RELU: EACH_SAMPLE r[t] = a[t] > 0 ? 1 : 0; break;
    case FK_LEAKY_RELU: EACH_SAMPLE r[t] = a[t] > 0 ? 1 : leak; break;
    case FK_ERF: EACH_SAMPLE r[t] = (REAL)1.12837916709551257390 * MATH(exp)(-z[t] * z[t]); break;
    case FK_LECUN_TANH:
        /* factored: exactly zero where |a| is the bound */
        EACH_SAMPLE r[t] = (REAL)(2 / (3 * 1.7159))
            * (((REAL)1.7159 - a[t]) * ((REAL)1.7159 + a[t]));
        break;
    case FK_SOFTPLUS:
        EACH_VECTOR ((VEC *)r)[v] = NAME(logistic)(((const VEC *)z)[v], &other);
        break;
    case FK_SILU:
        EACH_VECTOR {
            const VEC s = NAME(logistic)(((const VEC *)z)[v], &other);
            ((VEC *)r)[v] = s * (1 + ((const VEC *)z)[v] * other);
        }
        break;
    case FK_GELU:
        EACH_SAMPLE {
            const REAL density = (REAL)0.39894228040143267794 * MATH(exp)((REAL)-0.5 * z[t] * z[t]);
            r[t] = NAME(normal_cdf)(z[t]) + z[t] * density;
        }
        break;
    default: EACH_SAMPLE r[t] = 1;
    }
}
