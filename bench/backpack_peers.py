"""Preconditioned steps with BackPACK's diagonals of the Gauss-Newton matrix."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from backpack import backpack, extend
from backpack.extensions import DiagGGNExact, DiagGGNMC
from torch import nn

from . import oracles
from .layers import in_theta
from .loop import CURVATURE_DAMPING
from .torch_dense import TorchDensePeer, check_by_draws, of_next_draws


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's warning of hooks on a model whose input has no gradient."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        yield


class DiagGGNPeer(TorchDensePeer):
    """Gradient divided by `DiagGGNExact` and a damping, as in BackPACK's own example.

    Of softmax and cross entropy the matrix is Fisher's, so fisherkern's step with the diagonal of
    its Fisher metric is the same step, and is checked to be. BackPACK knows dense layers only: the
    gradient of absent links is masked as in `TorchDensePeer`, and their curvature is computed in
    vain. Its Bernoulli loss takes one output only, hence no W1.

    Fair: threads and dtype as in `TorchDensePeer`; model and loss are extended before the timed
    part, which is `zero_grad`, forward, backward within `backpack(...)` and the update in place.
    """

    checked_rate = 1e-2
    saved = "diag_ggn_exact"

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        super().__init__(net, X, Y, learning_rate, n_threads)
        self._rate, self._extension = learning_rate, self.extension()
        self.model = extend(self.model)
        self._cross_entropy = extend(nn.CrossEntropyLoss())

    @staticmethod
    def extension():
        return DiagGGNExact()

    def first_step(self, name: str, rate: float) -> np.ndarray:
        return -rate * oracles.gradient(name) / (self.checked_diagonal(name) + CURVATURE_DAMPING)

    def checked_diagonal(self, name: str) -> np.ndarray:
        """Of the metric, not from the peer."""
        return oracles.metric(name, "diagonal").diagonal()

    def loss(self) -> torch.Tensor:
        return self._cross_entropy(self.model(self._X), self._Y)

    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        with _quiet():
            return super().gradient()

    def diagonal(self) -> np.ndarray:
        """Of the metric, in theta's layout."""
        self._backward()
        values = [getattr(p, self.saved).numpy() for p in self.model.parameters()]
        return in_theta(self._net, self._layers, values[::2], values[1::2])

    def run(self, n_steps: int) -> None:
        """Preconditioned steps."""
        torch.set_num_threads(self._n_threads)
        for _ in range(n_steps):
            self._backward()
            with torch.no_grad():
                for p in self.model.parameters():
                    p.addcdiv_(p.grad, getattr(p, self.saved).add_(CURVATURE_DAMPING),
                               value=-self._rate)

    def _backward(self) -> None:
        self.torch_optimizer.zero_grad()
        with _quiet(), backpack(self._extension):
            self.loss().backward()


class DiagGGNMCPeer(DiagGGNPeer):
    """`DiagGGNMC` with one drawn target per sample, otherwise as `DiagGGNPeer`.

    Draws differ from fisherkern's; what is checked is the gradient, that the mean of many
    diagonals has the trace of the exact one, and the step with the diagonal of the same draws.
    """

    saved = "diag_ggn_mc"

    @staticmethod
    def extension():
        return DiagGGNMC(mc_samples=1)

    def checked_diagonal(self, name: str) -> np.ndarray:
        """From the draws of the next step, with `check_metric` for what they are."""
        return of_next_draws(self.diagonal)

    @classmethod
    def check_metric(cls, name: str, **options) -> None:
        check_by_draws(cls, name, **options)
