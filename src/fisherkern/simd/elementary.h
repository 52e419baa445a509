/* exp, tanh, logistic and log1p of vectors: polynomials after range reduction, without a branch.
 * Up to 3.1 units in the last place (tests/test_elementary.py); results below the smallest normal
 * number are zero. */

FK_INLINE VEC NAME(magnitude)(VEC x)
{
    return (VEC)((BITS)x & SIGN_OFF);
}

/* x = n ln 2 + r with |r| <= ln 2 / 2, for x in [-LOG_ZERO, 0]: returns r, and by `scale` 2^n, which
 * is 0 at LOG_ZERO, where the exponent's bits are 0. Adding ROUNDER leaves the rounded n in the low
 * bits. */
FK_INLINE VEC NAME(reduce)(VEC x, VEC *scale)
{
    const VEC shifted = x * (REAL)1.44269504088896340736 + ROUNDER;
    const VEC n = shifted - ROUNDER;
    *scale = (VEC)(((BITS)shifted + EXPONENT_BIAS) << MANTISSA_BITS);
    return (x - n * LN2_HIGH) - n * LN2_LOW;
}

/* e^r - 1 - r by its Taylor series, even and odd terms apart: two short chains of operations */
FK_INLINE VEC NAME(exp_tail)(VEC r)
{
    const VEC x = r * r;
#if FK_REAL_IS_DOUBLE
    VEC even = x * (1.0 / 479001600.0) + 1.0 / 3628800.0;
    VEC odd = x * (1.0 / 6227020800.0) + 1.0 / 39916800.0;
    even = even * x + 1.0 / 40320.0;
    odd = odd * x + 1.0 / 362880.0;
    even = even * x + 1.0 / 720.0;
    odd = odd * x + 1.0 / 5040.0;
#else
    VEC even = (VEC){0} + 1.0f / 720.0f, odd = (VEC){0} + 1.0f / 5040.0f;
#endif
    even = even * x + (REAL)(1.0 / 24.0);
    odd = odd * x + (REAL)(1.0 / 120.0);
    even = even * x + (REAL)0.5;
    odd = odd * x + (REAL)(1.0 / 6.0);
    return (even + odd * r) * x;
}

/* e^-x for x >= 0 */
FK_INLINE VEC NAME(exp_minus)(VEC x)
{
    VEC scale;
    const VEC size = NAME(select)(x > LOG_ZERO, (VEC){0} + LOG_ZERO, x);
    const VEC r = NAME(reduce)(-size, &scale);
    return scale * (1 + (r + NAME(exp_tail)(r)));
}

/* -e / (2 + e) with e = e^(-2 |x|) - 1, which keeps its digits near 0; and the slope
 * 4 (1 + e) / (2 + e)^2, which keeps them far from it. */
FK_INLINE VEC NAME(tanh)(VEC x, VEC *slope)
{
    VEC scale;
    VEC size = NAME(magnitude)(x);
    size = NAME(select)(size > LOG_ZERO / 2, (VEC){0} + LOG_ZERO / 2, size);
    const VEC r = NAME(reduce)(size * (REAL)-2, &scale);
    const VEC rest = r + NAME(exp_tail)(r), e = scale * rest + (scale - 1), part = 1 / (2 + e);
    const VEC t = -e * part;
    *slope = (2 * part) * (2 * part) * (scale * (1 + rest));
    return (VEC)((BITS)t | ((BITS)x & ~SIGN_OFF));
}

/* 1 / (1 + e^-x); *other is 1 minus that, without cancellation. */
FK_INLINE VEC NAME(logistic)(VEC x, VEC *other)
{
    const VEC e = NAME(exp_minus)(NAME(magnitude)(x));
    const VEC large = 1 / (1 + e), small = e * large;
    *other = NAME(select)(x < 0, large, small);
    return NAME(select)(x < 0, small, large);
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
