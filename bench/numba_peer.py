"""What one would write by hand in Numba: the same gradient and SGD step of any graph, compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from numba import njit, prange

from .layers import is_weight
from .numba_rows import makers, store, total, where_positive
from .peers import columns

# the pool of threads that fisherkern and PyTorch use as well: no other one spins beside them
numba.config.THREADING_LAYER = "omp"

# without error_model a division might raise, and no loop around it is vectorised
_jit = njit(fastmath=True, error_model="numpy")
_IDENTITY, _RELU, _TANH = range(3)
_KINDS = {"identity": _IDENTITY, "relu": _RELU, "tanh": _TANH}
# samples of a row at most; with AVX2 rows of 16, 32 and 128 floats were slower
_WIDEST = 64


class NumbaPeer:
    """Tiles of samples, in each a row for every unit; whole steps in one compiled call.

    A thread takes whole tiles: forward it sums rows over a unit's incoming edges, backward over
    its outgoing ones, where the row of a target gives the edge's gradient too. Weights are kept
    in both orders. Edges must go to higher numbers, as those of the workloads do.
    """

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        self._n_threads, self._n_samples = n_threads, X.shape[0]
        tile = math.gcd(_WIDEST, self._n_samples)
        while tile > 1 and tile * n_threads > self._n_samples:
            tile //= 2
        X, Y = columns(net, X, Y)
        sources, targets = net.edges.T
        by_source = np.lexsort((targets, sources))
        weights = is_weight(net)
        incoming = np.zeros(net.n_parameters, np.uint32)  # of a bias: not used
        incoming[weights] = sources
        activities = _aligned((X.shape[1] // tile, net.n_units * tile), net.dtype)
        activities[:, :X.shape[0] * tile] = _tiles(X, tile)
        values = _aligned((n_threads, net.n_units * tile), net.dtype)
        self._by_edge = np.zeros((n_threads, sources.size), net.dtype)
        self._by_unit = np.zeros((n_threads, net.n_units - net.n_inputs), net.dtype)
        self._places, self._biases = np.flatnonzero(weights)[by_source], net.indptr[:-1]
        is_output = np.zeros(net.n_units, bool)
        is_output[net.outputs] = True
        self._rate = net.dtype.type(learning_rate / self._n_samples)
        self._data = (
            net.theta.copy(), net.theta[self._places], self._by_edge, self._by_unit,
            self._places.astype(np.uint32), activities, values, _tiles(Y, tile),
            net.indptr.astype(np.int64), incoming,
            np.searchsorted(sources[by_source], np.arange(net.n_units + 1)),
            targets[by_source].astype(np.uint32),
            np.array([_KINDS[name] for name in net.activations], np.int8),
            np.asarray(net.outputs, np.int64), is_output)
        self._steps = _steps(net.dtype, tile, net.interpretation, n_threads)

    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        self._run(1, self._rate * 0)
        out = np.empty(self._places.size + self._biases.size, self._by_edge.dtype)
        out[self._places] = self._by_edge.sum(axis=0)
        out[self._biases] = self._by_unit.sum(axis=0)
        return out / -self._n_samples

    def run(self, n_steps: int) -> None:
        """Steps of gradient descent."""
        self._run(n_steps, self._rate)

    def _run(self, n_steps: int, rate: np.floating) -> None:
        numba.set_num_threads(self._n_threads)
        self._steps(n_steps, rate, *self._data)


def _aligned(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Zeros whose rows do not straddle cache lines."""
    n_bytes = math.prod(shape) * dtype.itemsize
    memory = np.zeros(n_bytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start:start + n_bytes].view(dtype).reshape(shape)


