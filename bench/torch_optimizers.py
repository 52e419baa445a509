"""Whole steps of PyTorch's own optimizers on its fastest sparse gradient."""

from __future__ import annotations

import numpy as np
import torch

from . import oracles
from .pairing import elapsed
from .torch_peers import EmbeddingBagPeer, ShortIndexPeer, TorchSparsePeer

_TRIAL, _TRIALS = 3, 7


class SGDPeer:
    """`torch.optim.SGD` with `fused=True`, its fastest form on processors.

    The gradient is that of `torch_peers`, by hand: the fastest of its forms by a short trial at
    construction. All parameters are one tensor, as flat as an optimizer can have them, so that
    its loop over tensors costs nothing. Timed: the gradient and `step`; its tensor is made before,
    so there is no `zero_grad`. Threads, dtype and warm-up as there.
    """

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        self._n_threads, self._n_samples = n_threads, X.shape[0]
        forms = [form(net, X, Y, n_threads=n_threads)
                 for form in (TorchSparsePeer, ShortIndexPeer, EmbeddingBagPeer)]
        times = [[elapsed(form.run, _TRIAL) for form in forms] for _ in range(_TRIALS)]
        self._form = forms[int(np.argmin(np.min(times, axis=0)))]
        self._parameter = self._form.parameter()
        self.torch_optimizer = self.optimizer(learning_rate)

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD([self._parameter], lr=learning_rate, fused=True)

    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        return self._form.gradient()

    def prepared(self, X: np.ndarray, Y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self._form.prepared(X, Y)

    def take(self, X: torch.Tensor, Y: torch.Tensor) -> None:
        self._form.take(X, Y)

    def theta(self) -> np.ndarray:
        return self._form.theta()

    def run(self, n_steps: int) -> None:
        """Steps of the optimizer."""
        torch.set_num_threads(self._n_threads)
        for _ in range(n_steps):
            self.step()

    def step(self) -> None:
        self._form.update_gradient()
        self.torch_optimizer.step()


class AdamPeer(SGDPeer):
    """`torch.optim.Adam` with `fused=True`; otherwise as `SGDPeer`."""

    checked_rate = 1e-3

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam([self._parameter], lr=learning_rate, fused=True)

    first_step = staticmethod(oracles.adam_step)


class LBFGSPeer(SGDPeer):
    """`torch.optim.LBFGS` with one evaluation per step (`max_iter=1`) and its default history.

    Its default is 20 evaluations a step; fisherkern has no such method, so a step here is one
    gradient, the two loops over the history of 100 pairs, and the move. Timed are steps whose
    history is full, to which end a peer of learning rate 0, at which there would be no history,
    takes a small one instead, and its first call of `run` fills the history. Its closure
    returns 0 for the loss, which is compared with nothing at one evaluation.
    """

    least_rate = 1e-3
    history = 100

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        super().__init__(net, X, Y, learning_rate, n_threads)
        self._to_fill = 0 if learning_rate else self.history + 1

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.LBFGS([self._parameter], lr=learning_rate or self.least_rate,
                                 max_iter=1, history_size=self.history,
                                 tolerance_grad=0.0, tolerance_change=0.0)

    @staticmethod
    def first_step(name: str, rate: float) -> np.ndarray:
        """Along the gradient, no further than one in the sum of absolute values."""
        g = oracles.gradient(name)
        return -rate * min(1.0, 1 / np.abs(g).sum()) * g

    def run(self, n_steps: int) -> None:
        """Steps of the optimizer."""
        torch.set_num_threads(self._n_threads)
        n_steps, self._to_fill = n_steps + self._to_fill, 0
        for _ in range(n_steps):
            self.torch_optimizer.step(self._closure)

    def _closure(self) -> torch.Tensor:
        self._form.update_gradient()
        return torch.zeros(())
