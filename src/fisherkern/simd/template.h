/* Names and types of one instantiation; the including file defines FK_REAL_IS_DOUBLE. */
#include <math.h>
#include <string.h>

#define FK_JOIN_(a, b) a##_##b
#define FK_JOIN(a, b) FK_JOIN_(a, b)

#define FK_INLINE static inline __attribute__((always_inline))

#if FK_REAL_IS_DOUBLE
#define REAL double
#define REAL_BYTES 8
#define INT int64_t
#define SIGN_OFF INT64_C(0x7fffffffffffffff)
#define ROUNDER 0x1.8p52
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define LOG_ZERO 709.08 /* 1023 ln 2 */
#define MATH(name) name
#define X86_TYPE pd
#define FK_DTYPE f64
#else
#define REAL float
#define REAL_BYTES 4
#define INT int32_t
#define SIGN_OFF 0x7fffffff
#define ROUNDER 0x1.8p23f
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define LN2_HIGH 0x1.62ep-1f
#define LN2_LOW 0x1.0bfbe8p-15f
#define LOG_ZERO 88.02f /* 127 ln 2 */
#define MATH(name) FK_MATH_FLOAT(name)
#define X86_TYPE ps
#define FK_MATH_FLOAT(name) name##f
#define FK_DTYPE f32
#endif

#ifdef FK_TILE
#define NAME(base) FK_JOIN(FK_JOIN(base, FK_DTYPE), FK_TILE)
#else
#define NAME(base) FK_JOIN(base, FK_DTYPE)
#endif
