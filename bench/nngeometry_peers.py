"""Steps with NNGeometry's quasi-diagonal Fisher matrix."""

from __future__ import annotations

import numpy as np
import torch
from nngeometry.metrics import FIM, FIM_MonteCarlo
from nngeometry.object import PMatQuasiDiag, PVector
from torch.utils.data import DataLoader, TensorDataset

from . import oracles
from .layers import in_theta, is_weight
from .loop import CURVATURE_DAMPING
from .torch_dense import TorchDensePeer, check_by_draws, linears, masks, of_next_draws


class _Whole(TensorDataset):
    """Hands out all samples at once, without a copy."""

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, ...]:
        return self.tensors


class QuasiDiagonalPeer(TorchDensePeer):
    """`FIM(..., PMatQuasiDiag)`, then `solve` of the gradient.

    Entries are those of Ollivier's quasi-diagonal metric, and are checked to be: the diagonal and,
    for each unit, its bias with each of its weights. The step is another: `solve` takes the
    entries between two weights for 0, where Ollivier's are the products of theirs with the bias
    over the bias's, so that only his is invariant to the origin of activities. What is checked is
    this library's step from fisherkern's entries.

    NNGeometry knows dense layers only; absent links are left out of `solve` by zeros in the
    gradient and beside the bias. The loader hands out the batch whole, without collating it, and
    is made before the timed part, which is the gradient by autograd, the matrix, `solve` and the
    update. Threads and dtype as in `TorchDensePeer`; blocks of a unit with many links are so nearly
    singular that the step is checked in float64.
    """

    checked_rate = 1e-2
    checked_in_double = True

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        super().__init__(net, X, Y, learning_rate, n_threads)
        self._rate = learning_rate
        self._loader = DataLoader(_Whole(self._X.clone(), self._Y), batch_size=len(X),
                                  collate_fn=lambda batch: batch)
        self._links = masks(self._layers)

    def matrix(self):
        before = torch.get_default_dtype()
        torch.set_default_dtype(self._X.dtype)  # in which it makes its constants
        try:
            return FIM(self.model, self._loader, PMatQuasiDiag, variant="classif_logits")
        finally:
            torch.set_default_dtype(before)

    def first_step(self, name: str, rate: float) -> np.ndarray:
        """Minus the arrow-shaped blocks' inverse times the gradient."""
        net, g = oracles.workload(name)[0], oracles.gradient(name)
        rows = net.indptr[:-1]
        unit = np.repeat(np.arange(rows.size), np.diff(net.indptr))
        diagonal, cross = self.checked_entries(name)
        diagonal = diagonal + CURVATURE_DAMPING
        bias = g[rows] - np.add.reduceat(cross * g / diagonal, rows)
        bias /= diagonal[rows] - np.add.reduceat(cross**2 / diagonal, rows)
        step = (g - cross * bias[unit]) / diagonal
        step[rows] = bias
        return -rate * step

    def checked_entries(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """As `entries`, not from the peer."""
        net, metric = oracles.workload(name)[0], oracles.metric(name, "quasi_diagonal")
        biases = (~is_weight(net)).astype(np.float64)
        return metric.diagonal(), np.where(is_weight(net), metric.matvec(biases), 0)

    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the metric, in theta's layout: the diagonal, and those beside the unit's bias, which
        is beside itself with 0."""
        matrix = self.matrix()
        found = [[part.detach().numpy() for part in matrix.data[linear]]
                 for linear in matrix.generator.layer_collection.layers]
        shapes = [layer.W.shape for layer in self._layers]
        diagonal = in_theta(self._net, self._layers,
                            [d[:-s[0]].reshape(s) for (d, _), s in zip(found, shapes, strict=True)],
                            [d[-s[0]:] for (d, _), s in zip(found, shapes, strict=True)])
        cross = in_theta(self._net, self._layers,
                         [c.reshape(s) for (_, c), s in zip(found, shapes, strict=True)],
                         [np.zeros(s[0]) for s in shapes])
        return diagonal, cross

    def diagonal(self) -> np.ndarray:
        """Of the metric, in theta's layout."""
        return self.entries()[0]

    def run(self, n_steps: int) -> None:
        """Preconditioned steps."""
        torch.set_num_threads(self._n_threads)
        for _ in range(n_steps):
            self.torch_optimizer.zero_grad()
            self.loss().backward()
            matrix = self.matrix()
            collection = matrix.generator.layer_collection
            g = {}
            for key, linear, links in zip(collection.layers, linears(self.model), self._links,
                                          strict=True):
                if links is not None:
                    matrix.data[key][1].view(links.shape).mul_(links)
                g[key] = linear.weight.grad, linear.bias.grad
            step = matrix.solve(PVector(collection, dict_repr=g), regul=CURVATURE_DAMPING)
            with torch.no_grad():
                for key, linear in zip(collection.layers, linears(self.model), strict=True):
                    for p, delta in zip((linear.weight, linear.bias), step.to_dict()[key],
                                        strict=True):
                        p.sub_(delta, alpha=self._rate)


class QuasiDiagonalMonteCarloPeer(QuasiDiagonalPeer):
    """`FIM_MonteCarlo` with one drawn target per sample, otherwise as `QuasiDiagonalPeer`.

    Draws differ from fisherkern's; what is checked is the gradient, that the mean of many
    diagonals has the trace of the exact one, and the step with the entries of the same draws.
    """

    def checked_entries(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """From the draws of the next step, with `check_metric` for what they are."""
        return of_next_draws(self.entries)

    def matrix(self):
        return FIM_MonteCarlo(self.model, self._loader, PMatQuasiDiag, variant="classif_logits",
                              trials=1)

    @classmethod
    def check_metric(cls, name: str, **options) -> None:
        check_by_draws(cls, name, **options)
