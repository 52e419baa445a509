/* exp, tanh, logistic and log1p of vectors: polynomials after range reduction, without a branch.
 * Up to 3.1 units in the last place (tests/test_elementary.py); results below the smallest normal
 * number are zero. Where a function takes n vectors, it takes each step for all of them: one
 * vector's operations wait for each other. */

/* vectors of a row that are taken so at a time */
#define ABREAST (VECS < 4 ? VECS : 4)
#define EACH_ABREAST(v) for (int v = 0; v < VECS; v += ABREAST)

FK_INLINE VEC NAME(magnitude)(VEC x)
{
    return (VEC)((BITS)x & SIGN_OFF);
}

/* x = m ln 2 + r with |r| <= ln 2 / 2, for x in [-LOG_ZERO, 0]: x becomes r, and `scale` 2^m, which
 * is 0 at LOG_ZERO, where the exponent's bits are 0. Adding ROUNDER leaves the rounded m in the low
 * bits. */
FK_INLINE void NAME(reduce)(int n, VEC *x, VEC *scale)
{
    VEC m[ABREAST];
    EACH(i, n) scale[i] = x[i] * (REAL)1.44269504088896340736 + ROUNDER;
    EACH(i, n) m[i] = scale[i] - ROUNDER;
    EACH(i, n) scale[i] = (VEC)(((BITS)scale[i] + EXPONENT_BIAS) << MANTISSA_BITS);
    EACH(i, n) x[i] -= m[i] * LN2_HIGH;
    EACH(i, n) x[i] -= m[i] * LN2_LOW;
}

/* e^r - 1 by its Taylor series, even and odd terms apart: two short chains of operations */
FK_INLINE void NAME(exp_rest)(int n, const VEC *r, VEC *rest)
{
    VEC x[ABREAST], even[ABREAST], odd[ABREAST];
    EACH(i, n) x[i] = r[i] * r[i];
#define NEXT(high, low)                                                                          \
    EACH(i, n) even[i] = even[i] * x[i] + (REAL)(high);                                          \
    EACH(i, n) odd[i] = odd[i] * x[i] + (REAL)(low);
#if FK_REAL_IS_DOUBLE
    EACH(i, n) even[i] = (VEC){0} + 1.0 / 479001600.0, odd[i] = (VEC){0} + 1.0 / 6227020800.0;
    NEXT(1.0 / 3628800.0, 1.0 / 39916800.0)
    NEXT(1.0 / 40320.0, 1.0 / 362880.0)
    NEXT(1.0 / 720.0, 1.0 / 5040.0)
#else
    EACH(i, n) even[i] = (VEC){0} + 1.0f / 720.0f, odd[i] = (VEC){0} + 1.0f / 5040.0f;
#endif
    NEXT(1.0 / 24.0, 1.0 / 120.0)
    NEXT(0.5, 1.0 / 6.0)
#undef NEXT
    EACH(i, n) even[i] += odd[i] * r[i];
    EACH(i, n) rest[i] = r[i] + even[i] * x[i];
}

/* e^-x for x >= 0 */
FK_INLINE void NAME(exp_minus)(int n, const VEC *x, VEC *e)
{
    VEC r[ABREAST], scale[ABREAST];
    EACH(i, n) r[i] = -NAME(at_most)(x[i], LOG_ZERO);
    NAME(reduce)(n, r, scale);
    NAME(exp_rest)(n, r, r);
    EACH(i, n) e[i] = scale[i] * (1 + r[i]);
}

/* The sign of x on |e / (2 + e)| with e = e^(-2 |x|) - 1, which keeps its digits near 0; and the
 * slope 4 (1 + e) / (2 + e)^2, which keeps them far from it. */
FK_INLINE void NAME(tanh)(int n, const VEC *x, VEC *t, VEC *slope)
{
    VEC r[ABREAST], scale[ABREAST], e[ABREAST], part[ABREAST];
    EACH(i, n) r[i] = NAME(at_most)(NAME(magnitude)(x[i]), LOG_ZERO / 2) * (REAL)-2;
    NAME(reduce)(n, r, scale);
    NAME(exp_rest)(n, r, r);
    EACH(i, n) e[i] = scale[i] * r[i] + (scale[i] - 1);
    EACH(i, n) part[i] = 1 / (2 + e[i]);
    EACH(i, n) r[i] = scale[i] * (1 + r[i]);
    EACH(i, n) e[i] *= part[i];
    EACH(i, n) part[i] *= 2;
    EACH(i, n) t[i] = (VEC)(((BITS)e[i] & SIGN_OFF) | ((BITS)x[i] & ~SIGN_OFF));
    EACH(i, n) slope[i] = part[i] * part[i] * r[i];
}

/* 1 / (1 + e^-x); `other` is 1 minus that, without cancellation. */
FK_INLINE void NAME(logistic)(int n, const VEC *x, VEC *p, VEC *other)
{
    VEC size[ABREAST], e[ABREAST], large[ABREAST];
    EACH(i, n) size[i] = NAME(magnitude)(x[i]);
    NAME(exp_minus)(n, size, e);
    EACH(i, n) large[i] = 1 / (1 + e[i]);
    EACH(i, n) e[i] *= large[i];
    EACH(i, n) {
        const BITS below = x[i] < 0;
        p[i] = NAME(select)(below, e[i], large[i]);
        other[i] = NAME(select)(below, large[i], e[i]);
    }
}

/* log(1 + e) for e in [0, 1]: 2 artanh(s), s = e / (2 + e); above sqrt(2) - 1, log 2 plus the same
 * of (1 + e) / 2. */
FK_INLINE VEC NAME(log1p)(VEC e)
{
    const BITS upper = e > (REAL)0.41421356237309504880;
    const VEC s = NAME(select)(upper, e - 1, e) / NAME(select)(upper, e + 3, e + 2);
    const VEC s2 = s * s, x = s2 * s2;
#if FK_REAL_IS_DOUBLE
    VEC even = x * (2.0 / 23.0) + 2.0 / 19.0, odd = x * (2.0 / 21.0) + 2.0 / 17.0;
    even = even * x + 2.0 / 15.0;
    odd = odd * x + 2.0 / 13.0;
    even = even * x + 2.0 / 11.0;
    odd = odd * x + 2.0 / 9.0;
#else
    VEC even = (VEC){0} + 2.0f / 11.0f, odd = (VEC){0} + 2.0f / 9.0f;
#endif
    even = even * x + (REAL)(2.0 / 7.0);
    odd = odd * x + (REAL)(2.0 / 5.0);
    const VEC p = even * s2 + odd;
    const VEC twice = 2 * s + (p * s2 + (REAL)(2.0 / 3.0)) * (s2 * s);
    return NAME(select)(upper, twice + (REAL)0.69314718055994530942, twice);
}
