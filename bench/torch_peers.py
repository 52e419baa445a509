"""The same gradient and SGD step in PyTorch, in the forms that are fast for sparse networks."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from .layers import is_weight, levels
from .peers import columns, output_values

_MINUS_ONE = torch.tensor(-1.0)


def _compact(indices: np.ndarray) -> np.ndarray | slice:
    """A slice where the indices are consecutive."""
    first = int(indices[0]) if indices.size else 0
    consecutive = np.array_equal(indices, np.arange(first, first + indices.size))
    return slice(first, first + indices.size) if consecutive else indices


class Links(NamedTuple):
    """For each unit of a level a sum over rows: weights[e] rows[units[e]]."""

    starts: torch.Tensor
    units: torch.Tensor
    weights: torch.Tensor
    rows: torch.Tensor

    def matrix(self) -> torch.Tensor:
        """As CSR that shares the weights."""
        return _csr(self.starts, self.units, self.weights,
                    (self.starts.numel() - 1, self.rows.shape[0]))


def _csr(starts, units, weights, shape: tuple[int, int]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, units, weights, shape, check_invariants=False)


class TorchSparsePeer:
    """CSR matrices, one for each level of units and direction; no automatic differentiation.

    Activities are rows of samples, the first row ones, so that biases are weights like others.
    Each level is one product forward and one backward; the gradient of all edges is one product
    sampled on the pattern. NumPy takes only the few values at the outputs.
    """

    index = np.int64

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        X, self._Y = columns(net, X, Y)
        self._net, self._n_threads = net, n_threads
        self._rate = learning_rate
        level = levels(net)
        order = np.argsort(level, kind="stable")
        row = np.empty_like(order)
        row[order] = np.arange(1, order.size + 1)
        self._a = torch.zeros((net.n_units + 1, X.shape[1]), dtype=torch.from_numpy(X).dtype)
        self._delta = torch.zeros_like(self._a)
        self._a[0] = 1
        self._a[1:net.n_inputs + 1] = torch.from_numpy(X)
        units = np.zeros(net.n_parameters, np.int64)  # of a bias: the row of ones
        units[is_weight(net)] = row[net.edges[:, 0]]
        blocks = [np.arange(*net.indptr[k:k + 2]) for k in order[net.n_inputs:] - net.n_inputs]
        self._places = np.concatenate(blocks)
        starts = np.cumsum([0] * (net.n_inputs + 2) + [block.size for block in blocks])
        self._link(net.theta[self._places], units[self._places], starts)
        self.outputs = row[net.outputs]
        self._outputs, self._activities = _compact(self.outputs), self._a.numpy()
        bounds = np.searchsorted(level[order], np.arange(1, level.max() + 2)) + 1
        names = np.array(["input"] * net.n_inputs + list(net.activations))[order]
        self._levels = [_Level(self, first, last, set(names[first - 1:last - 1].tolist()))
                        for first, last in pairwise(bounds)]

    def prepared(self, X: np.ndarray, Y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples as `take` has them, in rows; classes as one-hot rows."""
        return tuple(torch.from_numpy(np.ascontiguousarray(values.T))
                     for values in columns(self._net, X, Y))

    def take(self, X: torch.Tensor, Y: torch.Tensor) -> None:
        """The next steps' batch, of as many samples as the first."""
        self._a[1:self._net.n_inputs + 1].copy_(X.T)
        self._Y = Y.T.numpy()

    def theta(self) -> np.ndarray:
        """The parameters as they are now, in the layout of the network's theta."""
        out = np.empty(self._places.size, self._Y.dtype)
        out[self._places] = self._weights.numpy()
        return out

    def _link(self, weights: np.ndarray, units: np.ndarray, starts: np.ndarray) -> None:
        """Weights in the order of their targets' rows and in that of their sources'."""
        targets = np.repeat(np.arange(starts.size - 1), np.diff(starts))
        by_source = np.argsort(units, kind="stable")
        out_starts = np.searchsorted(units[by_source], np.arange(starts.size))
        self._weights = torch.tensor(weights)
        self._by_source = torch.from_numpy(by_source)
        self._out_weights = self._weights[self._by_source]
        self._into, self._out = (
            tuple(torch.from_numpy(values.astype(self.index)) for values in pair)
            for pair in ((starts, units), (out_starts, targets[by_source])))
        first = self._net.n_inputs + 1
        self._gradient = _csr(self._into[0][first:].clone(), self._into[1],
                              torch.zeros_like(self._weights),
                              (starts.size - 1 - first, starts.size - 1))

    def incoming(self, first: int, last: int) -> Links:
        """Of the units in rows [first, last)."""
        starts, units = self._into
        edges = slice(starts[first], starts[last])
        return Links(starts[first:last + 1] - starts[first], units[edges], self._weights[edges],
                     self._a[:first])

    def outgoing(self, first: int, last: int) -> Links:
        """The same; rows are those of higher levels."""
        starts, units = self._out
        edges = slice(starts[first], starts[last])
        return Links(starts[first:last + 1] - starts[first], units[edges] - last,
                     self._out_weights[edges], self._delta[last:])

    @staticmethod
    def prepare(links: Links) -> tuple:
        """What `sums` takes."""
        return links.matrix(), links.rows

    @staticmethod
    def sums(prepared: tuple, out: torch.Tensor) -> torch.Tensor:
        """Sums of rows by unit, in `out` or elsewhere."""
        return torch.addmm(out, *prepared, beta=0, out=out)

    @torch.inference_mode()
    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        torch.set_num_threads(self._n_threads)
        self._pass()
        out = np.empty(self._places.size, self._Y.dtype)
        out[self._places] = self._gradient.values().numpy()
        return out

    @torch.inference_mode()
    def run(self, n_steps: int) -> None:
        """Steps of gradient descent."""
        torch.set_num_threads(self._n_threads)
        for _ in range(n_steps):
            self._pass()
            self._weights.sub_(self._gradient.values(), alpha=self._rate)

    def parameter(self) -> torch.nn.Parameter:
        """All parameters, for an optimizer; its `grad` is what `update_gradient` leaves."""
        parameter = torch.nn.Parameter(self._weights)
        parameter.grad = self._gradient.values()
        return parameter

    @torch.inference_mode()
    def update_gradient(self) -> None:
        """Of the mean loss at the parameters as they are."""
        self._pass()

    def _pass(self) -> None:
        for level in self._levels:
            level.forward()
        a = self._activities[self._outputs]
        direct = output_values(self._net.interpretation, self._levels[-1].name, a, self._Y)
        direct /= -self._Y.shape[1]  # to the gradient of the mean loss
        torch.index_select(self._weights, 0, self._by_source, out=self._out_weights)
        for level in reversed(self._levels):
            level.backward(direct)
        torch.sparse.sampled_addmm(self._gradient, self._delta[self._net.n_inputs + 1:],
                                   self._a.T, beta=0, out=self._gradient)


