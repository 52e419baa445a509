/* Rows of data into one tile, and rows of a tile back into an array of samples. */

FK_INLINE int64_t NAME(sample)(const int64_t *samples, int64_t first, int n_samples, int t)
{
    const int64_t place = first + (t < n_samples ? t : n_samples - 1);
    return samples ? samples[place] : place;
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
        EACH_SAMPLE {
            const REAL *x = data + NAME(sample)(samples, first, n_samples, t) * stride;
            for (int64_t i = i0; i < stop; i++) rows[i * FK_TILE + t] = x[i];
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
