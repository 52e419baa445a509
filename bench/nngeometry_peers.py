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
from .torch_dense import TorchDensePeer, check_by_draws, linears


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
    update. Threads and dtype as in `TorchDensePeer`.
    """

    checked_rate = 1e-2

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        super().__init__(net, X, Y, learning_rate, n_threads)
        self._rate = learning_rate
        self._loader = DataLoader(_Whole(self._X.clone(), self._Y), batch_size=len(X),
                                  collate_fn=lambda batch: batch)
        self._links = [torch.from_numpy(layer.links) for layer in self._layers]

    def matrix(self):
        return FIM(self.model, self._loader, PMatQuasiDiag, variant="classif_logits")

    @staticmethod
    def first_step(name: str, rate: float) -> np.ndarray:
        """Minus the arrow-shaped blocks' inverse times the gradient."""
        net = oracles.workload(name)[0]
        metric = oracles.metric(name, "quasi_diagonal")
        rows = net.indptr[:-1]
        unit = np.repeat(np.arange(rows.size), np.diff(net.indptr))
        diagonal, g = metric.diagonal() + CURVATURE_DAMPING, oracles.gradient(name)
        # the column of each unit's bias
        biases = np.zeros_like(g)
        biases[rows] = 1
        cross = np.where(is_weight(net), metric.matvec(biases), 0)
        bias = g[rows] - np.add.reduceat(cross * g / diagonal, rows)
        bias /= diagonal[rows] - np.add.reduceat(cross**2 / diagonal, rows)
        step = (g - cross * bias[unit]) / diagonal
        step[rows] = bias
        return -rate * step

    def diagonal(self) -> np.ndarray:
        """Of the metric, in theta's layout."""
        values = []
        matrix = self.matrix()
        for linear, layer in zip(matrix.generator.layer_collection.layers, self._layers,
                                 strict=True):
            diagonal = matrix.data[linear][0].detach().numpy()
            values.append((diagonal[:layer.W.size].reshape(layer.W.shape),
                           diagonal[layer.W.size:]))
        w, b = zip(*values, strict=True)
        return in_theta(self._net, self._layers, list(w), list(b))

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

    Draws differ from fisherkern's; what is checked is the gradient, and that the mean of many
    diagonals has the trace of the exact one.
    """

    def matrix(self):
        return FIM_MonteCarlo(self.model, self._loader, PMatQuasiDiag, variant="classif_logits",
                              trials=1)

    @classmethod
    def check_metric(cls, name: str, **options) -> None:
        check_by_draws(cls, name, **options)
