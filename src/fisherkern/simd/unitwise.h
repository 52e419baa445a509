/* The unitwise solve [O Remark 12]: damped systems of several units, one in each lane of a vector,
 * and their Cholesky factorization. */

FK_INLINE const REAL *NAME(unit_block)(const fk_dag *dag, int32_t unit, const void *blocks)
{
    return (const REAL *)blocks + dag->packed[dag->position[dag->n_inputs + unit]];
}

/* Entries of the unit's block that the system keeps. */
FK_INLINE int NAME(unit_members)(const fk_dag *dag, const fk_solve *solve, int32_t unit,
                                 const REAL *block, int32_t *members)
{
    const int64_t start = dag->indptr[unit];
    const int32_t n = (int32_t)(dag->indptr[unit + 1] - start), *source = dag->source + start;
    const int by_range = solve->rule == FK_DAMPING_RANGE;
    int size = 0;
    if (by_range && !(block[0] >= SMALLEST)) return 0;
    for (int32_t j = by_range ? 1 : 0; j < n; j++)
        if (!NAME(is_frozen)(solve, start + j)
            && !(by_range && NAME(range)(solve, source[j]) == 0))
            members[size++] = j;
    return size;
}

/* The row of entry i of a unit's system, at the members [0, n), under the range rule: with the bias
 * eliminated, or with the origin of the activities moved back to zero where the bias is frozen. */
FK_INLINE void NAME(range_row)(const fk_solve *solve, int eliminate, const REAL *block,
                               const int32_t *source, int32_t i, const int32_t *members, int n,
                               int stride, REAL *entry)
{
    const REAL *row = block + (int64_t)i * (i + 1) / 2, a00 = block[0];
    const REAL mean = row[0] / a00, shift = NAME(origin)(solve, source[i]);
    for (int c = 0; c < n; c++) {
        const int64_t j = members[c];
        const REAL first = block[j * (j + 1) / 2];
        entry[c * stride] = eliminate ? row[j] - mean * first
            : row[j] + shift * first + NAME(origin)(solve, source[j]) * (row[0] + shift * a00);
    }
}

FK_INLINE int NAME(fill_system)(const fk_dag *dag, const fk_solve *solve, int32_t unit,
                                const REAL *gradient, const REAL *block, int32_t *members,
                                int stride, REAL *entry, REAL *right)
{
    const int64_t start = dag->indptr[unit];
    const int32_t *source = dag->source + start;
    const REAL *g = gradient + start, epsilon = (REAL)solve->value;
    const int by_range = solve->rule == FK_DAMPING_RANGE;
    const int eliminate = by_range && !NAME(is_frozen)(solve, start);
    const REAL damping = NAME(range_damping)(solve, block[0], dag->indptr[unit + 1] - start);
    const int size = NAME(unit_members)(dag, solve, unit, block, members);
    for (int r = 0; r < size; r++, entry += r * stride) {
        const int32_t i = members[r];
        const REAL *row = block + (int64_t)i * (i + 1) / 2;
        if (by_range) {
            const REAL range = NAME(range)(solve, source[i]);
            NAME(range_row)(solve, eliminate, block, source, i, members, r + 1, stride, entry);
            entry[r * stride] += damping * range * range;
            right[r * stride] = eliminate ? g[i] - row[0] / block[0] * g[0]
                : g[i] + NAME(origin)(solve, source[i]) * g[0];
        } else {
            for (int c = 0; c <= r; c++) entry[c * stride] = row[members[c]];
            entry[r * stride] += epsilon;
            right[r * stride] = g[i];
        }
    }
    return size;
}

/* The damped linear system of one unit: its members (entries of the block), the packed lower
 * triangle of the matrix and the right-hand side. Returns the size. Only the range rule knows
 * statistics about an origin. */
static int NAME(unit_system)(const fk_dag *dag, const fk_solve *solve, int32_t unit,
                             const void *gradient, const void *blocks, int32_t *members,
                             void *matrix, void *right)
{
    return NAME(fill_system)(dag, solve, unit, gradient, NAME(unit_block)(dag, unit, blocks),
                             members, 1, matrix, right);
}

FK_INLINE int NAME(unit_size)(const fk_dag *dag, int32_t unit)
{
    return (int)(dag->indptr[unit + 1] - dag->indptr[unit]);
}

/* Whether the systems hold all entries of their units' blocks. */
FK_INLINE int NAME(are_whole)(const fk_dag *dag, const fk_solve *solve, const int32_t *units,
                              const REAL *const *block)
{
    if (solve->frozen) return 0;
    for (int l = 0; l < LANES && solve->rule == FK_DAMPING_RANGE; l++) {
        if (!(block[l][0] >= SMALLEST)) return 0;
        for (int64_t e = dag->indptr[units[l]] + 1; e < dag->indptr[units[l] + 1]; e++)
            if (NAME(range)(solve, dag->source[e]) == 0) return 0;
    }
    return 1;
}

