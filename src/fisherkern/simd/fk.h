/* Types that the leaf loops share with the Cython modules.
 *
 * Units are numbered by position here: inputs first, then the others in topological order.
 * Parameters keep the public order of theta throughout: one block per non-input unit, the bias
 * (weight from the always-active unit) first, then one weight per incoming edge.
 * A row is FK_TILE consecutive samples of one unit; `signals` interleaves one or two rows per unit:
 * the reduced backpropagated value, then the per-sample metric weight c_k.
 */
#ifndef FISHERKERN_FK_H
#define FISHERKERN_FK_H

#include <stdint.h>

enum fk_activation {
    FK_IDENTITY, FK_SIGMOID, FK_TANH, FK_RELU, FK_LEAKY_RELU,
    FK_ERF, FK_LECUN_TANH, FK_SOFTPLUS, FK_SILU, FK_GELU
};

/* What the forward pass leaves in a unit's first signal row for what comes after it. */
enum fk_keeps { FK_KEEPS_NOTHING, FK_KEEPS_SLOPE, FK_KEEPS_Z };

enum fk_interpretation { FK_SQUARE, FK_BERNOULLI, FK_SOFTMAX, FK_SPHERICAL };

/* What the backward pass leaves in the rows of a unit. */
enum fk_signals {
    FK_VALUES,          /* one row: backpropagated value */
    FK_VALUES_MODULUS,  /* two rows: value, backpropagated modulus */
    FK_VALUES_SQUARES,  /* two rows: value, its square (outer product) */
    FK_VALUES_FISHER,   /* two rows: value, Fisher modulus */
    FK_VALUES_DRAWS,    /* two rows: value, mean square over drawn targets (Monte Carlo) */
    FK_RATES            /* no values: transfer rates alone */
};

enum {
    FK_GROUP = 4,      /* directions that the transfer pass takes at once */
    FK_BATCHED = 128,  /* parameters of a unit above which LAPACK factorizes its block */
    FK_MAX_LANES = 16
};

/* Which entries of the unitwise metric a pass accumulates. */
enum fk_statistics { FK_NO_METRIC, FK_DIAGONAL, FK_QUASI_DIAGONAL, FK_UNITWISE, FK_FULL };

enum fk_damping { FK_DAMPING_ABSOLUTE, FK_DAMPING_RANGE };

typedef struct {
    int32_t n_units, n_inputs, n_outputs;
    int64_t n_edges, n_parameters, n_blocks;  /* n_blocks: entries of all packed unit blocks */
    double leaky_slope;
    const int32_t *outputs;        /* (n_outputs,) position of output o */
    const uint8_t *activation;     /* (n_units,) fk_activation */
    const uint8_t *keeps;          /* (n_units,) fk_keeps */
    const int32_t *output_slot;    /* (n_units,) index among the outputs, or -1 */
    const int64_t *block;          /* (n_units,) offset of the unit's bias in theta */
    const int32_t *fan_in;         /* (n_units,) bias not counted */
    const int32_t *source;         /* (n_parameters,) position of the source; bias entries: 0 */
    const int64_t *out_start;      /* (n_units + 1,) outgoing edges of position p: from p + 1's entry
                                    * to p's; in the order of the backward pass */
    const int32_t *out_target;     /* (n_edges,) position of the target */
    const int32_t *out_parameter;  /* (n_parameters,) index in theta of each edge's weight, then of
                                    * each unit's bias by position */
    const int64_t *packed;         /* (n_units,) offset of the unit's packed lower triangle;
                                    * with n_blocks, set for unitwise passes */
    const int64_t *indptr;         /* (n_units - n_inputs + 1,) block offsets, public unit order */
    const int32_t *position;       /* (n_units,) position of a public unit number */
    int32_t n_levels;              /* the inputs are the first */
    const int32_t *level_starts;   /* (n_levels + 1,) positions */
    int32_t ahead;                 /* units whose rows are asked for before their turn: levels too
                                    * wide for the caches; or 0 */
} fk_dag;

