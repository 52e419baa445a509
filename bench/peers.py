"""What one would write without fisherkern: the same gradient and SGD step in scipy and NumPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy.sparse

from .layers import in_theta, is_weight, layers, levels

# gathered rows of activities per block of the sparse gradient: they stay in the L2 cache
_BLOCK_BYTES = 1 << 20


def activity(name: str, z: np.ndarray) -> np.ndarray:
    """s(z) in place, for the activations of the workloads."""
    if name == "tanh":
        return np.tanh(z, out=z)
    return np.maximum(z, 0, out=z) if name == "relu" else z


def times_slope(name: str, values: np.ndarray, a: np.ndarray) -> np.ndarray:
    """values * s'(z) in place, from the activities a = s(z)."""
    if name == "tanh":
        values *= 1 - a * a
    elif name == "relu":
        values *= a > 0
    return values


def output_values(interpretation: str, name: str, a: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """-d(loss of a sample)/dz of the outputs, (n_outputs, n_samples)."""
    if interpretation == "bernoulli":  # of tanh outputs
        return 2 * Y - 1 - a
    if interpretation == "softmax":
        p = np.exp(a - a.max(axis=0))
        return Y - p / p.sum(axis=0)
    return times_slope(name, Y - a, a)


def columns(net, X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Data with samples in columns; classes as one-hot columns."""
    Y = np.equal.outer(np.arange(net.n_outputs), Y) if Y.ndim == 1 else Y.T
    return np.ascontiguousarray(X.T, net.dtype), np.ascontiguousarray(Y, net.dtype)


def _mean_gradient(net, by_edge: np.ndarray, by_unit: np.ndarray, n_samples: int) -> np.ndarray:
    """Sums of -d loss by edge and unit to the mean loss's gradient in theta's layout."""
    out = np.empty(net.n_parameters, net.dtype)
    mask = is_weight(net)
    out[mask], out[~mask] = by_edge, by_unit
    return out / -n_samples


class SparsePeer:
    """scipy.sparse: each level of units is a CSR matrix over all units below it.

    Activities are rows of samples. The units of a level have a second CSR matrix over their
    targets, so that both passes are sparse times dense products; the gradient is taken on the
    pattern alone, by blocks of gathered rows. Weights lie in one vector that the matrices share.
    """

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.X, self.Y = columns(net, X, Y)
        self._net, n_samples = net, X.shape[0]
        level = levels(net)
        order = np.argsort(level, kind="stable")
        position = np.empty_like(order)
        position[order] = np.arange(order.size)
        self.outputs = position[net.outputs]
        source, target = position[net.edges].T
        self._edge_order = np.lexsort((source, target))
        source, target = source[self._edge_order], target[self._edge_order]
        by_source = np.lexsort((target, source))
        self.weights = net.weights[self._edge_order]
        self._bias_order = order[net.n_inputs:] - net.n_inputs
        self.biases = net.biases[self._bias_order]
        self.a = np.zeros((net.n_units, n_samples), net.dtype)
        self.a[:net.n_inputs] = self.X
        self.delta = np.zeros_like(self.a)
        self.gradient_w = np.empty_like(self.weights)
        rows = max(_BLOCK_BYTES // (n_samples * self.a.itemsize), int(np.diff(net.indptr).max()))
        self.scratch = np.empty((rows, n_samples), net.dtype)
        names = np.array(["input"] * net.n_inputs + list(net.activations))[order]
        bounds = np.searchsorted(level[order], np.arange(1, level.max() + 2))
        self.n_inputs = net.n_inputs
        self.levels = [_Level(self, first, last, names, source, target, by_source)
                       for first, last in pairwise(bounds)]

    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        self._pass()
        by_edge, by_unit = np.empty_like(self.gradient_w), np.empty_like(self.gradient_b)
        by_edge[self._edge_order] = self.gradient_w
        by_unit[self._bias_order] = self.gradient_b
        return _mean_gradient(self._net, by_edge, by_unit, self.X.shape[1])

    def forward(self) -> np.ndarray:
        """(n_outputs, n_samples) output activities."""
        for level in self.levels:
            level.forward(self)
        return self.a[self.outputs]

    def run(self, n_steps: int) -> None:
        """Steps of gradient descent."""
        rate = self.learning_rate / self.X.shape[1]
        for _ in range(n_steps):
            self._pass()
            self.weights += rate * self.gradient_w
            self.biases += rate * self.gradient_b

    def _pass(self) -> None:
        name = self.levels[-1].runs[-1][2]
        direct = output_values(self._net.interpretation, name, self.forward(), self.Y)
        for level in reversed(self.levels):
            level.backward(self)
            if level.has_outputs:
                self.delta[self.outputs[level.outputs]] += direct[level.outputs]
            level.gradient(self)
        self.gradient_b = self.delta[self.n_inputs:].sum(axis=1)


def _csr(columns: np.ndarray, starts: np.ndarray, shape: tuple) -> scipy.sparse.csr_array:
    """A pattern with narrow indices, its values to be set."""
    indices, indptr = columns.astype(np.int32), (starts - starts[0]).astype(np.int32)
    return scipy.sparse.csr_array((np.zeros(indices.size), indices, indptr), shape=shape)


class _Level:
    """The units of one level: positions [first, last)."""

    def __init__(self, peer: SparsePeer, first: int, last: int, names: np.ndarray,
                 source: np.ndarray, target: np.ndarray, by_source: np.ndarray) -> None:
        n_units = peer.a.shape[0]
        self.first, self.last = first, last
        starts = np.flatnonzero(np.r_[True, names[first + 1:last] != names[first:last - 1]])
        self.runs = [(first + i, first + j, names[first + i])
                     for i, j in zip(starts, [*starts[1:], last - first], strict=True)]
        self.outputs = (peer.outputs >= first) & (peer.outputs < last)
        self.has_outputs = bool(self.outputs.any())
        into = np.searchsorted(target, np.arange(first, last + 1))
        self.edges = slice(into[0], into[-1])
        self.columns = source[self.edges]
        self.incoming = _csr(self.columns, into, (last - first, first))
        self.incoming.data = peer.weights[self.edges]  # a view: the constructor may copy
        out = np.searchsorted(source[by_source], np.arange(first, last + 1))
        self.out_edges = by_source[out[0]:out[-1]]
        self.outgoing = _csr(target[self.out_edges] - last, out, (last - first, n_units - last))
        self.outgoing.data = peer.weights[self.out_edges]
        fan_in = np.diff(into)
        self.fan_in = int(fan_in[0]) if (fan_in == fan_in[0]).all() else None
        self.rows = np.repeat(np.arange(first, last), fan_in)
        self.block = max(1, peer.scratch.shape[0] // (self.fan_in or 1))

    def forward(self, peer: SparsePeer) -> None:
        z = self.incoming @ peer.a[:self.first]
        z += peer.biases[self.first - peer.n_inputs:self.last - peer.n_inputs, None]
        for first, last, name in self.runs:
            peer.a[first:last] = activity(name, z[first - self.first:last - self.first])

    def backward(self, peer: SparsePeer) -> None:
        delta = peer.delta[self.first:self.last]
        if not self.out_edges.size:
            delta[:] = 0
            return
        np.take(peer.weights, self.out_edges, out=self.outgoing.data, mode="clip")
        delta[:] = self.outgoing @ peer.delta[self.last:]
        for first, last, name in self.runs:
            times_slope(name, peer.delta[first:last], peer.a[first:last])

    def gradient(self, peer: SparsePeer) -> None:
        """sum_t a_i b~_k for each edge: matrix times vector where a level's fan-in is one."""
        g, d, width = peer.gradient_w[self.edges], self.fan_in, peer.a.shape[1]
        step = self.block * (d or 1)
        for start in range(0, g.size, step):
            part = slice(start, min(start + step, g.size))
            x = peer.scratch[:part.stop - start]
            np.take(peer.a, self.columns[part], axis=0, out=x, mode="clip")  # clip: unbuffered
            if d is None:
                np.vecdot(peer.delta[self.rows[part]], x, out=g[part])
                continue
            delta = peer.delta[self.first + start // d:self.first + part.stop // d]
            np.matmul(x.reshape(-1, d, width), delta[:, :, None], out=g[part].reshape(-1, d, 1))


class DensePeer:
    """NumPy: dense layers whose absent links are masked. For small layered networks."""

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.X, self.Y = columns(net, X, Y)
        self._net, self._layers = net, layers(net)
        self.names = [layer.activation for layer in self._layers]
        self.weights = [layer.W for layer in self._layers]
        self.biases = [layer.b[:, None] for layer in self._layers]
        # of the weights: none where no link is, parallel links each take the step
        self._rates = [learning_rate / X.shape[0] * layer.links for layer in self._layers]

    def forward(self) -> list[np.ndarray]:
        """Activities of each layer, (n_units, n_samples), the inputs first."""
        a = [self.X]
        for W, b, name in zip(self.weights, self.biases, self.names, strict=True):
            a.append(activity(name, W @ a[-1] + b))
        return a

    def _pass(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        a = self.forward()
        delta = output_values(self._net.interpretation, self.names[-1], a[-1], self.Y)
        w, b = [], []
        for layer in reversed(range(len(self.weights))):
            w.append(delta @ a[layer].T)
            b.append(delta.sum(axis=1, keepdims=True))
            if layer:
                delta = times_slope(self.names[layer - 1], self.weights[layer].T @ delta, a[layer])
        return w[::-1], b[::-1]

    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        w, b = self._pass()
        return in_theta(self._net, self._layers, w, b) / -self.X.shape[1]

    def run(self, n_steps: int) -> None:
        """Steps of gradient descent."""
        rate = self.learning_rate / self.X.shape[1]
        for _ in range(n_steps):
            w, b = self._pass()
            for layer, rates in enumerate(self._rates):
                w[layer] *= rates
                self.weights[layer] += w[layer]
                self.biases[layer] += rate * b[layer]