FK_INLINE VEC NAME(across)(const REAL *const *array, int64_t i)
{
    VEC value;
    EACH(l, LANES) value[l] = array[l][i];
    return value;
}

/* `fill_system` of whole units, all lanes together; `from` is 1 where the bias is eliminated. Rows
 * after a lane's own are zero. */
FK_INLINE void NAME(fill_whole)(const fk_dag *dag, const fk_solve *solve, const int32_t *units,
                                int n, int from, const REAL *gradient, const REAL *const *block,
                                VEC *entry, VEC *right)
{
    static const REAL zeros[FK_BATCHED];
    const VEC a00 = NAME(across)(block, 0);
    VEC first[FK_BATCHED], g0 = {0}, damping = {0};
    for (int l = 0; l < LANES; l++)
        damping[l] = NAME(range_damping)(solve, a00[l], NAME(unit_size)(dag, units[l]));
    for (int i = 0; i < n; i++) {
        const REAL *row[LANES];
        VEC range = {0}, g = {0};
        for (int l = 0; l < LANES; l++) {
            const int64_t e = dag->indptr[units[l]] + i;
            row[l] = zeros;
            if (i >= NAME(unit_size)(dag, units[l])) continue;
            row[l] = block[l] + (int64_t)i * (i + 1) / 2;
            g[l] = gradient[e];
            if (from && i) range[l] = NAME(range)(solve, dag->source[e]);
        }
        if (from && i == 0) {
            g0 = g;
            continue;
        }
        first[i] = NAME(across)(row, 0);
        const VEC mean = from ? first[i] / a00 : (VEC){0};
        right[i - from] = from ? g - mean * g0 : g;
        for (int j = from; j <= i; j++) {
            *entry = NAME(across)(row, j);
            if (from) *entry -= mean * first[j];
            entry++;
        }
        entry[-1] += from ? damping * range * range
            : (VEC){0} + (REAL)solve->value;
    }
}

/* The systems of `count` <= LANES units, one in each lane, padded by rows of the identity to the
 * even size that is returned; members are `members_stride` apart. */
static int NAME(unit_systems)(const fk_dag *dag, const fk_solve *solve_, const int32_t *units,
                              int count, const void *gradient, const void *blocks,
                              int64_t members_stride, int32_t *members, int *sizes, void *matrix_,
                              void *right_)
{
    const fk_solve local = *solve_, *solve = &local; /* a copy that the writes cannot alias */
    REAL *matrix = matrix_, *right = right_;
    const REAL *block[LANES];
    int32_t unit[LANES];
    int n = 0, size = 0;
    for (int l = 0; l < LANES; l++) {
        unit[l] = units[l < count ? l : 0];
        block[l] = NAME(unit_block)(dag, unit[l], blocks);
        n = NAME(unit_size)(dag, unit[l]) > n ? NAME(unit_size)(dag, unit[l]) : n;
    }
    const int from = solve->rule == FK_DAMPING_RANGE;
    const int whole = NAME(are_whole)(dag, solve, unit, block);
    if (whole && from)
        NAME(fill_whole)(dag, solve, unit, n, 1, gradient, block, matrix_, right_);
    else if (whole)
        NAME(fill_whole)(dag, solve, unit, n, 0, gradient, block, matrix_, right_);
    for (int l = 0; l < LANES; l++) {
        int32_t *own = members + l * members_stride;
        sizes[l] = NAME(unit_size)(dag, unit[l]) - from;
        if (l >= count)
            sizes[l] = 0;
        else if (!whole)
            sizes[l] = NAME(fill_system)(dag, solve, unit[l], gradient, block[l], own, LANES,
                                         matrix + l, right + l);
        else
            for (int r = 0; r < sizes[l]; r++) own[r] = r + from;
        size = sizes[l] > size ? sizes[l] : size;
    }
    size += size % 2;
    for (int l = 0; l < LANES; l++)
        for (int r = sizes[l]; r < size; r++) {
            REAL *row = matrix + l + (int64_t)r * (r + 1) / 2 * LANES;
            for (int c = 0; c <= r; c++) row[c * LANES] = c == r;
            right[r * LANES + l] = 0;
        }
    return size;
}

/* Rows i and i + 1 of U = L D at the columns [j, j + n), from L's rows before them; the diagonal of
 * the matrix holds the inverse of D. */
