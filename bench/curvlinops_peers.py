"""K-FAC steps with curvlinops."""

from __future__ import annotations

import numpy as np
import torch
from curvlinops import KFACInverseLinearOperator, KFACLinearOperator
from torch import nn

import fisherkern as fk

from . import oracles
from .layers import filled, in_theta, layers
from .loop import CURVATURE_DAMPING
from .torch_dense import TorchDensePeer, masks


class KFACPeer(TorchDensePeer):
    """`KFACLinearOperator` from one drawn target per sample, its damped inverse on the gradient.

    No metric of fisherkern's: a layer's matrix is the Kronecker product of two means, where a
    unit's block in fisherkern is the mean of the products. Next to it stands the unitwise Monte
    Carlo step. For one sample alone both means are of one thing, and K-FAC's entries are the
    Fisher metric's: that is checked, with exact expectations, on the dense network. The weights of
    absent links are masked after the step.

    Fair: weights and biases are one matrix, as in K-FAC's paper, and the damping is the heuristic
    one of that paper; the check of determinism is off; both inverses are taken at each step, as
    fisherkern's metric is, though users often keep them for several. Threads and dtype as in
    `TorchDensePeer`; timed are the gradient, the operator, its inverse, the product, the update.
    """

    checked_rate = 1e-2

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        super().__init__(net, X, Y, learning_rate, n_threads)
        self._rate, self._parameters = learning_rate, list(self.model.parameters())
        self._links = masks(self._layers)

    def operator(self, fisher_type: str = "mc") -> KFACLinearOperator:
        return KFACLinearOperator(
            self.model, nn.CrossEntropyLoss(), self._parameters, [(self._X, self._Y)],
            fisher_type=fisher_type, separate_weight_and_bias=False, check_deterministic=False)

    def run(self, n_steps: int) -> None:
        """Preconditioned steps."""
        torch.set_num_threads(self._n_threads)
        for _ in range(n_steps):
            self.torch_optimizer.zero_grad()
            self.loss().backward()
            inverse = KFACInverseLinearOperator(self.operator(), damping=CURVATURE_DAMPING,
                                                use_heuristic_damping=True)
            step = inverse @ [p.grad for p in self._parameters]
            for delta, links in zip(step[::2], self._links, strict=True):
                if links is not None:
                    delta.mul_(links)
            with torch.no_grad():
                for p, delta in zip(self._parameters, step, strict=True):
                    p.sub_(delta, alpha=self._rate)

    def first_step(self, name: str, rate: float) -> np.ndarray:
        """From the two factors of each layer, whose random numbers are those of every step."""
        operator = self.operator()
        operator.compute_kronecker_factors()
        found = operator.state_dict()
        modules = [key for key, part in self.model.named_modules() if isinstance(part, nn.Linear)]
        g = oracles.in_double(name)[0].copy()
        g.theta = oracles.gradient(name)
        split, steps = layers(g), []
        for module, layer in zip(modules, split, strict=True):
            A, B = (found[f"{of}_covariances"][module].numpy().astype(np.float64)
                    for of in ("input", "gradient"))
            ratio = np.sqrt(A.trace() / len(A) / (B.trace() / len(B)))
            A += np.sqrt(CURVATURE_DAMPING) * ratio * np.eye(len(A))
            B += np.sqrt(CURVATURE_DAMPING) / ratio * np.eye(len(B))
            step = np.linalg.solve(B, np.column_stack([layer.W, layer.b]))
            steps.append(np.linalg.solve(A, step.T).T)
        return -rate * in_theta(g, split, [step[:, :-1] for step in steps],
                                [step[:, -1] for step in steps])

    @classmethod
    def check_metric(cls, name: str, **options) -> None:
        """The exact matrix of one sample against fisherkern's trace and some of its diagonal."""
        net, X, Y = filled(oracles.workload(name))
        exact = fk.metric(net, X[:1], kind="fisher", reduction="diagonal").diagonal()
        peer = cls(net, X[:1], Y[:1], **options)
        operator = peer.operator("type-2")
        trace = float(operator.trace)
        assert abs(trace / exact.sum() - 1) <= oracles.TOLERANCE[net.dtype.name], f"{name}: trace"
        first = exact[:net.indptr[1]]  # the first unit's bias and weights
        for source in (0, 1, 2, 3):
            unit = [torch.zeros_like(p) for p in peer.model.parameters()]
            unit[0][0, source] = 1
            value = float((operator @ unit)[0][0, source])
            assert abs(value - first[1 + source]) <= 1e-3 * first.max(), f"{name}: {source}"