def _tiles(by_unit: np.ndarray, tile: int) -> np.ndarray:
    """(n_units, n_samples) to (n_tiles, n_units * tile)."""
    n_units, n_samples = by_unit.shape
    split = by_unit.reshape(n_units, n_samples // tile, tile).swapaxes(0, 1)
    return np.ascontiguousarray(split).reshape(n_samples // tile, -1)


@cache
def _steps(dtype: np.dtype, tile: int, interpretation: str, n_threads: int) -> Callable:
    """Steps of gradient descent, compiled for what is constant in their loops."""
    forward, backward = _forward(dtype, tile), _backward(dtype, tile)
    output = _output(dtype, tile, interpretation)

    @njit(fastmath=True, error_model="numpy", parallel=n_threads > 1)
    def steps(n_steps, rate, theta, weights, by_edge, by_unit, places, activities, values, targets,
              indptr, incoming, out_indptr, outgoing, kinds, outputs, is_output):
        for _ in range(n_steps):
            for thread in prange(n_threads):
                d = values[thread]
                for t in range(thread, activities.shape[0], n_threads):
                    a = activities[t]
                    forward(theta, a, indptr, incoming, kinds)
                    output(a, d, targets[t], outputs, kinds)
                    backward(weights, by_edge[thread], by_unit[thread], a, d, out_indptr, outgoing,
                             kinds, is_output, t == thread)
            for thread in prange(n_threads):
                first = thread * weights.size // n_threads
                for e in range(first, (thread + 1) * weights.size // n_threads):
                    s = by_edge[0, e]
                    for other in range(1, n_threads):
                        s += by_edge[other, e]
                    weights[e] += rate * s
                    theta[places[e]] = weights[e]
            for k in range(kinds.size):
                for thread in range(n_threads):
                    theta[indptr[k]] += rate * by_unit[thread, k]

    return steps


def _forward(dtype: np.dtype, tile: int) -> Callable:
    load, splat = makers(tile)
    tanh, zero = _tanh(dtype, tile), dtype.type(0)

    @_jit
    def forward(theta, a, indptr, incoming, kinds):
        n_inputs = a.size // tile - kinds.size
        for k in range(kinds.size):
            s = splat(theta[indptr[k]])
            for e in range(indptr[k] + 1, indptr[k + 1]):
                s = s + splat(theta[e]) * load(a, np.intp(incoming[e]) * tile)
            if kinds[k] == _RELU:
                s = where_positive(s, s, splat(zero))
            store(a, (n_inputs + k) * tile, s)
            if kinds[k] == _TANH:
                tanh(a, np.uint32((n_inputs + k) * tile))

    return forward


def _backward(dtype: np.dtype, tile: int) -> Callable:
    load, splat = makers(tile)
    zero, one = dtype.type(0), dtype.type(1)

    @_jit
    def backward(weights, g, g_bias, a, d, indptr, outgoing, kinds, is_output, is_first):
        n_inputs = a.size // tile - kinds.size
        for k in range(n_inputs + kinds.size - 1, n_inputs - 1, -1):
            own, s = load(a, k * tile), splat(zero)
            for e in range(indptr[k], indptr[k + 1]):
                row = load(d, np.intp(outgoing[e]) * tile)
                s = s + splat(weights[e]) * row
                value = total(row * own)
                g[e] = value if is_first else g[e] + value
            if kinds[k - n_inputs] == _TANH:
                s = s * (splat(one) - own * own)
            elif kinds[k - n_inputs] == _RELU:
                s = where_positive(own, s, splat(zero))
            if is_output[k]:
                s = s + load(d, k * tile)
            store(d, k * tile, s)
            value = total(s)
            g_bias[k - n_inputs] = value if is_first else g_bias[k - n_inputs] + value
        for k in range(n_inputs):
            own = load(a, k * tile)
            for e in range(indptr[k], indptr[k + 1]):
                value = total(load(d, np.intp(outgoing[e]) * tile) * own)
                g[e] = value if is_first else g[e] + value

    return backward


def _output(dtype: np.dtype, tile: int, interpretation: str) -> Callable:
    """Values of `peers.output_values` into the rows of the outputs."""
    load, splat = makers(tile)
    exp, one, limit = _exp(dtype), dtype.type(1), dtype.type(80)

    @_jit
    def softmax(a, d, y, outputs, kinds):
        for t in range(tile):
            highest, s = a[outputs[0] * tile + t], dtype.type(0)
            for k in outputs:
                highest = max(highest, a[k * tile + t])
            for k in outputs:
                d[k * tile + t] = exp(max(a[k * tile + t] - highest, -limit))
                s += d[k * tile + t]
            for i, k in enumerate(outputs):
                d[k * tile + t] = y[i * tile + t] - d[k * tile + t] / s

    @_jit
    def bernoulli(a, d, y, outputs, kinds):
        for i, k in enumerate(outputs):
            row = load(y, i * tile)
            store(d, k * tile, row + row - splat(one) - load(a, k * tile))

    @_jit
    def square(a, d, y, outputs, kinds):
        n_inputs = a.size // tile - kinds.size
        for i, k in enumerate(outputs):
            own = load(a, k * tile)
            s = load(y, i * tile) - own
            store(d, k * tile, s * (splat(one) - own * own) if kinds[k - n_inputs] == _TANH else s)

    return {"softmax": softmax, "bernoulli": bernoulli, "square": square}[interpretation]


def _tanh(dtype: np.dtype, tile: int) -> Callable:
    exp, one, two, limit = _exp(dtype), dtype.type(1), dtype.type(2), dtype.type(20)

    @_jit
    def tanh(a, start):
        """In place, of one row; `start` is unsigned, or each index might count from the end."""
        for t in range(tile):
            x = min(max(a[start + t], -limit), limit)
            a[start + t] = one - two / (exp(x + x) + one)

    return tanh


def _exp(dtype: np.dtype) -> Callable:
    """2^n times a polynomial, which a loop over samples vectorises, as it cannot a library's."""
    number = dtype.type
    integer, bits, offset = (np.int32, 23, 127) if dtype == np.float32 else (np.int64, 52, 1023)
    bits, offset = integer(bits), integer(offset)
    log2, inverse, half = number(math.log(2)), number(1 / math.log(2)), number(0.5)
    c = tuple(number(1 / math.factorial(i)) for i in range(13))

    @_jit
    def low(r):
        return c[0] + r * (c[1] + r * (c[2] + r * (c[3] + r * (c[4] + r * (c[5] + r * (
            c[6] + r * c[7]))))))

    @_jit
    def high(r):
        return c[8] + r * (c[9] + r * (c[10] + r * (c[11] + r * c[12])))

    is_double = dtype == np.float64

    @_jit
    def exp(x):
        n = np.floor(x * inverse + half)
        r = x - n * log2
        p = low(r)
        if is_double:
            square = r * r
            p += square * square * square * square * high(r)
        return p * integer((integer(np.int32(n)) + offset) << bits).view(number)

    return exp