FK_INLINE void NAME(factor_columns)(int n, VEC *matrix, VEC *row, VEC *next, int j)
{
    const VEC *column[4];
    VEC sum[2][4];
    EACH(c, n) {
        column[c] = matrix + (j + c) * (j + c + 1) / 2;
        sum[0][c] = row[j + c];
        sum[1][c] = next[j + c];
    }
    for (int l = 0; l < j; l++) EACH(c, n) {
        sum[0][c] -= row[l] * column[c][l];
        sum[1][c] -= next[l] * column[c][l];
    }
    EACH(c, n) {
        EACH(b, c) {
            sum[0][c] -= sum[0][b] * column[c][j + b];
            sum[1][c] -= sum[1][b] * column[c][j + b];
        }
        row[j + c] = sum[0][c];
        next[j + c] = sum[1][c];
    }
}

/* 1 / pivot; 1 in the lanes where it is no positive normal number, which are marked. */
FK_INLINE VEC NAME(inverse_pivot)(VEC pivot, BITS *failed)
{
    const BITS good = pivot >= SMALLEST;
    *failed |= ~good;
    return 1 / (VEC)(((BITS)pivot & good) | ((BITS)((VEC){0} + 1) & ~good));
}

/* Rows i and i + 1 of U to those of L, their pivots, and their part of the forward solve. */
FK_INLINE void NAME(finish_rows)(const VEC *matrix, VEC *row, VEC *next, int i, VEC *x,
                                 BITS *failed)
{
    VEC pivot[3] = {row[i], next[i], next[i + 1]}, sum[2] = {x[i], x[i + 1]};
    for (int j = 0; j < i; j++) {
        const VEC u = row[j], v = next[j], inverse = matrix[j * (j + 3) / 2];
        const VEC l = row[j] = u * inverse, m = next[j] = v * inverse;
        pivot[0] -= u * l;
        pivot[1] -= v * l;
        pivot[2] -= v * m;
        sum[0] -= l * x[j];
        sum[1] -= m * x[j];
    }
    row[i] = NAME(inverse_pivot)(pivot[0], failed);
    next[i] = pivot[1] * row[i];
    next[i + 1] = NAME(inverse_pivot)(pivot[2] - pivot[1] * next[i], failed);
    x[i] = sum[0];
    x[i + 1] = sum[1] - next[i] * x[i];
}

/* Solves L D L^T x = right in place (Cholesky without roots), one system in each lane; `size` must
 * be even. Returns, as bits, the lanes with a pivot that is no positive normal number; their
 * solutions mean nothing. O(size^3). */
static int NAME(cholesky)(int size, void *matrix_, void *right_)
{
    VEC *matrix = matrix_, *x = right_;
    BITS failed = {0};
    for (int i = 0; i < size; i += 2) {
        VEC *row = matrix + i * (i + 1) / 2, *next = row + i + 1;
        int j = 0;
        for (; j + 4 <= i; j += 4) NAME(factor_columns)(4, matrix, row, next, j);
        if (j < i) NAME(factor_columns)(2, matrix, row, next, j);
        NAME(finish_rows)(matrix, row, next, i, x, &failed);
    }
    for (int i = 0; i < size; i++) x[i] *= matrix[i * (i + 3) / 2];
    for (int i = size - 1; i >= 0; i--) {
        const VEC *row = matrix + i * (i + 1) / 2;
        for (int j = 0; j < i; j++) x[j] -= row[j] * x[i];
    }
    int lanes = 0;
    for (int l = 0; l < LANES; l++) lanes |= (failed[l] != 0) << l;
    return lanes;
}

/* Puts a unit's solution, neighbours `stride` apart, into theta's layout and raw coordinates. */
static void NAME(unit_direction)(const fk_dag *dag, const fk_solve *solve, int32_t unit,
                                 const void *gradient_, const void *blocks,
                                 const int32_t *members, int size, int stride,
                                 const void *solution_, void *direction_)
{
    const int64_t start = dag->indptr[unit];
    const int32_t *source = dag->source + start;
    const REAL *block = NAME(unit_block)(dag, unit, blocks), *solution = solution_;
    REAL *d = (REAL *)direction_ + start;
    for (int64_t j = 0; j < dag->indptr[unit + 1] - start; j++) d[j] = 0;
    for (int r = 0; r < size; r++) d[members[r]] = solution[r * stride];
    if (solve->rule != FK_DAMPING_RANGE || !(block[0] >= SMALLEST)
        || NAME(is_frozen)(solve, start))
        return;
    REAL bias = ((const REAL *)gradient_)[start] / ((REAL)1.01 * block[0]);
    for (int r = 0; r < size; r++) {
        const int64_t i = members[r];
        const REAL mean = NAME(origin)(solve, source[i]) + block[i * (i + 1) / 2] / block[0];
        bias -= mean * solution[r * stride];
    }
    d[0] = bias;
}
