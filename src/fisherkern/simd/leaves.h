/* Every instantiation of the leaf loops for one instruction set: the including file defines FK_ISA
 * (its name) and FK_VECTOR_BYTES. */
#include "fk.h"

#if FK_HAS_X86_TARGETS
#include <immintrin.h>
#if FK_VECTOR_BYTES == 64
#define FK_X86_MIN _mm512_min
#elif FK_VECTOR_BYTES == 32
#define FK_X86_MIN _mm256_min
#else
#define FK_X86_MIN _mm_min
#endif
#endif

#define FK_REAL_IS_DOUBLE 0
#define FK_TILE 16
#include "tile.h"
#define FK_REAL_IS_DOUBLE 0
#define FK_TILE 32
#include "tile.h"
#define FK_REAL_IS_DOUBLE 0
#define FK_TILE 64
#include "tile.h"
#define FK_REAL_IS_DOUBLE 1
#define FK_TILE 16
#include "tile.h"
#define FK_REAL_IS_DOUBLE 1
#define FK_TILE 32
#include "tile.h"
#define FK_REAL_IS_DOUBLE 1
#define FK_TILE 64
#include "tile.h"

#define FK_REAL_IS_DOUBLE 0
#include "step.h"
#define FK_REAL_IS_DOUBLE 1
#include "step.h"

#define FK_TABLE_(isa) fk_leaves_##isa
#define FK_TABLE(isa) FK_TABLE_(isa)
#define FK_NAME_(isa) #isa
#define FK_NAME(isa) FK_NAME_(isa)

const fk_leaves FK_TABLE(FK_ISA) = {
    FK_NAME(FK_ISA),
    {{&tile_leaves_f32_16, &tile_leaves_f32_32, &tile_leaves_f32_64},
     {&tile_leaves_f64_16, &tile_leaves_f64_32, &tile_leaves_f64_64}},
    {&step_leaves_f32, &step_leaves_f64},
};
