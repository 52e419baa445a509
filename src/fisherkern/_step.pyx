# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Directions from statistics: diagonal, quasi-diagonal and unitwise solves over ranges of units."""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from scipy.linalg.cython_lapack cimport dpotrf, dpotrs, dsyev, spotrf, spotrs

from ._network cimport Dag
from ._openmp cimport fk_parallel
from ._simd cimport step_leaves
from ._types cimport (
    FK_BATCHED, FK_DAMPING_ABSOLUTE, FK_DIAGONAL, FK_FULL, FK_MAX_LANES, FK_QUASI_DIAGONAL,
    FK_UNITWISE, fk_solve,
)

cdef double ROUNDING_FLOAT = 2.0 ** -24
cdef double ROUNDING_DOUBLE = 2.0 ** -53


def units_by_size(Dag dag):
    """Units in the order of their blocks' sizes, so that those whose systems share a vector are
    alike, and the number of parameters before each of them."""
    size = np.diff(dag.indptr)
    order = np.argsort(size, kind="stable").astype(np.int32)
    return order, np.concatenate([[0], np.cumsum(size[order])])


cdef int32_t unit_share(StepView* v, int thread, int n_threads) noexcept nogil:
    """First unit, or place in the units' order, of the thread's part, parts being even in
    parameters; units whose systems share a vector stay together."""
    cdef const int64_t* starts = v.dag.indptr if v.order == NULL else v.order_starts
    cdef int64_t goal = v.dag.n_parameters * thread // n_threads
    cdef int32_t low = 0, high = v.dag.n_units - v.dag.n_inputs, middle
    while low < high:
        middle = (low + high) // 2
        if starts[middle] < goal:
            low = middle + 1
        else:
            high = middle
    if v.order != NULL and thread < n_threads:
        low -= low % v.leaves.lanes
    return low


cdef struct Work:
    void* systems        # `lanes` packed triangles, interleaved
    void* rights
    int32_t* members     # (lanes + 1, work_size)
    void* matrix         # one system: a packed triangle in the dtype, or the full matrix
    void* right
    double* values       # (4 n,) eigenvalues and LAPACK's scratch
    double* dense        # (n, n) the triangle unpacked


