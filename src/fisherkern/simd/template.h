/* Names and types of one instantiation; the including file defines FK_REAL_IS_DOUBLE. */
#include <math.h>
#include <string.h>

#define FK_JOIN_(a, b) a##_##b
#define FK_JOIN(a, b) FK_JOIN_(a, b)

#ifndef FK_VECTOR_BYTES
#define FK_VECTOR_BYTES 16
#endif

#define FK_INLINE static inline __attribute__((always_inline))

#if FK_REAL_IS_DOUBLE
#define REAL double
#define MATH(name) name
#define FK_DTYPE f64
#else
#define REAL float
#define MATH(name) FK_MATH_FLOAT(name)
#define FK_MATH_FLOAT(name) name##f
#define FK_DTYPE f32
#endif

#ifdef FK_TILE
#define NAME(base) FK_JOIN(FK_JOIN(base, FK_DTYPE), FK_TILE)
#else
#define NAME(base) FK_JOIN(base, FK_DTYPE)
#endif
