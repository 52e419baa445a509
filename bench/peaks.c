/* What a core can do at most: fused multiply-adds in registers, reads of memory in order, and reads
 * of short rows at random. Compiled for the machine itself, by peaks.py. */
#include <stdint.h>

#if defined(__AVX512F__)
enum { BYTES = 64 };
#elif defined(__AVX__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
/* sums under way: four cycles of latency, two units */
enum { SUMS = 10, READS = 8 };

/* 2 SUMS lanes flops per turn; returns the lanes of a vector */
#define FMA(name, real)                                                                           \
    int name(int64_t turns, real factor, real *out)                                               \
    {                                                                                             \
        typedef real vec __attribute__((vector_size(BYTES)));                                     \
        vec sum[SUMS];                                                                            \
        const vec x = (vec){0} + factor, y = x * factor;                                          \
        for (int i = 0; i < SUMS; i++) sum[i] = y * (real)i;                                      \
        for (int64_t t = 0; t < turns; t++) {                                                     \
            _Pragma("GCC unroll 10") for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * x + y;      \
        }                                                                                         \
        *out = 0;                                                                                 \
        for (int i = 0; i < SUMS; i++) *out += sum[i][0];                                         \
        return BYTES / (int)sizeof(real);                                                         \
    }

FMA(fma_float32, float)
FMA(fma_float64, double)

typedef float vector __attribute__((vector_size(BYTES)));

static float total(const vector *sum)
{
    float all = 0;
    for (int i = 0; i < READS; i++) all += sum[i][0];
    return all;
}

/* `turns` times the n bytes from `data`, n a multiple of READS vectors. */
float read_in_order(const void *data, int64_t n, int64_t turns)
{
    vector sum[READS] = {{0}};
    for (int64_t t = 0; t < turns; t++) {
        const vector *p = data, *end = (const vector *)((const char *)data + n);
        for (; p < end; p += READS) {
            _Pragma("GCC unroll 8") for (int i = 0; i < READS; i++) sum[i] += p[i];
        }
        __asm__ volatile("" : : "r"(data) : "memory");
    }
    return total(sum);
}

/* `turns` times the rows of 128 bytes that are named, each times a weight, as a kernel's gather. */
float read_rows(const void *data, const int32_t *rows, int64_t n, int64_t turns)
{
    enum { ROW = 128 / BYTES, EDGES = READS / ROW };
    vector sum[READS] = {{0}};
    const vector *base = data;
    for (int64_t t = 0; t < turns; t++) {
        for (int64_t e = 0; e + EDGES <= n; e += EDGES) {
            _Pragma("GCC unroll 8") for (int i = 0; i < READS; i++)
                sum[i] += base[(int64_t)rows[e + i / ROW] * ROW + i % ROW] * 0.5f;
        }
        __asm__ volatile("" : : "r"(data) : "memory");
    }
    return total(sum);
}
