/* The blocks of the unitwise metric [O Def. 10, 13, 14]: sums of a_i a_j c over the samples of one
 * tile, packed lower triangles, rows [bias, weights]; O(fan_in^2 * tile) for one unit. */

/* Writes or adds the first n of four values, and zeros after them: for arrays where the next three
 * places are written later; up to 3 places past their end. */
FK_INLINE void NAME(put_ahead)(REAL *place, int n, int add, QUAD value)
{
    static const INT kept[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
    QUAD old = {0};
    QUAD_BITS mask;
    memcpy(&mask, kept + 4 - n, sizeof mask);
    value = (QUAD)((QUAD_BITS)value & mask);
    if (add) memcpy(&old, place, sizeof old);
    value += old;
    memcpy(place, &value, sizeof value);
}

/* Products of `n_rows` <= 2 entries of a unit's block with all entries up to them. */
FK_INLINE void NAME(block_rows)(int n_rows, int add, const REAL *activities,
                                const int32_t *source, int32_t i, const VEC *c, REAL *packed)
{
    VEC weighted[2][VECS];
    EACH(r, n_rows) EACH_VECTOR
        weighted[r][v] = NAME(entry_row)(activities, source, i + r)[v] * c[v];
    /* downwards, so that what put_ahead leaves behind a row's end is written after it */
    for (int32_t j = (i + n_rows - 1) / 4 * 4; j >= 0; j -= 4) {
        VEC sum[2][4];
        const VEC *x[4];
        EACH(k, 4) x[k] = NAME(entry_row)(activities, source,
                                          j + k < i + n_rows ? j + k : i + n_rows - 1);
        EACH(r, n_rows) EACH(k, 4) sum[r][k] = (VEC){0};
        EACH(v, VECS) EACH(k, 4) EACH(r, n_rows) sum[r][k] += weighted[r][v] * x[k][v];
        EACH(r, n_rows) {
            const int32_t row = i + r, count = row + 1 - j < 4 ? row + 1 - j : 4;
            NAME(put_ahead)(packed + (int64_t)row * (row + 1) / 2 + j, count, add,
                            NAME(totals)(sum[r]));
        }
    }
}

#if LANES >= 8
/* Small blocks are sums over lanes that are samples; in these sizes lanes are the entries of a row,
 * which have to be gathered by samples first. */
enum { NAME(panel_least) = 2 * LANES, NAME(panel_most) = 64 };

/* The first n > 0 lanes written or added, zeros after them, as `put_ahead`. */
FK_INLINE void NAME(put_lanes)(REAL *place, int n, int add, VEC value)
{
    VEC old = {0};
    BITS lane;
    EACH(l, LANES) lane[l] = (INT)l;
    value = NAME(select)(lane < (INT)n, value, old);
    if (add) memcpy(&old, place, sizeof old);
    value += old;
    memcpy(place, &value, sizeof value);
}

/* Four rows, weighted, times `width` vectors of entries from entry j on. */
FK_INLINE void NAME(panel_rows)(int width, int add, const REAL *panel, size_t stride,
                                const VEC *weighted, int32_t row, int32_t size, int32_t j,
                                REAL *packed)
{
    VEC sum[4][4] = {{{0}}};
    const REAL *scale = (const REAL *)weighted;
    /* where one vector fills too few sums, two samples have sums of their own */
    const int samples = width == 1 ? 2 : 1;
    for (int t = 0; t < FK_TILE; t += samples)
        EACH(s, samples) EACH(r, 4) EACH(v, width)
            sum[r][v + s] += *(const VEC *)(panel + (size_t)(t + s) * stride + j + v * LANES)
                             * scale[r * FK_TILE + t + s];
    EACH(r, 4) if (row + r < size) {
        REAL *place = packed + (int64_t)(row + r) * (row + r + 1) / 2 + j;
        if (samples == 2) sum[r][0] += sum[r][1];
        EACH(v, width) {
            const int32_t n = row + r + 1 - j - v * (int)LANES;
            NAME(put_lanes)(place + v * LANES, n < (int)LANES ? n : (int)LANES, add, sum[r][v]);
        }
    }
}

FK_INLINE void NAME(panel_block)(int32_t size, int add, const REAL *activities,
                                 const int32_t *source, const VEC *c, REAL *packed)
{
    REAL panel[FK_TILE * NAME(panel_most)] __attribute__((aligned(64)));
    const int32_t vectors = (size + (int)LANES - 1) / (int)LANES;
    const size_t stride = (size_t)vectors * LANES;
    for (int32_t j = 0; j < (int32_t)stride; j += 4) {
        const REAL *x[4];
        EACH(k, 4) x[k] = (const REAL *)NAME(entry_row)(activities, source,
                                                        j + k < size ? j + k : size - 1);
        for (int t = 0; t < FK_TILE; t += 4) {
            NAME(transpose)(x, stride, panel + (size_t)t * stride + j);
            EACH(k, 4) x[k] += 4;
        }
    }
    for (int32_t i = 0; i < size; i += 4) {
        VEC weighted[4][VECS];
        EACH(r, 4) EACH_VECTOR
            weighted[r][v] = NAME(entry_row)(activities, source,
                                             i + r < size ? i + r : size - 1)[v] * c[v];
        /* downwards, as `block_rows` */
        for (int32_t last = i / (int)LANES + 1; last > 0;) {
            const int width = last == 4 ? 2 : last < 3 ? last : 3;
            last -= width;
            const int32_t j = last * (int)LANES;
            if (width == 3)
                NAME(panel_rows)(3, add, panel, stride, weighted[0], i, size, j, packed);
            else if (width == 2)
                NAME(panel_rows)(2, add, panel, stride, weighted[0], i, size, j, packed);
            else
                NAME(panel_rows)(1, add, panel, stride, weighted[0], i, size, j, packed);
        }
    }
}
#endif

FK_INLINE void NAME(add_block)(const fk_dag *dag, int32_t p, int rows, int add,
                               const REAL *activities, const REAL *signals, REAL *blocks)
{
    const int32_t *source = dag->source + dag->block[p], size = dag->fan_in[p] + 1;
    const VEC *c = (const VEC *)(signals + (size_t)p * rows * FK_TILE) + VECS;
    REAL *packed = blocks + dag->packed[p];
    int32_t i = 0;
#if LANES >= 8
    if (size >= NAME(panel_least) && size <= NAME(panel_most)) {
        NAME(panel_block)(size, add, activities, source, c, packed);
        return;
    }
#endif
    for (; i + 2 <= size; i += 2)
        NAME(block_rows)(2, add, activities, source, i, c, packed);
    if (i < size) NAME(block_rows)(1, add, activities, source, i, c, packed);
}