/* One accumulation slot: sums over the samples of its tiles, in theta's layout or as moments.h. */
typedef struct {
    void *gradient;   /* (n_parameters,) sum of a_i b~_k (the descent direction) */
    void *diagonal;   /* (n_parameters,) sum of a_i^2 c_k, or NULL */
    void *cross;      /* (n_parameters,) sum of a_i c_k, or NULL */
    void *blocks;     /* (n_blocks,) packed lower triangles of sum a_i a_j c_k, or NULL */
    void *low, *high; /* (n_units,) smallest and largest activity, or NULL */
    double *full;     /* (n_parameters, n_parameters) upper triangle, or NULL */
} fk_slot;

/* Sums that the backward pass takes by the way: see simd/moments.h. */
typedef struct {
    int kind, add;
    const void *shift;
    const fk_slot *slot;  /* its arrays in the order of the outgoing edges, biases behind them */
} fk_moments;

/* Where a loss cannot be differentiated: an output of zero that its target needs. */
typedef struct {
    int64_t sample;  /* -1: no fault */
    int32_t output;
} fk_fault;

/* The leaf loops of one dtype and one tile width. `void *` points to that dtype. */
typedef struct {
    int tile;
    void (*load)(const void *data, int64_t stride, int64_t width, const int64_t *samples,
                 int64_t first, int n_samples, void *rows);
    void (*load_classes)(const int64_t *classes, int64_t stride, int64_t width,
                         const int64_t *samples, int64_t first, int n_samples, void *rows);
    void (*store)(const void *rows, int stride, const int32_t *positions, int64_t width,
                  int64_t first, int n_samples, void *out);
    void (*activate)(int code, double leaky_slope, const void *z, void *activities, void *slopes);
    void (*forward)(const fk_dag *dag, int32_t first, int32_t last, const void *theta,
                    void *activities, void *signals, int rows, int only_losses);
    fk_fault (*output)(const fk_dag *dag, int interpretation, int n_samples, int reduced,
                       const void *activities, const void *signals, int rows,
                       const void *targets, void *direct, double *losses);
    void (*backward)(const fk_dag *dag, int signals_kind, int rows, int32_t first, int32_t last,
                     const void *weights_out, const void *activities, const void *direct,
                     void *signals, void *unreduced, const fk_moments *moments);
    void (*roots)(const fk_dag *dag, int interpretation, int n_samples, int reduced,
                  const void *activities, const void *signals, int rows, const void *direct,
                  void *roots);
    void (*identity_roots)(const fk_dag *dag, int n_samples, int reduced, const void *activities,
                           const void *signals, int rows, void *roots);
    void (*root_columns)(const fk_dag *dag, int separate, int width, int first, int count,
                         const void *roots, void *start, uint8_t *live);
    void (*value_column)(const fk_dag *dag, int width, int c, double scale, const void *direct,
                         void *start, uint8_t *live);
    void (*transfer)(const fk_dag *dag, int width, int first, const void *weights_out,
                     const void *activities, const void *signals, int rows, const void *start,
                     const void *unreduced_start, uint8_t *live, void *rates, void *unreduced,
                     void *squares);
    void (*add_squares)(const fk_dag *dag, int width, const uint8_t *live, const void *rates,
                        void *sums);
    void (*parameter_rates)(const fk_dag *dag, int width, const uint8_t *live,
                            const void *activities, const void *rates, double *factor);
    void (*draw)(const fk_dag *dag, int interpretation, int n_samples, const void *activities,
                 const void *signals, int rows, const void *random, void *targets);
    void (*centre)(int32_t first, int32_t last, const void *shift, void *activities);
    void (*ranges)(int32_t first, int32_t last, int add, const void *activities, void *low,
                   void *high);
    void (*statistics)(const fk_dag *dag, int32_t first, int32_t last, int kind, int rows, int add,
                       const void *activities, const void *signals, const fk_slot *slot);
} fk_tile_leaves;

