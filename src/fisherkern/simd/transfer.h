/* Linear backward passes in many directions at once [O Def. 2, Def. 3]: the start of direction e is
 * one value per output, H_k^e = start_k + sum over k -> j of w_kj H~_j^e, H~ = r H.
 *
 * The columns of a square root of the outputs' Fisher metric (R R^T = Omega) give the Fisher
 * modulus Phi_k = sum_e (H_k^e)^2, those of the identity the transfer rates, and the values of drawn
 * targets the Monte Carlo metric. A unit that no start reaches is not visited. Rows of one unit:
 * [direction of the group][sample]. O(n_edges * directions * tile). */

/* R_oe = own_o where e = o and -left_o right_e elsewhere, times r_o in reduced form: three rows
 * per output. Formed without cancellation and without dividing by a saturated slope. */
static void NAME(roots)(const fk_dag *dag, int interpretation, int n_samples, int reduced,
                        const void *activities_, const void *signals_, int rows,
                        const void *direct_, void *roots_)
{
    const REAL *activities = activities_, *signals = signals_, *direct = direct_;
    REAL *roots = roots_;
    memset(roots, 0, sizeof(REAL) * 3 * FK_TILE * (size_t)dag->n_outputs);
    if (interpretation == FK_SQUARE || interpretation == FK_BERNOULLI) {
        for (int32_t o = 0; o < dag->n_outputs; o++)
            for (int t = 0; t < n_samples; t++)
                roots[(size_t)o * 3 * FK_TILE + t] =
                    MATH(sqrt)(direct[((size_t)o * 2 + 1) * FK_TILE + t]);
        return;
    }
    double scale[FK_TILE];
    for (int t = 0; t < n_samples; t++) {
        scale[t] = NAME(class_roots)(dag, interpretation, activities, roots, t);
        /* all outputs zero: there is no distribution, and nothing moves it */
        if (reduced && isinf(scale[t])) scale[t] = 0;
    }
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const int32_t p = dag->outputs[o];
        REAL buffer[FK_TILE] __attribute__((aligned(64))), *own = roots + (size_t)o * 3 * FK_TILE;
        const REAL *r = NAME(slopes)(dag, p, activities + (size_t)p * FK_TILE,
                                     signals + (size_t)p * rows * FK_TILE, buffer);
        for (int t = 0; t < n_samples; t++) {
            const double factor = reduced ? scale[t] * r[t] : scale[t];
            own[t] = (REAL)(own[t] * factor);
            /* 0 where it is 0, whatever the scale */
            if (own[FK_TILE + t] != 0) own[FK_TILE + t] = (REAL)(own[FK_TILE + t] * factor);
        }
    }
}

/* Rows whose columns start the transfer rates: the identity, or the slopes in reduced form. */
static void NAME(identity_roots)(const fk_dag *dag, int n_samples, int reduced,
                                 const void *activities, const void *signals, int rows,
                                 void *roots_)
{
    REAL *roots = roots_;
    memset(roots, 0, sizeof(REAL) * 3 * FK_TILE * (size_t)dag->n_outputs);
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const int32_t p = dag->outputs[o];
        REAL buffer[FK_TILE] __attribute__((aligned(64)));
        const REAL *r = NAME(slopes)(dag, p, (const REAL *)activities + (size_t)p * FK_TILE,
                                     (const REAL *)signals + (size_t)p * rows * FK_TILE, buffer);
        for (int t = 0; t < n_samples; t++)
            roots[(size_t)o * 3 * FK_TILE + t] = reduced ? r[t] : 1;
    }
}

/* Starts of the directions [first, first + count) of a group of `width`: columns of the root;
 * `live`, by position, marks the outputs where a start is not zero. */
static void NAME(root_columns)(const fk_dag *dag, int separate, int width, int first, int count,
                               const void *roots_, void *start_, uint8_t *live)
{
    const REAL *roots = roots_;
    REAL *start = start_;
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const REAL *own = roots + (size_t)o * 3 * FK_TILE, *left = own + FK_TILE;
        live[dag->outputs[o]] = !separate || (o >= first && o < first + count);
        if (!live[dag->outputs[o]]) continue;
        memset(start + (size_t)o * width * FK_TILE, 0, sizeof(REAL) * (size_t)width * FK_TILE);
        for (int c = 0; c < count; c++) {
            REAL *column = start + ((size_t)o * width + c) * FK_TILE;
            const REAL *right = roots + ((size_t)(first + c) * 3 + 2) * FK_TILE;
            if (o == first + c)
                memcpy(column, own, sizeof(REAL) * FK_TILE);
            else if (!separate)
                EACH_SAMPLE column[t] = -left[t] * right[t];
        }
    }
}

/* One direction's start from the values of the output layer, times `scale`. */
static void NAME(value_column)(const fk_dag *dag, int width, int c, double scale,
                               const void *direct, void *start, uint8_t *live)
{
    for (int32_t o = 0; o < dag->n_outputs; o++) {
        const REAL *value = (const REAL *)direct + (size_t)o * 2 * FK_TILE;
        REAL *column = (REAL *)start + ((size_t)o * width + c) * FK_TILE;
        live[dag->outputs[o]] = 1;
        EACH_SAMPLE column[t] = value[t] * (REAL)scale;
    }
}

FK_INLINE void NAME(add_row_squares)(int width, const VEC *rows, VEC *sums)
{
    EACH_VECTOR {
        VEC sum = sums[v];
        for (int c = 0; c < width; c++) sum += rows[c * VECS + v] * rows[c * VECS + v];
        sums[v] = sum;
    }
}

