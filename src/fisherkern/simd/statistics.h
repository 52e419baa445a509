/* Sums over the samples of one tile, in theta's layout: the gradient sum a_i b~_k and the entries
 * of the unitwise metric A_ij = sum a_i a_j c_k [O Def. 6, 10, 13-14, 23] that a reduction needs. */

FK_INLINE REAL NAME(total)(VEC sum)
{
    REAL total = sum[0];
    for (int l = 1; l < LANES; l++) total += sum[l];
    return total;
}

FK_INLINE void NAME(put)(REAL *place, int add, REAL value)
{
    *place = add ? *place + value : value;
}

FK_INLINE REAL NAME(row_sum)(const VEC *row)
{
    VEC sum = row[0];
    for (int v = 1; v < VECS; v++) sum += row[v];
    return NAME(total)(sum);
}

FK_INLINE REAL NAME(row_product)(const VEC *x, const VEC *y)
{
    VEC even = x[0] * y[0], odd = x[1] * y[1];
    for (int v = 2; v < VECS; v += 2) {
        even += x[v] * y[v];
        odd += x[v + 1] * y[v + 1];
    }
    return NAME(total)(even + odd);
}

FK_INLINE void NAME(unit_moments)(const fk_dag *dag, int32_t p, int kind, int rows, int add,
                                  const REAL *activities, const REAL *signals,
                                  const fk_slot *slot)
{
    const int64_t block = dag->block[p];
    const int32_t *source = dag->source + block, fan_in = dag->fan_in[p];
    const VEC *delta = (const VEC *)(signals + (size_t)p * rows * FK_TILE), *c = delta + VECS;
    REAL *gradient = (REAL *)slot->gradient + block;
    REAL *diagonal = (REAL *)slot->diagonal + (kind == FK_NO_METRIC ? 0 : block);
    REAL *cross = (REAL *)slot->cross + (kind == FK_QUASI_DIAGONAL ? block : 0);
    NAME(put)(gradient, add, NAME(row_sum)(delta));
    if (kind != FK_NO_METRIC) NAME(put)(diagonal, add, NAME(row_sum)(c));
    for (int32_t j = 1; j <= fan_in; j++) {
        const VEC *x = (const VEC *)(activities + (size_t)source[j] * FK_TILE);
        if (kind == FK_NO_METRIC) {
            NAME(put)(gradient + j, add, NAME(row_product)(x, delta));
            continue;
        }
        VEC g = x[0] * delta[0], first = x[0] * c[0], second = first * x[0];
        for (int v = 1; v < VECS; v++) {
            const VEC weighted = x[v] * c[v];
            g += x[v] * delta[v];
            first += weighted;
            second += weighted * x[v];
        }
        NAME(put)(gradient + j, add, NAME(total)(g));
        NAME(put)(diagonal + j, add, NAME(total)(second));
        if (kind == FK_QUASI_DIAGONAL) NAME(put)(cross + j, add, NAME(total)(first));
    }
}

/* Packed lower triangle, rows [bias, weights]; O(fan_in^2 * tile) for one unit. */
FK_INLINE void NAME(unit_block)(const fk_dag *dag, int32_t p, int rows, int add,
                                const REAL *activities, const REAL *signals, REAL *blocks)
{
    const int32_t *source = dag->source + dag->block[p], fan_in = dag->fan_in[p];
    const VEC *c = (const VEC *)(signals + (size_t)p * rows * FK_TILE) + VECS;
    REAL *entry = blocks + dag->packed[p];
    NAME(put)(entry++, add, NAME(row_sum)(c));
    for (int32_t i = 1; i <= fan_in; i++) {
        const VEC *x = (const VEC *)(activities + (size_t)source[i] * FK_TILE);
        VEC weighted[VECS];
        for (int v = 0; v < VECS; v++) weighted[v] = x[v] * c[v];
        NAME(put)(entry++, add, NAME(row_sum)(weighted));
        for (int32_t j = 1; j <= i; j++)
            NAME(put)(entry++, add,
                      NAME(row_product)(weighted, (const VEC *)(activities
                                                                + (size_t)source[j] * FK_TILE)));
    }
}

static void NAME(statistics)(const fk_dag *dag, int kind, int rows, int add,
                             const void *activities, const void *signals, const fk_slot *slot)
{
    for (int32_t p = dag->n_inputs; p < dag->n_units; p++) {
        if (kind == FK_DIAGONAL)
            NAME(unit_moments)(dag, p, FK_DIAGONAL, rows, add, activities, signals, slot);
        else if (kind == FK_QUASI_DIAGONAL)
            NAME(unit_moments)(dag, p, FK_QUASI_DIAGONAL, rows, add, activities, signals, slot);
        else
            NAME(unit_moments)(dag, p, FK_NO_METRIC, rows, add, activities, signals, slot);
        if (kind == FK_UNITWISE)
            NAME(unit_block)(dag, p, rows, add, activities, signals, slot->blocks);
    }
}

/* Moves the origin of the activities to `shift`, in place, after the backward pass: moments
 * about a point near the mean keep their digits in float32 [O (25)]. */
static void NAME(centre)(const fk_dag *dag, const void *shift_, void *activities_)
{
    const REAL *shift = shift_;
    for (int32_t p = 0; p < dag->n_units; p++) {
        REAL *a = (REAL *)activities_ + (size_t)p * FK_TILE;
        if (shift[p] != 0) EACH_SAMPLE a[t] -= shift[p];
    }
}

static void NAME(ranges)(const fk_dag *dag, int add, const void *activities_, void *low_,
                         void *high_)
{
    REAL *low = low_, *high = high_;
    for (int32_t p = 0; p < dag->n_units; p++) {
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
