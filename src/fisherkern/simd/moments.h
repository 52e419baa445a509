/* The sums of statistics.h, taken by sources in the backward pass: it has just read the rows of a
 * unit's targets, which give the entries of the unit's outgoing edges. They come in the order of
 * those edges, and the biases' behind them, by position. */

/* Entries of `n` <= 4 outgoing edges of one unit; x: its activities, squared: their squares. */
FK_INLINE void NAME(edge_moments)(int n, int kind, int add, const REAL *signals, size_t stride,
                                  const int32_t *target, const VEC *x, const VEC *squared,
                                  REAL *gradient, REAL *diagonal, REAL *cross)
{
    VEC g[4], first[4], second[4];
    const VEC *row[4];
    EACH(i, 4) g[i] = first[i] = second[i] = (VEC){0};
    EACH(i, n) row[i] = (const VEC *)(signals + (size_t)target[i] * stride);
    EACH(v, VECS) EACH(i, n) {
        g[i] += x[v] * row[i][v];
        if (kind == FK_QUASI_DIAGONAL) first[i] += x[v] * row[i][VECS + v];
        if (kind != FK_NO_METRIC) second[i] += squared[v] * row[i][VECS + v];
    }
    NAME(put)(gradient, n, add, NAME(totals)(g));
    if (kind == FK_QUASI_DIAGONAL) NAME(put)(cross, n, add, NAME(totals)(first));
    if (kind != FK_NO_METRIC) NAME(put)(diagonal, n, add, NAME(totals)(second));
}

FK_INLINE void NAME(bias_moments)(int kind, int add, const VEC *delta, REAL *gradient,
                                  REAL *diagonal)
{
    VEC sum[4] = {{0}};
    EACH_VECTOR {
        sum[0] += delta[v];
        if (kind != FK_NO_METRIC) sum[1] += delta[VECS + v];
    }
    const QUAD total = NAME(totals)(sum);
    *gradient = total[0] + (add ? *gradient : 0);
    if (kind != FK_NO_METRIC) *diagonal = total[1] + (add ? *diagonal : 0);
}

/* One unit, after its targets have their signals and it its own. */
FK_INLINE void NAME(source_moments)(const fk_dag *dag, int32_t p, int kind, int rows,
                                    const fk_moments *moments, const REAL *activities,
                                    const REAL *signals)
{
    const size_t stride = (size_t)rows * FK_TILE;
    const int64_t edge = dag->out_start[p + 1], n = dag->out_start[p] - edge;
    const int64_t bias = dag->n_edges + p - dag->n_inputs;
    const int32_t *target = dag->out_target + edge;
    const VEC *a = (const VEC *)(activities + (size_t)p * FK_TILE);
    const REAL shift = moments->shift ? ((const REAL *)moments->shift)[p] : 0;
    REAL *gradient = moments->slot->gradient, *diagonal = moments->slot->diagonal;
    REAL *cross = moments->slot->cross;
    const int add = moments->add;
    VEC x[VECS], squared[VECS];
    EACH_VECTOR x[v] = a[v] - shift, squared[v] = x[v] * x[v];
    int64_t j = 0;
#define EDGES(n)                                                                                 \
    NAME(edge_moments)(n, kind, add, signals, stride, target + j, x, squared,                    \
                       gradient + edge + j, diagonal + (kind == FK_NO_METRIC ? 0 : edge + j),    \
                       cross + (kind == FK_QUASI_DIAGONAL ? edge + j : 0))
    for (; j + 4 <= n; j += 4) EDGES(4);
    if (n - j == 3)
        EDGES(3);
    else if (n - j == 2)
        EDGES(2);
    else if (n - j == 1)
        EDGES(1);
#undef EDGES
    if (p >= dag->n_inputs)
        NAME(bias_moments)(kind, add, (const VEC *)(signals + (size_t)p * stride),
                           gradient + bias, diagonal + (kind == FK_NO_METRIC ? 0 : bias));
}

FK_INLINE void NAME(unit_source_moments)(const fk_dag *dag, int32_t p, int rows,
                                         const fk_moments *moments, const REAL *activities,
                                         const REAL *signals)
{
    if (rows == 1 || moments->kind == FK_NO_METRIC)
        NAME(source_moments)(dag, p, FK_NO_METRIC, rows, moments, activities, signals);
    else if (moments->kind == FK_DIAGONAL)
        NAME(source_moments)(dag, p, FK_DIAGONAL, rows, moments, activities, signals);
    else
        NAME(source_moments)(dag, p, FK_QUASI_DIAGONAL, rows, moments, activities, signals);
}
