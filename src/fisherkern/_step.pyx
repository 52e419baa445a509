# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Directions from statistics: diagonal, quasi-diagonal and unitwise solves over ranges of units."""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from scipy.linalg.cython_lapack cimport dpotrf, dpotrs, dsyev

from ._network cimport Dag
from ._openmp cimport fk_parallel
from ._simd cimport step_leaves
from ._types cimport (
    FK_DAMPING_ABSOLUTE, FK_DIAGONAL, FK_FULL, FK_QUASI_DIAGONAL, FK_UNITWISE, fk_dag, fk_solve,
)

cdef double ROUNDING_FLOAT = 2.0 ** -24
cdef double ROUNDING_DOUBLE = 2.0 ** -53


cdef int32_t unit_share(const fk_dag* dag, int thread, int n_threads) noexcept nogil:
    """First unit of the thread's part, parts being even in parameters."""
    cdef int64_t goal = dag.n_parameters * thread // n_threads
    cdef int32_t low = 0, high = dag.n_units - dag.n_inputs, middle
    while low < high:
        middle = (low + high) // 2
        if dag.indptr[middle] < goal:
            low = middle + 1
        else:
            high = middle
    return low


cdef int64_t work_bytes(StepView* v) noexcept nogil:
    """Work memory of one thread: the dtype's system, and LAPACK's in double."""
    cdef int64_t n = v.work_size, k
    v.work_size = 0
    if v.reduction == FK_FULL:
        n = v.dag.n_parameters
    for k in range(v.dag.n_units - v.dag.n_inputs):
        n = max(n, v.dag.indptr[k + 1] - v.dag.indptr[k])
    v.work_size = n
    if v.reduction != FK_UNITWISE and v.reduction != FK_FULL:
        return 64
    return 8 * (2 * n * n + 8 * n) + 128


cdef bint solve_units(StepView* v, int32_t first, int32_t last, void* work) noexcept nogil:
    """Directions of the units [first, last); False where a unitwise solve failed."""
    cdef int32_t k
    if v.reduction == FK_DIAGONAL:
        v.leaves.diagonal(v.dag, &v.solve, first, last, v.gradient, v.diagonal, v.root,
                          v.direction)
    elif v.reduction == FK_QUASI_DIAGONAL:
        v.leaves.quasi_diagonal(v.dag, &v.solve, first, last, v.gradient, v.diagonal, v.cross,
                                v.direction)
    elif v.reduction == FK_FULL:
        return solve_full(v, work)
    else:
        for k in range(first, last):
            if not solve_unit(v, k, work):
                return False
    return True


cdef bint solve_unit(StepView* v, int32_t k, void* work) noexcept nogil:
    """Cholesky; undamped or not positive definite: the minimum-norm solution [O Remark 12]."""
    cdef int64_t n = v.work_size
    cdef double* lapack = <double*>work
    cdef double* matrix = lapack + n * n + 4 * n
    cdef double* right = matrix + n * n
    cdef int32_t* members = <int32_t*>(right + n)
    cdef int size = v.leaves.unit_system(v.dag, &v.solve, k, v.gradient, v.blocks, members,
                                         matrix, right)
    cdef bint undamped = v.solve.rule == FK_DAMPING_ABSOLUTE and v.solve.value == 0
    if size and (undamped or not v.leaves.cholesky(size, matrix, right)):
        v.leaves.unit_system(v.dag, &v.solve, k, v.gradient, v.blocks, members, matrix, right)
        if not minimum_norm(v.is_double, size, matrix, right, lapack):
            return False
    v.leaves.unit_direction(v.dag, &v.solve, k, v.gradient, v.blocks, members, size, right,
                            v.direction)
    return True


cdef bint solve_full(StepView* v, void* work) noexcept nogil:
    """The same for the whole network's matrix, in double and by LAPACK; O(n_parameters^3)."""
    cdef int64_t n = v.work_size
    cdef double* lapack = <double*>work
    cdef double* matrix = lapack + n * n + 4 * n
    cdef double* right = matrix + n * n
    cdef int32_t* members = <int32_t*>(right + n)
    cdef int size = v.leaves.full_system(v.dag, &v.solve, v.gradient, v.full, members, matrix,
                                         right)
    cdef int one = 1, info = 0
    cdef char upper = b"U"  # by columns: the lower triangle by rows
    cdef bint undamped = v.solve.rule == FK_DAMPING_ABSOLUTE and v.solve.value == 0
    if size and not undamped:
        dpotrf(&upper, &size, matrix, &size, &info)
        if info == 0:
            dpotrs(&upper, &size, &one, matrix, &size, right, &size, &info)
    if size and (undamped or info != 0):
        v.leaves.full_system(v.dag, &v.solve, v.gradient, v.full, members, matrix, right)
        if not minimum_norm(True, size, matrix, right, lapack):
            return False
    v.leaves.full_direction(v.dag, members, size, right, v.direction)
    return True