class ShortIndexPeer(TorchSparsePeer):
    """Indices of 32 bits, which MKL takes as they are: faster where products are many and small."""

    index = np.int32


class EmbeddingBagPeer(TorchSparsePeer):
    """Sums of rows by `embedding_bag` with a weight per row instead of products with CSR."""

    @staticmethod
    def prepare(links: Links) -> tuple:
        return links.rows, links.units, links.starts, False, 0, False, links.weights, True

    @staticmethod
    def sums(prepared: tuple, out: torch.Tensor) -> torch.Tensor:
        # what torch.nn.functional.embedding_bag calls where nothing is differentiated
        return torch.ops.aten._embedding_bag_forward_only(*prepared)[0]


class _Level:
    """The units of one level, in rows [first, last), which have one activation."""

    def __init__(self, peer: TorchSparsePeer, first: int, last: int, names: set[str]) -> None:
        (self.name,) = names
        self._sums, self._a, self._delta = peer.sums, peer._a[first:last], peer._delta[first:last]
        self._incoming = peer.prepare(peer.incoming(first, last))
        links = peer.outgoing(first, last)
        self._outgoing = peer.prepare(links) if links.units.numel() else None
        direct = np.flatnonzero((peer.outputs >= first) & (peer.outputs < last))
        self._has_outputs = direct.size > 0
        self._direct, self._outputs = _compact(direct), _compact(peer.outputs[direct] - first)
        self._values = self._delta.numpy()

    def forward(self) -> None:
        a = self._a
        z = self._sums(self._incoming, a)
        if self.name == "tanh":  # 2 sigmoid(2z) - 1, of which torch has the faster vector code
            torch.mul(z, 2, out=a)
            torch.add(_MINUS_ONE, a.sigmoid_(), alpha=2, out=a)
        elif self.name == "relu":
            torch.clamp_min(z, 0, out=a)
        elif z is not a:
            a.copy_(z)

    def backward(self, direct: np.ndarray) -> None:
        """d loss/dz of each unit and sample; `direct` is that at the outputs."""
        delta = self._delta
        if self._outgoing is None:
            delta.zero_()
        else:
            values = self._sums(self._outgoing, delta)
            if self.name == "tanh":
                torch.ops.aten.tanh_backward(values, self._a, grad_input=delta)
            elif self.name == "relu":
                torch.ops.aten.threshold_backward(values, self._a, 0, grad_input=delta)
            elif values is not delta:
                delta.copy_(values)
        if self._has_outputs:
            self._values[self._outputs] += direct[self._direct]
