/* Every instantiation of the leaf loops, and the choice among them. */
#include "fk.h"

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

const fk_tile_leaves *fk_tile_select(int is_double, int tile)
{
    switch (tile) {
    case 16: return is_double ? &tile_leaves_f64_16 : &tile_leaves_f32_16;
    case 32: return is_double ? &tile_leaves_f64_32 : &tile_leaves_f32_32;
    default: return is_double ? &tile_leaves_f64_64 : &tile_leaves_f32_64;
    }
}

const fk_step_leaves *fk_step_select(int is_double)
{
    return is_double ? &step_leaves_f64 : &step_leaves_f32;
}

const char *fk_isa(void)
{
    return "baseline";
}
