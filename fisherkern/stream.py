"""Training on parts of the samples, one after the other: what `partial_fit` keeps between calls."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from . import _loop
from .network import Network
from .optimizers import Optimizer
from .pace import Pace
from .samples import Batches, Samples, checked_samples, dense_rows
from .schedule import averaging_weights, make_plan
from .training import start_trainer

# lambda of the fan-in prior, about where the path's best places are
_PRIOR = 0.03


class Stream:
    """A network in training, its running metric and average, and rows that wait for a batch.

    Parameters
    ----------
    net : Network
        To start from; not changed.
    optimizer : Optimizer
    batch_size : int
    trust_radius : float
    with_prior : bool
    n_threads : int or None
    """

    def __init__(self, net: Network, optimizer: Optimizer, batch_size: int, trust_radius: float,
                 with_prior: bool, n_threads: int | None) -> None:
        self.net, self.optimizer, self.batch_size = net.copy(), optimizer, batch_size
        self.trust_radius, self.with_prior, self.n_threads = trust_radius, with_prior, n_threads
        self.n_steps = self._n_averaged = 0
        self.average = net  # what the steps so far have come to
        self._trainer: Any = None
        self._pace: Any = None
        self._waiting: tuple[np.ndarray, np.ndarray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the compiled loop: a copy's running metric starts anew."""
        return self.__dict__ | {"_trainer": None}

    def take(self, samples: Samples, rng: np.random.Generator) -> None:
        """Train for one epoch on these samples and those that waited; on failure they wait on."""
        before = self.net.theta.copy(), self._waiting
        try:
            self._take(samples, rng)
        except BaseException:
            (self.net.theta[:], self._waiting), self._trainer = before, None
            raise

    def _take(self, samples: Samples, rng: np.random.Generator) -> None:
        samples = checked_samples(self.net, samples.X, samples.Y, samples.weights)
        rows = Batches("mini", 1, samples, rng).epoch()
        X, Y = dense_rows(samples.X, rows), samples.Y[rows]
        if self._waiting is not None:
            X, Y = (np.concatenate(pair) for pair in zip(self._waiting, (X, Y), strict=True))
        n_steps = X.shape[0] // self.batch_size
        taken = n_steps * self.batch_size
        self._waiting = X[taken:].copy(), Y[taken:].copy()
        if n_steps:
            self._run(X[:taken], Y[:taken], n_steps, rng)

    def _run(self, X: np.ndarray, Y: np.ndarray, n_steps: int,
             rng: np.random.Generator) -> None:
        optimizer = self.optimizer
        if self._trainer is None:
            plan = make_plan(optimizer, X.shape[0], n_steps, None, self.batch_size, False, None,
                             _PRIOR if self.with_prior else None, averaging=True)
            self._trainer = start_trainer(self.net, Samples(X, Y, None), optimizer, plan,
                                          self.trust_radius, None, self.n_threads)
            self._pace = Pace(self._trainer.batch.n_threads, adapts=self.n_threads is None)
            self._n_averaged = 0
        trainer = self._trainer
        trainer.set_data(X, Y)
        random = None
        if optimizer.kind == "monte_carlo":
            random = trainer.batch.random_numbers(rng, X.shape[0])
        seen = (self.n_steps + n_steps) * self.batch_size
        prior = np.full(n_steps, _PRIOR / (16 * seen)) if self.with_prior else None
        rate = 1.0 if optimizer.has_metric else optimizer.learning_rate
        shares = averaging_weights(self._n_averaged, self._n_averaged + n_steps)
        done = 0
        while done < n_steps:
            size = self._pace.size(n_steps - done)
            steps = slice(done, done + size)
            rows = np.arange(done * self.batch_size, (done + size) * self.batch_size)
            start = time.monotonic()
            n_done, status = trainer.run(
                rows, np.full(size, rate), np.empty(size), np.empty(size), np.empty(size, np.uint8),
                None if random is None else random[rows],
                None if prior is None else prior[steps], shares[steps], self._pace.n_threads)
            self._pace.report(size, time.monotonic() - start)
            if status != _loop.STATUS_OK:
                raise FloatingPointError(f"the {_loop.NOT_FINITE[status]} is not finite at step "
                                         f"{done + n_done} of this part, which is left out")
            done += size
        self._n_averaged += n_steps
        self.n_steps += n_steps
        self.average = self.net.copy()
        self.average.theta = trainer.average
