/* Sums over the samples of one tile, in theta's layout: the gradient sum a_i b~_k and the entries
 * of the unitwise metric A_ij = sum a_i a_j c_k [O Def. 6, 10, 13-14, 23] that a reduction needs. */

static const REAL NAME(ones)[FK_TILE] __attribute__((aligned(64))) = {[0 ... FK_TILE - 1] = 1};

/* Row of entry j of a unit's block: ones for the bias. */
FK_INLINE const VEC *NAME(entry_row)(const REAL *activities, const int32_t *source, int32_t j)
{
    return (const VEC *)(j ? activities + (size_t)source[j] * FK_TILE : NAME(ones));
}

/* Sums of the entries [j, j + n) of one unit's block, n <= 4. */
FK_INLINE void NAME(entry_moments)(int n, int kind, int add, const REAL *activities,
                                   const int32_t *source, int32_t j, const VEC *delta,
                                   const VEC *c, REAL *gradient, REAL *diagonal, REAL *cross)
{
    VEC g[4], first[4], second[4];
    const VEC *x[4];
    EACH(i, 4) g[i] = first[i] = second[i] = (VEC){0};
    EACH(i, n) x[i] = NAME(entry_row)(activities, source, j + i);
    EACH(v, VECS) EACH(i, n) {
        g[i] += x[i][v] * delta[v];
        if (kind != FK_NO_METRIC) {
            const VEC weighted = x[i][v] * c[v];
            first[i] += weighted;
            second[i] += weighted * x[i][v];
        }
    }
    NAME(put)(gradient + j, n, add, NAME(totals)(g));
    if (kind != FK_NO_METRIC) NAME(put)(diagonal + j, n, add, NAME(totals)(second));
    if (kind == FK_QUASI_DIAGONAL) NAME(put)(cross + j, n, add, NAME(totals)(first));
}

FK_INLINE void NAME(unit_moments)(const fk_dag *dag, int32_t p, int kind, int rows, int add,
                                  const REAL *activities, const REAL *signals,
                                  const fk_slot *slot)
{
    const int64_t block = dag->block[p];
    const int32_t *source = dag->source + block, size = dag->fan_in[p] + 1;
    const VEC *delta = (const VEC *)(signals + (size_t)p * rows * FK_TILE), *c = delta + VECS;
    REAL *gradient = (REAL *)slot->gradient + block;
    REAL *diagonal = (REAL *)slot->diagonal + (kind == FK_NO_METRIC ? 0 : block);
    REAL *cross = (REAL *)slot->cross + (kind == FK_QUASI_DIAGONAL ? block : 0);
    int32_t j = 0;
#define ENTRIES(n)                                                                               \
    NAME(entry_moments)(n, kind, add, activities, source, j, delta, c, gradient, diagonal, cross)
    for (; j + 4 <= size; j += 4) ENTRIES(4);
    if (size - j == 3)
        ENTRIES(3);
    else if (size - j == 2)
        ENTRIES(2);
    else if (size - j == 1)
        ENTRIES(1);
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