/* How a metric is damped before it is inverted (absolute: epsilon added to the diagonal). */
typedef struct {
    int rule;            /* fk_damping */
    double value;
    const void *shift;   /* (n_units,) origin of the activities in the statistics, or NULL */
    const void *low, *high;
    const uint8_t *frozen;  /* (n_parameters,) or NULL */
    double prior;           /* range rule: a weight's prior precision over fan_in range^2 */
} fk_solve;

/* Leaf loops of one dtype over the units [first, last), in the public order. */
typedef struct {
    void (*gather_weights)(const fk_dag *dag, int64_t first, int64_t last, const void *theta,
                           void *weights_out);
    void (*sum_slots)(void *sums, int64_t stride, int n_slots, int64_t first, int64_t last,
                      double scale);
    void (*arrange)(void *out, const void *values, const int32_t *places, int64_t first,
                    int64_t last);
    void (*blend)(void *running, const void *batch, int64_t first, int64_t last, double rate);
    void (*diagonal)(const fk_dag *dag, const fk_solve *solve, int32_t first, int32_t last,
                     const void *gradient, const void *diagonal, int root, void *direction);
    void (*quasi_diagonal)(const fk_dag *dag, const fk_solve *solve, int32_t first, int32_t last,
                           const void *gradient, const void *diagonal, const void *cross,
                           void *direction, double *decrement);
    void (*pull)(const fk_dag *dag, const fk_solve *solve, int32_t first, int32_t last,
                 const void *theta, void *gradient, double *penalty);
    int lanes;           /* systems that `cholesky` solves at once */
    int (*unit_system)(const fk_dag *dag, const fk_solve *solve, int32_t unit,
                       const void *gradient, const void *blocks, int32_t *members, void *matrix,
                       void *right);
    int (*unit_systems)(const fk_dag *dag, const fk_solve *solve, const int32_t *units, int count,
                        const void *gradient, const void *blocks, int64_t members_stride,
                        int32_t *members, int *sizes, void *matrix, void *right);
    int (*cholesky)(int size, void *matrix, void *right);
    void (*unit_direction)(const fk_dag *dag, const fk_solve *solve, int32_t unit,
                           const void *gradient, const void *blocks, const int32_t *members,
                           int size, int stride, const void *solution, void *direction);
    int (*full_system)(const fk_dag *dag, const fk_solve *solve, const void *gradient,
                       const double *full, int32_t *members, double *matrix, double *right);
    void (*full_direction)(const fk_dag *dag, const int32_t *members, int size,
                           const double *solution, void *direction);
    void (*momentum)(int64_t first, int64_t last, double decay, const void *gradient,
                     void *velocity, void *direction);
    void (*adam)(int64_t first, int64_t last, int64_t step, double decay1, double decay2,
                 double damping, const void *gradient, void *mean, void *square, void *direction);
    void (*mask)(int64_t first, int64_t last, const uint8_t *frozen, void *values);
    double (*decrement)(const fk_dag *dag, const void *shift, int32_t unit, const void *gradient,
                        const void *direction);
    int (*lands)(const void *origin, const void *direction, int64_t first, int64_t last,
                 double rate);
    void (*advance)(void *theta, const void *origin, const void *direction, int64_t first,
                    int64_t last, double rate);
} fk_step_leaves;

/* All leaf loops of one instruction set, by float32/float64 and tile widths 16, 32, 64. */
typedef struct {
    const char *isa;
    const fk_tile_leaves *tiles[2][3];
    const fk_step_leaves *step[2];
} fk_leaves;

/* GCC compiles a file for another target by a pragma. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FK_HAS_X86_TARGETS 1
#else
#define FK_HAS_X86_TARGETS 0
#endif

const char *fk_available_isa(int i);     /* the i-th that this machine runs, or NULL */
int fk_choose_isa(const char *isa);      /* 0: not available */
const fk_tile_leaves *fk_tile_select(int is_double, int tile);
const fk_step_leaves *fk_step_select(int is_double);
const char *fk_isa(void);

#endif