cdef int64_t lay_out(StepView* v, char* memory, Work* work) noexcept nogil:
    """Places in the work memory of one thread, and its size."""
    cdef int64_t n = v.work_size, m = min(n, <int64_t>FK_BATCHED) + 1
    cdef int64_t lanes = v.leaves.lanes if v.reduction == FK_UNITWISE else 0
    cdef int64_t size = lanes * m * (m + 1) // 2 * 8
    work.systems = memory
    work.rights = memory + size
    size += lanes * m * 8
    work.matrix = memory + size
    size += (n * n if v.reduction == FK_FULL else n * (n + 1) // 2) * 8
    work.right = memory + size
    size += n * 8
    work.values = <double*>(memory + size)
    size += 4 * n * 8
    work.dense = <double*>(memory + size)
    if v.reduction == FK_UNITWISE:
        size += n * n * 8
    work.members = <int32_t*>(memory + size)
    return size + (lanes + 1) * n * sizeof(int32_t)


cdef int64_t work_bytes(StepView* v) noexcept nogil:
    """Work memory of one thread: the systems in the dtype, and LAPACK's in double."""
    cdef Work work
    cdef int64_t n = 0, k
    v.work_size = 0
    if v.reduction == FK_UNITWISE:
        for k in range(v.dag.n_units - v.dag.n_inputs):
            n = max(n, v.dag.indptr[k + 1] - v.dag.indptr[k])
    elif v.reduction == FK_FULL:
        n = v.dag.n_parameters
    else:
        return 64
    v.work_size = n
    return (lay_out(v, NULL, &work) + 63) // 64 * 64


cdef bint solve_units(StepView* v, int32_t first, int32_t last, void* memory) noexcept nogil:
    """Directions of the units, or the places in their order, [first, last); False where a unitwise
    solve failed."""
    cdef Work work
    cdef int32_t k = first, stop
    if v.reduction == FK_DIAGONAL:
        v.leaves.diagonal(v.dag, &v.solve, first, last, v.gradient, v.diagonal, v.root,
                          v.direction)
        return True
    if v.reduction == FK_QUASI_DIAGONAL:
        v.leaves.quasi_diagonal(v.dag, &v.solve, first, last, v.gradient, v.diagonal, v.cross,
                                v.direction, v.decrement)
        return True
    lay_out(v, <char*>memory, &work)
    if v.reduction == FK_FULL:
        return solve_full(v, &work)
    while k < last:
        stop = k
        while stop < min(last, k - k % v.leaves.lanes + v.leaves.lanes) \
                and is_batched(v, v.order[stop]):
            stop += 1
        if not (solve_batch(v, v.order + k, stop - k, &work) if stop > k
                else solve_unit(v, v.order[k], &work, True)):
            return False
        k = max(stop, k + 1)
    return True


cdef bint is_undamped(StepView* v) noexcept nogil:
    return v.solve.rule == FK_DAMPING_ABSOLUTE and v.solve.value == 0


cdef bint is_batched(StepView* v, int32_t k) noexcept nogil:
    """Whether the unit's system shares a vector with others'."""
    return not is_undamped(v) and v.dag.indptr[k + 1] - v.dag.indptr[k] <= FK_BATCHED


cdef bint solve_batch(StepView* v, const int32_t* units, int count, Work* work) noexcept nogil:
    """Cholesky of up to `lanes` units at once, padded to one even size."""
    cdef int[<int>FK_MAX_LANES] sizes
    cdef int lane, itemsize = 8 if v.is_double else 4
    cdef int size = v.leaves.unit_systems(v.dag, &v.solve, units, count, v.gradient, v.blocks,
                                          v.work_size, work.members, sizes, work.systems,
                                          work.rights)
    cdef int failed = v.leaves.cholesky(size, work.systems, work.rights)
    for lane in range(count):
        if failed >> lane & 1:
            if not solve_unit(v, units[lane], work, False):
                return False
            continue
        v.leaves.unit_direction(
            v.dag, &v.solve, units[lane], v.gradient, v.blocks,
            work.members + lane * v.work_size, sizes[lane], v.leaves.lanes,
            <char*>work.rights + lane * itemsize, v.direction)
    return True


cdef bint solve_unit(StepView* v, int32_t k, Work* work, bint try_cholesky) noexcept nogil:
    """One unit by LAPACK; undamped or not positive definite: the minimum-norm solution
    [O Remark 12]."""
    cdef int32_t* members = work.members + v.leaves.lanes * v.work_size
    cdef int size = v.leaves.unit_system(v.dag, &v.solve, k, v.gradient, v.blocks, members,
                                         work.matrix, work.right)
    if size and not (try_cholesky and not is_undamped(v) and factorize(v, size, work)):
        unpack(v.is_double, True, size, work)
        if not minimum_norm(v.is_double, size, work.dense, work.values, work.right):
            return False
    v.leaves.unit_direction(v.dag, &v.solve, k, v.gradient, v.blocks, members, size, 1,
                            work.right, v.direction)
    return True


cdef void unpack(bint from_double, bint to_double, int n, Work* work) noexcept nogil:
    """The packed triangle as the lower one of `dense`, by rows."""
    cdef int64_t i, j, e = 0
    for i in range(n):
        for j in range(i + 1):
            if to_double:
                work.dense[i * n + j] = entry(from_double, work.matrix, e)
            else:
                (<float*>work.dense)[i * n + j] = (<float*>work.matrix)[e]
            e += 1


cdef bint factorize(StepView* v, int n, Work* work) noexcept nogil:
    """Solves the packed system by Cholesky in its dtype; False where that fails."""
    cdef int info = 0, one = 1
    cdef char upper = b"U"  # by columns: the lower triangle by rows
    cdef float* dense = <float*>work.dense
    unpack(v.is_double, v.is_double, n, work)
    if v.is_double:
        dpotrf(&upper, &n, work.dense, &n, &info)
        if info == 0:
            dpotrs(&upper, &n, &one, work.dense, &n, <double*>work.right, &n, &info)
    else:
        spotrf(&upper, &n, dense, &n, &info)
        if info == 0:
            spotrs(&upper, &n, &one, dense, &n, <float*>work.right, &n, &info)
    return info == 0


cdef bint solve_full(StepView* v, Work* work) noexcept nogil:
    """The same for the whole network's matrix, in double; O(n_parameters^3)."""
    cdef double* matrix = <double*>work.matrix
    cdef double* right = <double*>work.right
    cdef int size = v.leaves.full_system(v.dag, &v.solve, v.gradient, v.full, work.members, matrix,
                                         right)
    cdef int one = 1, info = 0
    cdef char upper = b"U"
    cdef bint undamped = is_undamped(v)
    if size and not undamped:
        dpotrf(&upper, &size, matrix, &size, &info)
        if info == 0:
            dpotrs(&upper, &size, &one, matrix, &size, right, &size, &info)
    if size and (undamped or info != 0):
        v.leaves.full_system(v.dag, &v.solve, v.gradient, v.full, work.members, matrix, right)
        if not minimum_norm(True, size, matrix, work.values, right):
            return False
    v.leaves.full_direction(v.dag, work.members, size, right, v.direction)
    return True


cdef bint minimum_norm(bint is_double, int n, double* vectors, double* values,
                       void* right) noexcept nogil:
    """Eigenvalues below 4 n u lambda_max are dropped, u the rounding of the system's dtype: what
    rounds the matrix and LAPACK may move them by. The lower triangle, by rows, is overwritten,
    `values` has 4 n places. O(n^3)."""
    cdef double* scratch = values + n
    cdef int i, j, info = 0, n_scratch = 3 * n
    cdef char jobz = b"V", uplo = b"U"
    cdef double top, component
    dsyev(&jobz, &uplo, &n, vectors, &n, values, scratch, &n_scratch, &info)
    top = values[n - 1]
    if info != 0 or not top - top == 0:
        return False
    top *= 4 * n * (ROUNDING_DOUBLE if is_double else ROUNDING_FLOAT)
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
    if not solve_units(&r.step, unit_share(&r.step, thread, n_threads),
                       unit_share(&r.step, thread + 1, n_threads),
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
                            <const uint8_t*>pointer(frozen), 0.0)
    r.step.gradient, r.step.diagonal = pointer(gradient), pointer(diagonal)
    r.step.cross, r.step.blocks = pointer(cross), pointer(blocks)
    r.step.full = <const double*>pointer(full)
    r.step.direction, r.step.decrement = pointer(direction), NULL
    r.step.order, r.step.order_starts = NULL, NULL
    if reduction == FK_UNITWISE:
        order, starts = units_by_size(dag)
        r.step.order = <const int32_t*>pointer(order)
        r.step.order_starts = <const int64_t*>pointer(starts)
    r.step.work_size = 0
    r.work_bytes = work_bytes(&r.step)
    r.failed = False
    n_threads = max(1, min(n_threads, dag.view.n_units - dag.view.n_inputs))
    if reduction == FK_FULL:
        n_threads = 1
    cdef void* memory = malloc(n_threads * r.work_bytes + 64)
    r.work = <void*>((<size_t>memory + 63) // 64 * 64)
    if memory == NULL:
        raise MemoryError(f"no memory to factorize blocks of {r.step.work_size} parameters")
    with nogil:
        fk_parallel(direction_region, &r, n_threads, False)
        free(memory)
    if r.failed:
        raise FloatingPointError("the metric holds values that are not finite")
    return direction


cdef void* pointer(array):
    cdef size_t address = 0 if array is None else array.ctypes.data
    return <void*>address
