"""Ways to train a classifier epoch by epoch: fisherkern's, and what one would take instead."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

import fisherkern as fk
from fisherkern.optimizers import Adam, Optimizer, QuasiDiagonalBackpropagatedMetricGradient

from .apart import Apart
from .layers import in_theta, layers

BATCH = 64

Score = Callable[[np.ndarray], float]


class Problem(NamedTuple):
    """A network to start from, and samples to train on, a multiple of BATCH of them."""

    net: fk.Network
    X: np.ndarray
    y: np.ndarray
    seed: int


class Learner(Protocol):
    """One training, on one thread.

    `curve` gives the score of theta after each of the first epochs; `run` takes the time of some
    epochs more, with nothing in it that a user would not run.
    """

    def curve(self, n_epochs: int, score: Score) -> list[float]: ...

    def run(self, n_epochs: int) -> None: ...


class _Ours:
    """`fisherkern.train` in its defaults for batches: one call, whose schedule ends with it."""

    def __init__(self, problem: Problem, optimizer: Optimizer) -> None:
        self._problem, self._optimizer = problem, optimizer

    def _train(self, n_epochs: int, **options) -> None:
        net, X, y, seed = self._problem
        fk.train(net.copy(), X, y, self._optimizer, epochs=n_epochs, batch_size=BATCH, rng=seed,
                 n_threads=1, progress=False, **options)

    def curve(self, n_epochs: int, score: Score) -> list[float]:
        scores, per_epoch = [], self._problem.y.size // BATCH

        def callback(event) -> None:
            if event.step % per_epoch == 0:
                scores.append(score(event.network.theta))

        self._train(n_epochs, callbacks=[callback])
        return scores

    def run(self, n_epochs: int) -> None:
        self._train(n_epochs)


def quasi_diagonal(problem: Problem, rate: float | None) -> Learner:
    return _Ours(problem, QuasiDiagonalBackpropagatedMetricGradient(learning_rate=rate))


def own_adam(problem: Problem, rate: float) -> Learner:
    return _Ours(problem, Adam(rate))


class _EachEpoch:
    """A training that stops after each epoch; where it is annealed, the rate of each is that part
    of its own which fisherkern's step size has of its own at the epoch's beginning."""

    annealed = False

    def curve(self, n_epochs: int, score: Score) -> list[float]:
        scores = []
        for epoch in range(n_epochs):
            if self.annealed:
                self.scale_rate(math.cos(math.pi / 2 * epoch / n_epochs))
            self.next_epoch()
            scores.append(score(self.theta()))
        return scores

    def next_epoch(self) -> None:
        self.run(1)


class _Torch(_EachEpoch):
    """A peer of torch with another batch before each step. All samples are tensors beforehand, and
    an epoch is drawn anew without replacement, as by a `DataLoader` without its costs."""

    def __init__(self, problem: Problem, peer) -> None:
        import torch

        self._peer, self._n_samples = peer, problem.y.size
        self._rates = [group["lr"] for group in peer.torch_optimizer.param_groups]
        self._X, self._y = peer.prepared(problem.X, problem.y)
        self._drawn = torch.Generator().manual_seed(problem.seed)

    def run(self, n_epochs: int) -> None:
        import torch

        torch.set_num_threads(1)
        for _ in range(n_epochs):
            drawn = torch.randperm(self._n_samples, generator=self._drawn)
            for rows in drawn.split(BATCH):
                self._peer.take(self._X[rows], self._y[rows])
                self._peer.step()

    def scale_rate(self, factor: float) -> None:
        for group, rate in zip(self._peer.torch_optimizer.param_groups, self._rates, strict=True):
            group["lr"] = factor * rate

    def theta(self) -> np.ndarray:
        return self._peer.theta()


def torch_sparse(problem: Problem, rate: float) -> Learner:
    """`torch.optim.Adam` on a sparse gradient by hand, the fastest of its forms."""
    from .torch_optimizers import AdamPeer

    return _Torch(problem, AdamPeer(problem.net, problem.X[:BATCH], problem.y[:BATCH], rate))


def torch_layers(problem: Problem, rate: float) -> Learner:
    """`torch.optim.Adam` on `nn.Linear` layers; the weights of absent links stay 0."""
    from .torch_dense import DenseAdamPeer

    return _Torch(problem, DenseAdamPeer(problem.net, problem.X[:BATCH], problem.y[:BATCH], rate))


class _Jax(_EachEpoch, Apart):
    form = "bench.jax_adam", "JaxAdam"

    def scale_rate(self, factor: float) -> None:
        self._ask("scale_rate", factor)

    def theta(self) -> np.ndarray:
        return self._ask("theta")


def jax_adam(problem: Problem, rate: float) -> Learner:
    """`jax_adam.JaxAdam` in a process of its own."""
    return _Jax(problem.net, problem.X, problem.y, rate)


def annealed(make: Callable[[Problem, float], _EachEpoch]) -> Callable[[Problem, float], Learner]:
    def made(problem: Problem, rate: float) -> Learner:
        learner = make(problem, rate)
        learner.annealed = True
        return learner

    return made


class _Perceptron(_EachEpoch):
    """`MLPClassifier`: its curve by `partial_fit` of all samples, which is one epoch of its Adam,
    and its time by `fit`, which checks the data once. It draws its own parameters to start from,
    and keeps its own small regularisation."""

    def __init__(self, problem: Problem, rate: float) -> None:
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import ThreadpoolController

        self._problem, self._layers = problem, layers(problem.net)
        self._pools = ThreadpoolController().select(user_api="blas")
        self._model = MLPClassifier([layer.b.size for layer in self._layers[:-1]],
                                    batch_size=BATCH, learning_rate_init=rate,
                                    random_state=problem.seed, tol=0.0, n_iter_no_change=10**6)

    def run(self, n_epochs: int) -> None:
        self._model.set_params(max_iter=n_epochs)
        with self._pools.limit(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what has not converged
            self._model.fit(self._problem.X, self._problem.y)

    def next_epoch(self) -> None:
        self._model.partial_fit(self._problem.X, self._problem.y,
                                classes=np.arange(self._problem.net.n_outputs))

    def theta(self) -> np.ndarray:
        return in_theta(self._problem.net, self._layers,
                        [weights.T for weights in self._model.coefs_], self._model.intercepts_)


perceptron = _Perceptron
