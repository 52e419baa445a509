# cython: language_level=3
"""The only file that names OpenMP. Without it every region runs on one thread.

A region is a function of (context, thread, n_threads), so that kernels can hold one region open
over many steps and meet at barriers. With `flush`, results below the smallest normal number are
zero inside: arithmetic on them would be up to a hundred times slower, and training that meets them
once meets them at every step. Single passes keep them, for the digits of saturated units.
"""

cdef extern from *:
    """
    #if defined(__SSE2__)
    #include <xmmintrin.h>
    typedef unsigned int fk_float_mode;
    static fk_float_mode fk_flush_denormals(void)
    {
        const fk_float_mode before = _mm_getcsr();
        _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
        return before;
    }
    static void fk_restore(fk_float_mode before) { _mm_setcsr(before); }
    #elif defined(__aarch64__)
    typedef unsigned long long fk_float_mode;
    static fk_float_mode fk_flush_denormals(void)
    {
        fk_float_mode before;
        __asm__ volatile("mrs %0, fpcr" : "=r"(before));
        __asm__ volatile("msr fpcr, %0" : : "r"(before | (1ULL << 24)));
        return before;
    }
    static void fk_restore(fk_float_mode before)
    {
        __asm__ volatile("msr fpcr, %0" : : "r"(before));
    }
    #else
    typedef int fk_float_mode;
    static fk_float_mode fk_flush_denormals(void) { return 0; }
    static void fk_restore(fk_float_mode before) { (void)before; }
    #endif

    typedef void (*fk_body)(void *, int, int);
    static void fk_run(fk_body body, void *context, int thread, int n_threads, int flush)
    {
        const fk_float_mode before = flush ? fk_flush_denormals() : 0;
        body(context, thread, n_threads);
        if (flush) fk_restore(before);
    }

    #ifdef _OPENMP
    #include <omp.h>
    #ifndef _WIN32
    #include <pthread.h>
    #endif
    /* A forked child inherits no thread of its parent's pool and would wait for them for ever. */
    static int fk_forked = 0;
    #ifndef _WIN32
    static void fk_note_fork(void) { fk_forked = 1; }
    __attribute__((constructor)) static void fk_watch_forks(void)
    {
        pthread_atfork(NULL, NULL, fk_note_fork);
    }
    #endif
    static void fk_parallel(fk_body body, void *context, int n_threads, int flush)
    {
        if (n_threads <= 1 || fk_forked) {
            fk_run(body, context, 0, 1, flush);
            return;
        }
        #pragma omp parallel num_threads(n_threads)
        fk_run(body, context, omp_get_thread_num(), omp_get_num_threads(), flush);
    }
    static void fk_barrier(int n_threads)
    {
        if (n_threads > 1) {
            #pragma omp barrier
        }
    }
    #define FK_OPENMP 1
    #else
    static void fk_parallel(fk_body body, void *context, int n_threads, int flush)
    {
        (void)n_threads;
        fk_run(body, context, 0, 1, flush);
    }
    static void fk_barrier(int n_threads) { (void)n_threads; }
    #define FK_OPENMP 0
    #endif
    """
    ctypedef void (*region)(void* context, int thread, int n_threads) noexcept nogil
    void fk_parallel(region body, void* context, int n_threads, bint flush) nogil
    void fk_barrier(int n_threads) nogil
    const bint FK_OPENMP
