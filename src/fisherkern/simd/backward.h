/* Backpropagated values [O (5), (10)] and modulus [O Def. 7, Prop. 22] of one tile, reduced, in
 * one traversal: CSC gather over the rows of each unit's targets, O(n_edges * tile). `joined`, where
 * given, receives the gradients of the outgoing edges in the same traversal. */

FK_INLINE void NAME(backward_unit)(const fk_dag *dag, int32_t p, int rows, int modulus, int squares,
                                   const REAL *weights, const REAL *activities,
                                   const REAL *direct, REAL *signals, REAL *unreduced,
                                   const fk_moments *joined)
{
    enum { WIDTH = VECS < SUMS / 2 ? VECS : SUMS / 2 };
    const size_t stride = (size_t)rows * FK_TILE;
    const int64_t edge = dag->out_start[p + 1];
    const int32_t slot = dag->output_slot[p];
    REAL *own = signals + (size_t)p * stride;
    REAL buffer[FK_TILE] __attribute__((aligned(64)));
    if (dag->out_start[p] == dag->out_start[p + 1] && slot >= 0 && !squares && !unreduced) {
        memcpy(own, direct + (size_t)slot * 2 * FK_TILE, (1 + modulus) * FK_TILE * sizeof(REAL));
        return;
    }
    const REAL *r = NAME(slopes)(dag, p, activities + (size_t)p * FK_TILE, own, buffer);
    for (int c = 0; c < VECS; c += WIDTH) {
        VEC sum[SUMS] = {0};
        const VEC *b = sum, *m = sum + WIDTH;
#if JOINED
        if (joined)
            NAME(gather_jointly)(dag, p, weights, joined, activities, signals, sum);
        else
#endif
            NAME(gather)(WIDTH, modulus, weights, dag->out_target + edge,
                         dag->out_start[p] - edge, signals + c * LANES, stride, sum);
        EACH(v, WIDTH) {
            const VEC slope = ((const VEC *)r)[c + v];
            VEC value = slope * b[v];
            if (slot >= 0) value += ((const VEC *)(direct + (size_t)slot * 2 * FK_TILE))[c + v];
            ((VEC *)own)[c + v] = value;
            if (squares) ((VEC *)own)[VECS + c + v] = value * value;
            if (modulus) {
                VEC reduced = slope * (slope * m[v]);
                if (slot >= 0)
                    reduced += ((const VEC *)(direct + (size_t)slot * 2 * FK_TILE))[VECS + c + v];
                ((VEC *)own)[VECS + c + v] = reduced;
                if (unreduced) ((VEC *)(unreduced + (size_t)p * FK_TILE))[c + v] = m[v];
            }
        }
    }
}

FK_INLINE void NAME(backward_kind)(const fk_dag *dag, int32_t p, int kind, int rows,
                                   const REAL *weights, const REAL *activities,
                                   const REAL *direct, REAL *signals, REAL *unreduced)
{
    if (rows == 1)
        NAME(backward_unit)(dag, p, 1, 0, 0, weights, activities, direct, signals, 0, 0);
    else if (kind == FK_VALUES_MODULUS)
        NAME(backward_unit)(dag, p, 2, 1, 0, weights, activities, direct, signals, unreduced,
                            0);
    else if (kind == FK_VALUES_SQUARES)
        NAME(backward_unit)(dag, p, 2, 0, 1, weights, activities, direct, signals, 0, 0);
    else
        NAME(backward_unit)(dag, p, 2, 0, 0, weights, activities, direct, signals, 0, 0);
}

/* Units from position last - 1 down to `first`, with one or two rows per unit; `weights_out` are
 * those of their outgoing edges. `unreduced`, where given, receives the sums over the outgoing
 * edges of the modulus (without an output's own term); `moments`, where given, the sums that belong
 * to the outgoing edges, and then inputs get no signal. */
static void NAME(backward)(const fk_dag *dag, int kind, int rows, int32_t first, int32_t last,
                           const void *weights_out, const void *activities, const void *direct,
                           void *signals, void *unreduced, const fk_moments *moments)
{
    for (int32_t p = last - 1; p >= first; p--) {
        const REAL *weights = (const REAL *)weights_out
            + (dag->out_start[p + 1] - dag->out_start[last]);
        if (dag->ahead) NAME(ask_for_targets)(dag, p - dag->ahead, first, rows, signals);
#if JOINED
        if (moments && rows == 1 && p >= dag->n_inputs
            && dag->out_start[p] > dag->out_start[p + 1]) {
            NAME(backward_unit)(dag, p, 1, 0, 0, weights, activities, direct, signals, 0, moments);
            NAME(bias_gradient)(dag, p, moments, signals);
            continue;
        }
#endif
        if (!moments || p >= dag->n_inputs)
            NAME(backward_kind)(dag, p, kind, rows, weights, activities, direct, signals,
                                unreduced);
        if (moments) NAME(unit_source_moments)(dag, p, rows, moments, activities, signals);
    }
}
