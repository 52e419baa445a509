/* The choice among the instruction sets; nothing else asks which processor it runs on. */
#include <string.h>

#include "fk.h"

extern const fk_leaves fk_leaves_baseline;
#if FK_HAS_X86_TARGETS
extern const fk_leaves fk_leaves_avx2, fk_leaves_avx512;
#endif

/* The i-th instruction set that this machine runs, the best first; NULL after the last. */
static const fk_leaves *available(int i)
{
#if FK_HAS_X86_TARGETS
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        if (i == 0) return &fk_leaves_avx512;
        i--;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        if (i == 0) return &fk_leaves_avx2;
        i--;
    }
#endif
    return i == 0 ? &fk_leaves_baseline : NULL;
}

static const fk_leaves *chosen = &fk_leaves_baseline;

const char *fk_available_isa(int i)
{
    const fk_leaves *leaves = available(i);
    return leaves ? leaves->isa : NULL;
}

int fk_choose_isa(const char *isa)
{
    for (int i = 0; available(i); i++)
        if (strcmp(available(i)->isa, isa) == 0) {
            chosen = available(i);
            return 1;
        }
    return 0;
}

const fk_tile_leaves *fk_tile_select(int is_double, int tile)
{
    return chosen->tiles[is_double != 0][tile == 16 ? 0 : tile == 32 ? 1 : 2];
}

const fk_step_leaves *fk_step_select(int is_double)
{
    return chosen->step[is_double != 0];
}

const char *fk_isa(void)
{
    return chosen->isa;
}
