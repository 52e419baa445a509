# cython: language_level=3
"""The only file that names OpenMP. Without it every region runs on one thread.

A region is a function of (context, thread, n_threads), so that kernels can hold one region open
over many steps and meet at barriers.
"""

cdef extern from *:
    """
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
    static void fk_parallel(void (*body)(void *, int, int), void *context, int n_threads)
    {
        if (n_threads <= 1 || fk_forked) {
            body(context, 0, 1);
            return;
        }
        #pragma omp parallel num_threads(n_threads)
        body(context, omp_get_thread_num(), omp_get_num_threads());
    }
    static void fk_barrier(int n_threads)
    {
        if (n_threads > 1) {
            #pragma omp barrier
        }
    }
    #define FK_OPENMP 1
    #else
    static void fk_parallel(void (*body)(void *, int, int), void *context, int n_threads)
    {
        (void)n_threads;
        body(context, 0, 1);
    }
    static void fk_barrier(int n_threads) { (void)n_threads; }
    #define FK_OPENMP 0
    #endif
    """
    ctypedef void (*region)(void* context, int thread, int n_threads) noexcept nogil
    void fk_parallel(region body, void* context, int n_threads) nogil
    void fk_barrier(int n_threads) nogil
    const bint FK_OPENMP
