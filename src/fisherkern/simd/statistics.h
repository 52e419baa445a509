/* Sums over the samples of one tile by targets, in theta's layout: those of moments.h and the entries
 * of the unitwise metric A_ij = sum a_i a_j c_k [O Def. 6, 10, 13-14, 23] that a reduction needs. */

/* Row of entry j of a unit's block: ones for the bias. */
FK_INLINE const VEC *NAME(entry_row)(const REAL *activities, const int32_t *source, int32_t j)
{
    return (const VEC *)(j ? activities + (size_t)source[j] * FK_TILE : NAME(ones));
}

/* Entries [j, j + n) of one unit's block. */
FK_INLINE void NAME(block_moments)(int n, int kind, int add, const REAL *activities,
                                   const int32_t *source, const VEC *delta, const fk_slot *slot,
                                   int64_t block, int32_t j)
{
    const VEC *x[4], *same[4];
    EACH(i, n) {
        x[i] = NAME(entry_row)(activities, source, j + i);
        same[i] = delta;
    }
    NAME(slot_moments)(n, kind, add, x, same, slot, block + j);
}

FK_INLINE void NAME(unit_moments)(const fk_dag *dag, int32_t p, int kind, int rows, int add,
                                  const REAL *activities, const REAL *signals,
                                  const fk_slot *slot_)
{
    const fk_slot slot = *slot_; /* a copy that the writes below cannot alias */
    const int64_t block = dag->block[p];
    const int32_t *source = dag->source + block, size = dag->fan_in[p] + 1;
    const VEC *delta = (const VEC *)(signals + (size_t)p * rows * FK_TILE);
    int32_t j = 0;
#define ENTRIES(n) NAME(block_moments)(n, kind, add, activities, source, delta, &slot, block, j)
    IN_FOURS(j, size, ENTRIES);
#undef ENTRIES
}

#include "blocks.h"

/* Units at positions [first, last). */
static void NAME(statistics)(const fk_dag *dag, int32_t first, int32_t last, int kind, int rows,
                             int add, const void *activities, const void *signals,
                             const fk_slot *slot)
{
    for (int32_t p = first; p < last; p++) {
        if (dag->ahead) NAME(ask_for_sources)(dag, (int64_t)p + dag->ahead, last, activities);
        if (kind == FK_DIAGONAL)
            NAME(unit_moments)(dag, p, FK_DIAGONAL, rows, add, activities, signals, slot);
        else if (kind == FK_QUASI_DIAGONAL)
            NAME(unit_moments)(dag, p, FK_QUASI_DIAGONAL, rows, add, activities, signals, slot);
        else
            NAME(unit_moments)(dag, p, FK_NO_METRIC, rows, add, activities, signals, slot);
        if (kind == FK_UNITWISE)
            NAME(add_block)(dag, p, rows, add, activities, signals, slot->blocks);
    }
}

/* Moves the origin of the activities at positions [first, last) to `shift`, in place, after the
 * backward pass: moments about a point near the mean keep their digits in float32 [O (25)]. */
static void NAME(centre)(int32_t first, int32_t last, const void *shift_, void *activities_)
{
    const REAL *shift = shift_;
    for (int32_t p = first; p < last; p++) {
        REAL *a = (REAL *)activities_ + (size_t)p * FK_TILE;
        if (shift[p] != 0) EACH_SAMPLE a[t] -= shift[p];
    }
}

static void NAME(ranges)(int32_t first, int32_t last, int add, const void *activities_,
                         void *low_, void *high_)
{
    REAL *low = low_, *high = high_;
    for (int32_t p = first; p < last; p++) {
        const REAL *a = (const REAL *)activities_ + (size_t)p * FK_TILE;
        REAL lowest = add && low[p] < a[0] ? low[p] : a[0];
        REAL highest = add && high[p] > a[0] ? high[p] : a[0];
        for (int t = 1; t < FK_TILE; t++) {
            lowest = a[t] < lowest ? a[t] : lowest;
            highest = a[t] > highest ? a[t] : highest;
        }
        low[p] = lowest;
        high[p] = highest;
    }
}
