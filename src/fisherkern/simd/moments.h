/* Sums over the samples of one tile: the gradient sum a_i b~_k and the metric's sum a_i c_k and
 * sum a_i^2 c_k [O Def. 6, 10, 13-14, 23]. By targets (statistics.h) they come in theta's layout. By
 * sources (here) they are taken in the backward pass, which has just read the rows of a unit's
 * targets, and come in the order of the outgoing edges, the biases' behind them by position. */

static const REAL NAME(ones)[FK_TILE] __attribute__((aligned(64))) = {[0 ... FK_TILE - 1] = 1};

/* Sums of n <= 4 entries, of x_i with the signals of their targets: b~_k, then c_k. */
FK_INLINE void NAME(entry_moments)(int n, int kind, int add, const VEC *const *x,
                                   const VEC *const *delta, REAL *gradient, REAL *diagonal,
                                   REAL *cross)
{
    VEC g[4], first[4], second[4];
    EACH(i, 4) g[i] = first[i] = second[i] = (VEC){0};
    EACH(v, VECS) EACH(i, n) {
        g[i] += x[i][v] * delta[i][v];
        if (kind != FK_NO_METRIC) {
            const VEC weighted = x[i][v] * delta[i][VECS + v];
            first[i] += weighted;
            second[i] += weighted * x[i][v];
        }
    }
    NAME(put)(gradient, n, add, NAME(totals)(g));
    if (kind != FK_NO_METRIC) NAME(put)(diagonal, n, add, NAME(totals)(second));
    if (kind == FK_QUASI_DIAGONAL) NAME(put)(cross, n, add, NAME(totals)(first));
}

/* `entry_moments` into the arrays of a slot, from entry e on; arrays that a kind has not are NULL */
FK_INLINE void NAME(slot_moments)(int n, int kind, int add, const VEC *const *x,
                                  const VEC *const *delta, const fk_slot *slot, int64_t e)
{
    NAME(entry_moments)(n, kind, add, x, delta, (REAL *)slot->gradient + e,
                        (REAL *)slot->diagonal + (kind == FK_NO_METRIC ? 0 : e),
                        (REAL *)slot->cross + (kind == FK_QUASI_DIAGONAL ? e : 0));
}

/* Outgoing edges [e, e + n) of a unit whose activities are x. */
FK_INLINE void NAME(edge_moments)(int n, int kind, int add, const int32_t *targets, size_t stride,
                                  const REAL *signals, const VEC *x, const fk_slot *slot,
                                  int64_t e)
{
    const VEC *own[4], *delta[4];
    EACH(i, n) {
        own[i] = x;
        delta[i] = (const VEC *)(signals + (size_t)targets[e + i] * stride);
    }
    NAME(slot_moments)(n, kind, add, own, delta, slot, e);
}

/* Whether there are registers enough for the sums of the backward pass and of the gradient at once:
 * each row is then read once. Their order is that of the separate loops where a row is one width of
 * `gather`'s sums, and four edges are whole turns of it. */
#define JOINED (FK_VECTOR_BYTES == 64 && VECS * 2 <= SUMS && VECS * 4 >= SUMS)

#if JOINED
/* Outgoing edges [e, e + n) of both, in the order of `gather` and of `edge_moments`. */
FK_INLINE void NAME(joined_edges)(int n, int add, const REAL *weights, const int32_t *targets,
                                  const REAL *signals, const VEC *x, VEC *part, REAL *gradient)
{
    enum { AT_ONCE = SUMS / VECS };
    VEC g[4];
    EACH(i, 4) g[i] = (VEC){0};
    EACH(i, n) {
        const VEC *row = (const VEC *)(signals + (size_t)targets[i] * FK_TILE);
        VEC *own = part + (i < n / AT_ONCE * AT_ONCE ? i % AT_ONCE : 0) * VECS;
        EACH(v, VECS) {
            own[v] += row[v] * weights[i];
            g[i] += x[v] * row[v];
        }
    }
    NAME(put)(gradient, n, add, NAME(totals)(g));
}

/* `gather` over a unit's outgoing edges that takes their gradients along. One row per unit. */
FK_INLINE void NAME(gather_jointly)(const fk_dag *dag, int32_t p, const REAL *weights,
                                    const fk_moments *moments, const REAL *activities,
                                    const REAL *signals, VEC *sum)
{
    const int64_t first = dag->out_start[p + 1], n = dag->out_start[p] - first;
    const int32_t *targets = dag->out_target + first;
    REAL *gradient = (REAL *)moments->slot->gradient + first;
    const REAL shift = moments->shift ? ((const REAL *)moments->shift)[p] : 0;
    const int add = moments->add;
    VEC part[SUMS], x[VECS];
    EACH(i, SUMS) part[i] = (VEC){0};
    EACH(v, VECS) x[v] = ((const VEC *)(activities + (size_t)p * FK_TILE))[v] - shift;
    int64_t e = 0;
#define EDGES(n) NAME(joined_edges)(n, add, weights + e, targets + e, signals, x, part, gradient + e)
    IN_FOURS(e, n, EDGES);
#undef EDGES
    EACH(k, SUMS / VECS - 1) EACH(v, VECS) part[v] += part[(k + 1) * VECS + v];
    EACH(v, VECS) sum[v] += part[v];
}

/* The bias's gradient of a unit that has its signal. */
FK_INLINE void NAME(bias_gradient)(const fk_dag *dag, int32_t p, const fk_moments *moments,
                                   const REAL *signals)
{
    const VEC *own = (const VEC *)(signals + (size_t)p * FK_TILE);
    VEC sums[4] = {{0}};
    EACH(v, VECS) sums[0] += own[v];
    NAME(put)((REAL *)moments->slot->gradient + dag->n_edges + p - dag->n_inputs, 1, moments->add,
              NAME(totals)(sums));
}
#endif

/* One unit, after its targets have their signals and it its own. */
FK_INLINE void NAME(source_moments)(const fk_dag *dag, int32_t p, int kind, int rows,
                                    const fk_moments *moments, const REAL *activities,
                                    const REAL *signals)
{
    const size_t stride = (size_t)rows * FK_TILE;
    const VEC *a = (const VEC *)(activities + (size_t)p * FK_TILE);
    const VEC *ones = (const VEC *)NAME(ones);
    const VEC *own = (const VEC *)(signals + (size_t)p * stride);
    const REAL shift = moments->shift ? ((const REAL *)moments->shift)[p] : 0;
    const fk_slot slot = *moments->slot; /* a copy that the writes below cannot alias */
    const int32_t *targets = dag->out_target;
    const int add = moments->add;
    const int64_t end = dag->out_start[p];
    VEC x[VECS];
    EACH_VECTOR x[v] = a[v] - shift;
    int64_t e = dag->out_start[p + 1];
#define EDGES(n) NAME(edge_moments)(n, kind, add, targets, stride, signals, x, &slot, e)
    IN_FOURS(e, end, EDGES);
#undef EDGES
    if (p >= dag->n_inputs)
        NAME(slot_moments)(1, kind, add, &ones, &own, &slot, dag->n_edges + p - dag->n_inputs);
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
