/* Vectors of one instruction set; in the leaves of a tile, a row is VECS of them. */

typedef REAL NAME(vec) __attribute__((vector_size(FK_VECTOR_BYTES)));
typedef INT NAME(bits) __attribute__((vector_size(FK_VECTOR_BYTES)));
typedef REAL NAME(quad) __attribute__((vector_size(4 * REAL_BYTES)));
typedef INT NAME(quad_bits) __attribute__((vector_size(4 * REAL_BYTES)));

#define VEC NAME(vec)
#define BITS NAME(bits)
#define QUAD NAME(quad)
#define QUAD_BITS NAME(quad_bits)
#define LANES (FK_VECTOR_BYTES / REAL_BYTES)

/* loops that must be unrolled, so that the arrays they index stay in registers */
#define EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)
#ifdef FK_TILE
#define VECS (FK_TILE / LANES)
_Static_assert(VECS * LANES == FK_TILE, "a row is whole vectors");
#define EACH_VECTOR for (int v = 0; v < VECS; v++)
#define EACH_SAMPLE for (int t = 0; t < FK_TILE; t++)
#endif

#ifdef __clang__
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#define SHUFFLE_QUADS SHUFFLE
#else
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (BITS){__VA_ARGS__})
#define SHUFFLE_QUADS(x, y, ...) __builtin_shuffle(x, y, (QUAD_BITS){__VA_ARGS__})
#endif

FK_INLINE VEC NAME(select)(BITS mask, VEC yes, VEC no)
{
    return (VEC)(((BITS)yes & mask) | ((BITS)no & ~mask));
}

/* The smaller of the two; a NaN stays one. */
FK_INLINE VEC NAME(at_most)(VEC x, REAL limit)
{
    const VEC most = (VEC){0} + limit;
#if FK_HAS_X86_TARGETS
    return FK_JOIN(FK_X86_MIN, X86_TYPE)(most, x); /* the second where they do not compare */
#else
    return NAME(select)(x > most, most, x);
#endif
}

/* The sum over the lanes of each of four vectors. */
FK_INLINE QUAD NAME(totals)(const VEC *x)
{
#if LANES == 2
    return (QUAD){x[0][0] + x[0][1], x[1][0] + x[1][1], x[2][0] + x[2][1], x[3][0] + x[3][1]};
#else
#if LANES == 4
#define EVEN(x, y) SHUFFLE(x, y, 0, 4, 2, 6)
#define ODD(x, y) SHUFFLE(x, y, 1, 5, 3, 7)
#define LOW(x, y) SHUFFLE(x, y, 0, 1, 4, 5)
#define HIGH(x, y) SHUFFLE(x, y, 2, 3, 6, 7)
#elif LANES == 8
#define EVEN(x, y) SHUFFLE(x, y, 0, 8, 1, 9, 4, 12, 5, 13)
#define ODD(x, y) SHUFFLE(x, y, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOW(x, y) SHUFFLE(x, y, 0, 1, 8, 9, 4, 5, 12, 13)
#define HIGH(x, y) SHUFFLE(x, y, 2, 3, 10, 11, 6, 7, 14, 15)
#else
#define EVEN(x, y) SHUFFLE(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define ODD(x, y) SHUFFLE(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW(x, y) SHUFFLE(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH(x, y) SHUFFLE(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#endif
    const VEC left = EVEN(x[0], x[1]) + ODD(x[0], x[1]);
    const VEC right = EVEN(x[2], x[3]) + ODD(x[2], x[3]);
    const VEC sum = LOW(left, right) + HIGH(left, right);
    QUAD parts[LANES / 4];
    memcpy(parts, &sum, sizeof sum);
    EACH(i, LANES / 4 - 1) parts[0] += parts[i + 1];
    return parts[0];
#undef EVEN
#undef ODD
#undef LOW
#undef HIGH
#endif
}

/* PART(n) with n = 4 for the entries [j, j + 4), and at last with what is left before `end` */
#define IN_FOURS(j, end, PART)                                                                   \
    do {                                                                                         \
        for (; (j) + 4 <= (end); (j) += 4) PART(4);                                              \
        if ((end) - (j) == 3)                                                                    \
            PART(3);                                                                             \
        else if ((end) - (j) == 2)                                                               \
            PART(2);                                                                             \
        else if ((end) - (j) == 1)                                                               \
            PART(1);                                                                             \
    } while (0)

/* Writes or adds the first n of four values. */
FK_INLINE void NAME(put)(REAL *place, int n, int add, QUAD value)
{
    if (n == 4) {
        QUAD old = {0};
        if (add) memcpy(&old, place, sizeof old);
        value += old;
        memcpy(place, &value, sizeof value);
    } else
        for (int i = 0; i < n; i++) place[i] = add ? place[i] + value[i] : value[i];
}