FK_INLINE void NAME(transfer_unit)(const fk_dag *dag, int32_t p, int width,
                                   const REAL *weights_out, const uint8_t *live, const REAL *r,
                                   const REAL *start, const REAL *unreduced_start, REAL *rates,
                                   REAL *unreduced, REAL *squares)
{
    enum { MOST = 8 };
    const int chunk = width * VECS < MOST ? width * VECS : MOST;
    const size_t size = (size_t)width * FK_TILE;
    VEC *own = (VEC *)(rates + (size_t)p * size);
    for (int c = 0; c < width * VECS; c += chunk) {
        VEC sum[MOST];
        for (int v = 0; v < chunk; v++) sum[v] = (VEC){0};
        for (int64_t e = dag->out_start[p + 1]; e < dag->out_start[p]; e++) {
            const int32_t target = dag->out_target[e];
            if (!live[target]) continue;
            const VEC *row = (const VEC *)(rates + (size_t)target * size) + c;
            const REAL w = weights_out[e];
            for (int v = 0; v < chunk; v++) sum[v] += row[v] * w;
        }
        for (int v = 0; v < chunk; v++) {
            VEC value = ((const VEC *)r)[(c + v) % VECS] * sum[v];
            if (start) value += ((const VEC *)start)[c + v];
            own[c + v] = value;
            if (unreduced)
                ((VEC *)(unreduced + (size_t)p * size))[c + v] =
                    sum[v] + (start ? ((const VEC *)unreduced_start)[c + v] : (VEC){0});
        }
    }
    if (squares) NAME(add_row_squares)(width, own, (VEC *)squares);
}

FK_INLINE void NAME(transfer_units)(const fk_dag *dag, int width, int first,
                                    const REAL *weights_out, const REAL *activities,
                                    const REAL *signals, int rows, const REAL *start,
                                    const REAL *unreduced_start, uint8_t *live, REAL *rates,
                                    REAL *unreduced, REAL *squares)
{
    const size_t size = (size_t)width * FK_TILE;
    for (int32_t p = dag->n_units - 1; p >= first; p--) {
        const int32_t slot = dag->output_slot[p];
        const int starts = slot >= 0 && live[p];
        int reached = starts;
        for (int64_t e = dag->out_start[p + 1]; e < dag->out_start[p] && !reached; e++)
            reached = live[dag->out_target[e]];
        live[p] = (uint8_t)reached;
        if (!reached) {
            if (unreduced) memset(unreduced + (size_t)p * size, 0, size * sizeof(REAL));
            continue;
        }
        REAL buffer[FK_TILE] __attribute__((aligned(64)));
        const REAL *r = p < dag->n_inputs ? NULL
            : NAME(slopes)(dag, p, activities + (size_t)p * FK_TILE,
                           signals + (size_t)p * rows * FK_TILE, buffer);
        if (!r) {
            EACH_SAMPLE buffer[t] = 1;
            r = buffer;
        }
        NAME(transfer_unit)(dag, p, width, weights_out, live, r,
                            starts ? start + (size_t)slot * size : NULL,
                            starts && unreduced ? unreduced_start + (size_t)slot * size : NULL,
                            rates, unreduced,
                            squares ? squares + (size_t)p * rows * FK_TILE : NULL);
    }
}

/* H~ (and H where `unreduced` is given) of the units from the last position down to `first`, for a
 * group of 1 or FK_GROUP directions, and the sums of its squares added to `squares`, where given,
 * whose rows lie as the signals'; `live` becomes the mark of every unit that a start reaches. */
static void NAME(transfer)(const fk_dag *dag, int width, int first, const void *weights_out,
                           const void *activities, const void *signals, int rows,
                           const void *start, const void *unreduced_start, uint8_t *live,
                           void *rates, void *unreduced, void *squares)
{
    if (width == 1)
        NAME(transfer_units)(dag, 1, first, weights_out, activities, signals, rows, start,
                             unreduced_start, live, rates, unreduced, squares);
    else
        NAME(transfer_units)(dag, FK_GROUP, first, weights_out, activities, signals, rows, start,
                             unreduced_start, live, rates, unreduced, squares);
}

/* Adds the squares of a group's directions to one row of each live unit. */
static void NAME(add_squares)(const fk_dag *dag, int width, const uint8_t *live, const void *rates,
                              void *sums)
{
    for (int32_t p = 0; p < dag->n_units; p++)
        if (live[p])
            NAME(add_row_squares)(width,
                                  (const VEC *)((const REAL *)rates + (size_t)p * width * FK_TILE),
                                  (VEC *)((REAL *)sums + (size_t)p * FK_TILE));
}

/* a_i H~_k^e of every parameter: (n_parameters, width * FK_TILE), the factor of a full matrix. */
static void NAME(parameter_rates)(const fk_dag *dag, int width, const uint8_t *live,
                                  const void *activities, const void *rates, double *factor)
{
    const int size = width * FK_TILE;
    for (int32_t p = dag->n_inputs; p < dag->n_units; p++) {
        const int64_t block = dag->block[p];
        const REAL *row = (const REAL *)rates + (size_t)p * size;
        if (!live[p]) {
            memset(factor + block * size, 0, sizeof(double) * (size_t)size * (dag->fan_in[p] + 1));
            continue;
        }
        for (int32_t j = 0; j <= dag->fan_in[p]; j++) {
            const REAL *a = (const REAL *)activities + (size_t)dag->source[block + j] * FK_TILE;
            double *out = factor + (block + j) * size;
            for (int c = 0; c < width; c++)
                EACH_SAMPLE out[c * FK_TILE + t] =
                    (j ? (double)a[t] : 1) * (double)row[c * FK_TILE + t];
        }
    }
}