cdef bint minimum_norm(bint is_double, int n, void* matrix, void* right,
                       double* work) noexcept nogil:
    """Eigenvalues below n u lambda_max are dropped; O(n^3)."""
    cdef double* vectors = work
    cdef double* values = work + <int64_t>n * n
    cdef double* scratch = values + n
    cdef int i, j, info = 0, n_scratch = 3 * n
    cdef char jobz = b"V", uplo = b"U"
    cdef double top, component
    for i in range(n):
        for j in range(i + 1):
            vectors[<int64_t>i * n + j] = entry(is_double, matrix, <int64_t>i * n + j)
    dsyev(&jobz, &uplo, &n, vectors, &n, values, scratch, &n_scratch, &info)
    top = values[n - 1]
    if info != 0 or not top - top == 0:
        return False
    top *= n * (ROUNDING_DOUBLE if is_double else ROUNDING_FLOAT)
    for j in range(n):
        scratch[j] = 0
    for i in range(n):
        if values[i] <= top or values[i] <= 0:
            continue
        component = 0
        for j in range(n):
            component += vectors[<int64_t>i * n + j] * entry(is_double, right, j)
        component /= values[i]
        for j in range(n):
            scratch[j] += component * vectors[<int64_t>i * n + j]
    for j in range(n):
        if is_double:
            (<double*>right)[j] = scratch[j]
        else:
            (<float*>right)[j] = <float>scratch[j]
    return True


cdef inline double entry(bint is_double, void* array, int64_t i) noexcept nogil:
    return (<double*>array)[i] if is_double else (<float*>array)[i]


cdef struct Region:
    StepView step
    void* work
    int64_t work_bytes
    bint failed


cdef void direction_region(void* context, int thread, int n_threads) noexcept nogil:
    cdef Region* r = <Region*>context
    if not solve_units(&r.step, unit_share(r.step.dag, thread, n_threads),
                       unit_share(r.step.dag, thread + 1, n_threads),
                       <char*>r.work + thread * r.work_bytes):
        r.failed = True


def solve(Dag dag, int reduction, gradient, *, diagonal=None, cross=None, blocks=None, full=None,
          double damping=0.0, frozen=None, shift=None, int n_threads=1):
    """(A + damping)^-1 gradient, as [O] Remark 12 and docs/methods.md (Damping).

    Parameters
    ----------
    gradient, diagonal, cross : (n_parameters,) arrays of one dtype
        In theta's order; `cross` and `diagonal` about `shift`, and so must the gradient be.
    blocks : packed lower triangles
    full : (n_parameters, n_parameters) upper triangle
    frozen : (n_parameters,) uint8 or None
    shift : (n_units,) by position, or None
    """
    cdef Region r
    cdef size_t address
    direction = np.empty_like(gradient)
    r.step.dag = &dag.view
    r.step.is_double = gradient.dtype == np.float64
    r.step.leaves = step_leaves(r.step.is_double)
    r.step.reduction, r.step.root = reduction, False
    r.step.solve = fk_solve(FK_DAMPING_ABSOLUTE, damping, pointer(shift), NULL, NULL,
                            <const uint8_t*>pointer(frozen))
    r.step.gradient, r.step.diagonal = pointer(gradient), pointer(diagonal)
    r.step.cross, r.step.blocks = pointer(cross), pointer(blocks)
    r.step.full = <const double*>pointer(full)
    r.step.direction = pointer(direction)
    r.step.work_size = 0
    r.work_bytes = work_bytes(&r.step)
    r.failed = False
    n_threads = max(1, min(n_threads, dag.view.n_units - dag.view.n_inputs))
    if reduction == FK_FULL:
        n_threads = 1
    r.work = malloc(n_threads * r.work_bytes)
    if r.work == NULL:
        raise MemoryError(f"no memory to factorize blocks of {r.step.work_size} parameters")
    with nogil:
        fk_parallel(direction_region, &r, n_threads)
        free(r.work)
    if r.failed:
        raise FloatingPointError("the metric holds values that are not finite")
    return direction


cdef void* pointer(array):
    cdef size_t address = 0 if array is None else array.ctypes.data
    return <void*>address
