# cython: language_level=3
"""The C structures of simd/fk.h; `void*` points to the dtype that a table of leaves is made for."""
from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "simd/fk.h" nogil:
    cdef enum:
        FK_SQUARE, FK_BERNOULLI, FK_SOFTMAX, FK_SPHERICAL
        FK_VALUES, FK_VALUES_MODULUS, FK_VALUES_SQUARES, FK_VALUES_FISHER, FK_VALUES_DRAWS
        FK_RATES
        FK_GROUP, FK_BATCHED, FK_MAX_LANES
        FK_NO_METRIC, FK_DIAGONAL, FK_QUASI_DIAGONAL, FK_UNITWISE, FK_FULL
        FK_DAMPING_ABSOLUTE, FK_DAMPING_RANGE

    ctypedef struct fk_dag:
        int32_t n_units, n_inputs, n_outputs
        int64_t n_edges, n_parameters, n_blocks
        double leaky_slope
        const int32_t* outputs
        const uint8_t* activation
        const uint8_t* keeps
        const int32_t* output_slot
        const int64_t* block
        const int32_t* fan_in
        const int32_t* source
        const int64_t* out_start
        const int32_t* out_target
        const int32_t* out_parameter
        const int64_t* packed
        const int64_t* indptr
        const int32_t* position
        int32_t n_levels
        const int32_t* level_starts
        int32_t ahead

    ctypedef struct fk_slot:
        void* gradient
        void* diagonal
        void* cross
        void* blocks
        void* low
        void* high
        double* full

    ctypedef struct fk_moments:
        int kind, add
        const void* shift
        const fk_slot* slot

    ctypedef struct fk_fault:
        int64_t sample
        int32_t output

    ctypedef struct fk_tile_leaves:
        int tile
        void (*load)(const void*, int64_t, int64_t, const int64_t*, int64_t, int,
                     void*) noexcept nogil
        void (*load_classes)(const int64_t*, int64_t, int64_t, const int64_t*, int64_t, int,
                             void*) noexcept nogil
        void (*store)(const void*, int, const int32_t*, int64_t, int64_t, int, void*) noexcept nogil
        void (*activate)(int, double, const void*, void*, void*) noexcept nogil
        void (*forward)(const fk_dag*, int32_t, int32_t, const void*, void*, void*, int,
                        int) noexcept nogil
        fk_fault (*output)(const fk_dag*, int, int, int, const void*, const void*, int,
                           const void*, void*, double*) noexcept nogil
        void (*backward)(const fk_dag*, int, int, int32_t, int32_t, const void*, const void*,
                         const void*, void*, void*, const fk_moments*) noexcept nogil
        void (*roots)(const fk_dag*, int, int, int, const void*, const void*, int, const void*,
                      void*) noexcept nogil
        void (*identity_roots)(const fk_dag*, int, int, const void*, const void*, int,
                               void*) noexcept nogil
        void (*root_columns)(const fk_dag*, int, int, int, int, const void*, void*,
                             uint8_t*) noexcept nogil
        void (*value_column)(const fk_dag*, int, int, double, const void*, void*,
                             uint8_t*) noexcept nogil
        void (*transfer)(const fk_dag*, int, int, const void*, const void*, const void*, int,
                         const void*, const void*, uint8_t*, void*, void*, void*) noexcept nogil
        void (*add_squares)(const fk_dag*, int, const uint8_t*, const void*, void*) noexcept nogil
        void (*parameter_rates)(const fk_dag*, int, const uint8_t*, const void*, const void*,
                                double*) noexcept nogil
        void (*draw)(const fk_dag*, int, int, const void*, const void*, int, const void*,
                     void*) noexcept nogil
        void (*centre)(int32_t, int32_t, const void*, void*) noexcept nogil
        void (*ranges)(int32_t, int32_t, int, const void*, void*, void*) noexcept nogil
        void (*statistics)(const fk_dag*, int32_t, int32_t, int, int, int, const void*, const void*,
                           const fk_slot*) noexcept nogil

    ctypedef struct fk_solve:
        int rule
        double value
        const void* shift
        const void* low
        const void* high
        const uint8_t* frozen
        double prior

    ctypedef struct fk_step_leaves:
        void (*gather_weights)(const fk_dag*, int64_t, int64_t, const void*, void*) noexcept nogil
        void (*sum_slots)(void*, int64_t, int, int64_t, int64_t, double) noexcept nogil
        void (*arrange)(void*, const void*, const int32_t*, int64_t, int64_t) noexcept nogil
        void (*blend)(void*, const void*, int64_t, int64_t, double) noexcept nogil
        void (*diagonal)(const fk_dag*, const fk_solve*, int32_t, int32_t, const void*,
                         const void*, int, void*) noexcept nogil
        void (*quasi_diagonal)(const fk_dag*, const fk_solve*, int32_t, int32_t, const void*,
                               const void*, const void*, void*, double*) noexcept nogil
        void (*pull)(const fk_dag*, const fk_solve*, int32_t, int32_t, const void*,
                     void*, double*) noexcept nogil
        int lanes
        int (*unit_system)(const fk_dag*, const fk_solve*, int32_t, const void*, const void*,
                           int32_t*, void*, void*) noexcept nogil
        int (*unit_systems)(const fk_dag*, const fk_solve*, const int32_t*, int, const void*,
                            const void*, int64_t, int32_t*, int*, void*, void*) noexcept nogil
        int (*cholesky)(int, void*, void*) noexcept nogil
        void (*unit_direction)(const fk_dag*, const fk_solve*, int32_t, const void*, const void*,
                               const int32_t*, int, int, const void*, void*) noexcept nogil
        int (*full_system)(const fk_dag*, const fk_solve*, const void*, const double*, int32_t*,
                           double*, double*) noexcept nogil
        void (*full_direction)(const fk_dag*, const int32_t*, int, const double*,
                               void*) noexcept nogil
        void (*momentum)(int64_t, int64_t, double, const void*, void*, void*) noexcept nogil
        void (*adam)(int64_t, int64_t, int64_t, double, double, double, const void*, void*, void*,
                     void*) noexcept nogil
        void (*mask)(int64_t, int64_t, const uint8_t*, void*) noexcept nogil
        double (*decrement)(const fk_dag*, const void*, int32_t, const void*,
                            const void*) noexcept nogil
        int (*lands)(const void*, const void*, int64_t, int64_t, double) noexcept nogil
        void (*advance)(void*, const void*, const void*, int64_t, int64_t, double) noexcept nogil

    const fk_tile_leaves* fk_tile_select(int is_double, int tile)
    const fk_step_leaves* fk_step_select(int is_double)
    const char* fk_isa()
    const char* fk_available_isa(int)
    int fk_choose_isa(const char*)
