# cython: language_level=3
from libc.stdint cimport int64_t, uint8_t

from ._step cimport StepView
from ._types cimport fk_step_leaves
from ._view cimport PassView

# what makes a direction out of the sums
cdef enum:
    GRADIENT = 0
    MOMENTUM = 1
    ADAM = 2
    METRIC = 3

cdef enum:
    CONSTANT = 0
    TRUST_REGION = 1
    ADAPTIVE = 2

# of the adaptive control: what is known at theta
cdef enum:
    FRESH = 0     # nothing
    READY = 1     # loss and direction
    PENDING = 2   # theta is an attempt, not judged yet

cdef enum:
    OK = 0
    LOSS_NOT_FINITE = 1
    DIRECTION_NOT_FINITE = 2
    THETA_NOT_FINITE = 3

cdef struct LoopView:
    PassView* batch
    StepView step
    const fk_step_leaves* double_step   # of the full matrix
    int method, rule, status, phase
    int64_t n_steps, batch_size, done, moment_count
    int64_t metric_count      # directions that were made
    int64_t metric_updates, metric_every, metric_tiles
    void* theta
    void* origin              # adaptive: theta before the attempt
    void* directions[2]       # adaptive: the valid one and the one in the making
    void* running[4]          # diagonal, cross, blocks, full; NULL: this batch alone
    void* range[2]            # low, high over all samples so far
    void* moments[2]          # momentum, Adam
    double decay[3]           # momentum; Adam's two and its damping
    double metric_rate, blend_rate, rate, ceiling, radius, reference, decrement
    double before[2]           # adaptive: reference and rate before the last judgement
    bint in_place             # the running metric is accumulated in the batch's arrays
    bint warm_start, with_noise, reduce, has_range, whole_batch
    bint resolved             # adaptive: the attempt before this run was accepted at its end
    bint cancelled_before     # and was cancelled after all, for want of a direction
    int n_threads
    double noise, noise_floor, inverse_noise
    const int64_t* samples
    const char* random        # numbers that draw the targets of each step, or NULL
    int64_t random_bytes      # of one step
    void* average             # of theta over the steps, or NULL
    const double* averaging   # share of each step's theta in it
    const double* priors      # fk_solve.prior of each step, or NULL
    const double* factors     # constant: learning rates; trust region: f
    double* losses
    double* rates
    uint8_t* accepted
    double* unit_decrement
    double* unit_penalty      # what the prior adds to the loss, where there is one
    bint* failed              # per thread
    void** work               # per thread

cdef void decide(LoopView* v, int64_t s) noexcept nogil
cdef void blend_noise(LoopView* v, double loss) noexcept nogil
cdef double metric_noise(LoopView* v) noexcept nogil
cdef double next_blend_rate(LoopView* v) noexcept nogil
cdef bint any_failed(LoopView* v) noexcept nogil
cdef bint judge(LoopView* v, double loss) noexcept nogil
cdef void choose_rate(LoopView* v, int64_t s) noexcept nogil
