/* Rows of data into one tile, and rows of a tile back into an array of samples. */

FK_INLINE int64_t NAME(sample)(const int64_t *samples, int64_t first, int n_samples, int t)
{
    const int64_t place = first + (t < n_samples ? t : n_samples - 1);
    return samples ? samples[place] : place;
}

/* Four values from each of four places into columns: rows of four, `stride` values apart. */
FK_INLINE void NAME(transpose)(const REAL *const *x, size_t stride, REAL *rows)
{
    QUAD in[4];
    EACH(k, 4) memcpy(&in[k], x[k], sizeof in[k]);
    const QUAD a = SHUFFLE_QUADS(in[0], in[1], 0, 4, 1, 5);
    const QUAD b = SHUFFLE_QUADS(in[2], in[3], 0, 4, 1, 5);
    const QUAD c = SHUFFLE_QUADS(in[0], in[1], 2, 6, 3, 7);
    const QUAD d = SHUFFLE_QUADS(in[2], in[3], 2, 6, 3, 7);
    *(QUAD *)rows = SHUFFLE_QUADS(a, b, 0, 1, 4, 5);
    *(QUAD *)(rows + stride) = SHUFFLE_QUADS(a, b, 2, 3, 6, 7);
    *(QUAD *)(rows + 2 * stride) = SHUFFLE_QUADS(c, d, 0, 1, 4, 5);
    *(QUAD *)(rows + 3 * stride) = SHUFFLE_QUADS(c, d, 2, 3, 6, 7);
}

/* Transposes the chosen rows of data (n, stride), their first `width` entries, into rows of the
 * tile; the lanes after the last sample repeat it. */
static void NAME(load)(const void *data_, int64_t stride, int64_t width, const int64_t *samples,
                       int64_t first, int n_samples, void *rows_)
{
    enum { BLOCK = 16 };
    const REAL *data = data_;
    REAL *rows = rows_;
    for (int64_t i0 = 0; i0 < width; i0 += BLOCK) {
        const int64_t stop = i0 + BLOCK < width ? i0 + BLOCK : width;
        for (int t = 0; t < FK_TILE; t += 4) {
            const REAL *x[4];
            EACH(k, 4)
                x[k] = data + NAME(sample)(samples, first, n_samples, t + k) * stride + i0;
            int64_t i = i0;
            for (; i + 4 <= stop; i += 4) {
                NAME(transpose)(x, FK_TILE, rows + i * FK_TILE + t);
                EACH(k, 4) x[k] += 4;
            }
            for (; i < stop; i++)
                EACH(k, 4) rows[i * FK_TILE + t + k] = *x[k]++;
        }
    }
}

/* One-hot rows from class indices, `stride` apart. */
static void NAME(load_classes)(const int64_t *classes, int64_t stride, int64_t width,
                               const int64_t *samples, int64_t first, int n_samples, void *rows_)
{
    REAL *rows = rows_;
    memset(rows, 0, sizeof(REAL) * FK_TILE * (size_t)width);
    EACH_SAMPLE {
        const int64_t place = NAME(sample)(samples, first, n_samples, t) * stride;
        rows[classes[place] * FK_TILE + t] = 1;
    }
}

/* out[first + t, i] = row of positions[i]; the rows lie `stride` rows apart. */
static void NAME(store)(const void *rows_, int stride, const int32_t *positions, int64_t width,
                        int64_t first, int n_samples, void *out_)
{
    const REAL *rows = rows_;
    REAL *out = (REAL *)out_ + first * width;
    for (int64_t i = 0; i < width; i++) {
        const REAL *row = rows + (size_t)(positions ? positions[i] : i) * stride * FK_TILE;
        for (int t = 0; t < n_samples; t++) out[t * width + i] = row[t];
    }
}
