/* Forward pass of one tile [O (2)], O(n_edges * tile): CSR gather, sums in registers. */

FK_INLINE void NAME(preactivations)(const REAL *weights, const int32_t *source, int32_t fan_in,
                                    const REAL *activities, REAL *z)
{
    enum { WIDTH = VECS < SUMS ? VECS : SUMS };
    for (int c = 0; c < VECS; c += WIDTH) {
        VEC sum[WIDTH];
        EACH(v, WIDTH) sum[v] = (VEC){0} + weights[0];
        NAME(gather)(WIDTH, 0, weights + 1, source + 1, fan_in, activities + c * LANES, FK_TILE,
                     sum);
        EACH(v, WIDTH) ((VEC *)z)[c + v] = sum[v];
    }
}

/* Asks for the weights and sources of the unit that follows p by a few, where they do not lie right
 * behind the last one's: theta keeps the public order of units, positions go by level. With AVX2
 * this is a twelfth of a step on irregular graphs; with AVX-512 it was not measured. */
#define ASKS_FOR_BLOCKS (FK_VECTOR_BYTES == 32)
FK_INLINE void NAME(ask_for_block)(const fk_dag *dag, int32_t p, const REAL *theta)
{
    enum { AHEAD = 8 };
    const int32_t next = p + AHEAD;
    if (next >= dag->n_units || dag->block[p + 1] == dag->block[p] + dag->fan_in[p] + 1) return;
    const REAL *weights = theta + dag->block[next];
    const int32_t *source = dag->source + dag->block[next];
    __builtin_prefetch(weights);
    __builtin_prefetch(weights + dag->fan_in[next]);
    __builtin_prefetch(source);
    __builtin_prefetch(source + dag->fan_in[next]);
}

/* Units at positions [first, last). The unit's first signal row gets its slopes, or the z that a
 * Bernoulli output works on. With only_losses, a Bernoulli output that feeds no unit has no
 * activity: its layer works on z. */
static void NAME(forward)(const fk_dag *dag, int32_t first, int32_t last, const void *theta,
                          void *activities_, void *signals_, int rows, int only_losses)
{
    REAL *activities = activities_, *signals = signals_;
    for (int32_t p = first; p < last; p++) {
        if (dag->ahead) NAME(ask_for_sources)(dag, (int64_t)p + dag->ahead, last, activities);
        if (ASKS_FOR_BLOCKS) NAME(ask_for_block)(dag, p, theta);
        const int64_t block = dag->block[p];
        REAL z[FK_TILE] __attribute__((aligned(64)));
        NAME(preactivations)((const REAL *)theta + block, dag->source + block, dag->fan_in[p],
                             activities, z);
        REAL *kept = signals + (size_t)p * rows * FK_TILE;
        if (dag->keeps[p] == FK_KEEPS_Z) memcpy(kept, z, sizeof z);
        if (only_losses && dag->output_slot[p] >= 0 && dag->out_start[p] == dag->out_start[p + 1])
            continue;
        NAME(activate_row)(dag->activation[p], dag->leaky_slope, z,
                           activities + (size_t)p * FK_TILE,
                           dag->keeps[p] == FK_KEEPS_SLOPE ? kept : NULL);
    }
}
