/* Activities s(z) and slopes r = s'(z) of one row [O, Notation]. */

#define EACH_SAMPLE for (int t = 0; t < FK_TILE; t++)

FK_INLINE REAL NAME(logistic)(REAL z)
{
    const REAL e = MATH(exp)(-MATH(fabs)(z));
    return (z < 0 ? e : (REAL)1) / (1 + e);
}

FK_INLINE REAL NAME(normal_cdf)(REAL z)
{
    return (REAL)0.5 * MATH(erfc)(z * (REAL)-0.70710678118654752440);
}

static void NAME(activate)(int code, double leaky_slope, const void *z_, void *a_)
{
    const REAL *restrict z = z_, leak = (REAL)leaky_slope;
    REAL *restrict a = a_;
    switch (code) {
    case FK_SIGMOID: EACH_SAMPLE a[t] = NAME(logistic)(z[t]); break;
    case FK_TANH: EACH_SAMPLE a[t] = MATH(tanh)(z[t]); break;
    /* written so that a NaN stays one */
    case FK_RELU: EACH_SAMPLE a[t] = z[t] < 0 ? 0 : z[t]; break;
    case FK_LEAKY_RELU: EACH_SAMPLE a[t] = z[t] < 0 ? leak * z[t] : z[t]; break;
    case FK_ERF: EACH_SAMPLE a[t] = MATH(erf)(z[t]); break;
    case FK_LECUN_TANH:
        EACH_SAMPLE a[t] = (REAL)1.7159 * MATH(tanh)(z[t] * (REAL)(2.0 / 3.0));
        break;
    case FK_SOFTPLUS:
        EACH_SAMPLE a[t] = (z[t] < 0 ? 0 : z[t]) + MATH(log1p)(MATH(exp)(-MATH(fabs)(z[t])));
        break;
    case FK_SILU: EACH_SAMPLE a[t] = z[t] * NAME(logistic)(z[t]); break;
    case FK_GELU: EACH_SAMPLE a[t] = z[t] * NAME(normal_cdf)(z[t]); break;
    default: EACH_SAMPLE a[t] = z[t];
    }
}

/* Slopes; z is read only where the activity does not determine the slope (keeps_z). */
static void NAME(slopes)(int code, double leaky_slope, const REAL *restrict a, const REAL *restrict z,
                         REAL *restrict r)
{
    const REAL leak = (REAL)leaky_slope;
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
    case FK_SOFTPLUS: EACH_SAMPLE r[t] = NAME(logistic)(z[t]); break;
    case FK_SILU:
        EACH_SAMPLE {
            const REAL s = NAME(logistic)(z[t]);
            r[t] = s * (1 + z[t] * NAME(logistic)(-z[t]));
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
