/* The inner loop of the passes: weighted sums of rows over the edges of a unit, in registers. */

/* Asks for the first rows that a gather will read, each of `values` values. */
FK_INLINE void NAME(ask_for)(const REAL *base, size_t values, const int32_t *rows, int64_t n)
{
    enum { MOST = 32, LINE = 64 / REAL_BYTES };
    for (int64_t e = 0; e < n && e < MOST; e++)
        for (size_t i = 0; i < values; i += LINE)
            __builtin_prefetch(base + (size_t)rows[e] * values + i);
}

/* The rows of the sources of the unit at position p, if that is before `last`. */
FK_INLINE void NAME(ask_for_sources)(const fk_dag *dag, int64_t p, int32_t last,
                                     const REAL *activities)
{
    if (p < last)
        NAME(ask_for)(activities, FK_TILE, dag->source + dag->block[p] + 1, dag->fan_in[p]);
}

/* The rows of the targets of the unit at position p, if that is not before `first`. */
FK_INLINE void NAME(ask_for_targets)(const fk_dag *dag, int32_t p, int32_t first, int rows,
                                     const REAL *signals)
{
    if (p >= first)
        NAME(ask_for)(signals, (size_t)rows * FK_TILE, dag->out_target + dag->out_start[p + 1],
                      dag->out_start[p] - dag->out_start[p + 1]);
}

#define SUMS 8 /* vectors of sums under way at a time: they hide the latency of an addition */

FK_INLINE void NAME(gather_edge)(int width, int squares, REAL w, const VEC *row, VEC *sum)
{
    const REAL w2 = w * w;
    EACH(v, width) sum[v] += row[v] * w;
    if (squares) EACH(v, width) sum[width + v] += row[VECS + v] * w2;
}

/* sum[v] += sum over e of w_e row_e[v], for `width` vectors of each row; with `squares`, also
 * sum[width + v] += w_e^2 row_e[VECS + v]. Where one edge fills too few sums, several edges have
 * sums of their own. Rows lie `stride` values apart. */
FK_INLINE void NAME(gather)(int width, int squares, const REAL *weights, const int32_t *rows,
                            int64_t n, const REAL *base, size_t stride, VEC *sum)
{
    const int size = width * (1 + squares), edges = SUMS / size;
    VEC part[SUMS];
    EACH(i, SUMS) part[i] = (VEC){0};
    int64_t e = 0;
    for (; e + edges <= n; e += edges)
        EACH(k, edges)
            NAME(gather_edge)(width, squares, weights[e + k],
                              (const VEC *)(base + (size_t)rows[e + k] * stride), part + k * size);
    for (; e < n; e++)
        NAME(gather_edge)(width, squares, weights[e],
                          (const VEC *)(base + (size_t)rows[e] * stride), part);
    EACH(k, edges - 1) EACH(v, size) part[v] += part[(k + 1) * size + v];
    EACH(v, size) sum[v] += part[v];
}
