"""Whole steps inside the compiled loop, without what `fisherkern.train` does around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fisherkern import optimizers
from fisherkern.optimizers import Optimizer, make_trainer

from .workloads import Workload

TRUST_RADIUS = 3e-4
SEED = 0  # of drawn targets
OPTIMIZERS: dict[str, tuple[Callable[[], Optimizer], bool]] = {
    "backpropagation": (optimizers.Backpropagation, False),
    "quasi-diagonal": (
        lambda: optimizers.QuasiDiagonalBackpropagatedMetricGradient(damping=1e-4), False),
    "quasi-diagonal, mini-batch": (optimizers.QuasiDiagonalBackpropagatedMetricGradient, True),
    "unitwise": (lambda: optimizers.BackpropagatedMetricGradient(damping=1e-4), False),
    "diagonal": (lambda: optimizers.DiagonalGaussNewton(damping=1e-4), False),
    "AdaGrad": (optimizers.AdaGrad, False),
    "Adam": (optimizers.Adam, False),
}
"""Optimizers by name, and whether they run with the range damping and the running metric of
mini-batches (with trust region) instead of each batch alone."""

CURVATURE_DAMPING = 1e-4
CURVATURE: dict[str, Callable[[], Optimizer]] = {
    f"{kind}, {reduction}": partial(optimizers.MetricGradient, kind, reduction,
                                    damping=CURVATURE_DAMPING)
    for kind, reduction in (("fisher", "diagonal"), ("monte_carlo", "diagonal"),
                            ("fisher", "quasi_diagonal"), ("monte_carlo", "quasi_diagonal"),
                            ("monte_carlo", "unitwise"))}
"""Steps that have a counterpart in other libraries, by kind and reduction."""


def made(name: str) -> tuple[Callable[[], Optimizer], bool]:
    """What makes an optimizer of OPTIMIZERS or of CURVATURE, and whether it is for mini-batches."""
    return (CURVATURE[name], False) if name in CURVATURE else OPTIMIZERS[name]


def stepper(workload: Workload, name: str, *, n_threads: int = 1,
            learning_rate: float = 0.0) -> Callable[[int], None]:
    """A function of n that trains the workload's network by n steps in one compiled call.

    At learning rate 0 every step costs what any other does, and the network stays as it was.
    """
    make, mini_batches = made(name)
    return optimizer_stepper(workload, make(), mini_batches=mini_batches, n_threads=n_threads,
                             learning_rate=learning_rate)


def optimizer_stepper(workload: Workload, optimizer: Optimizer, *, mini_batches: bool = False,
                      n_threads: int = 1, learning_rate: float = 0.0,
                      seed: int = SEED) -> Callable[[int], None]:
    """`stepper` of an optimizer; drawing a Monte Carlo metric's numbers is part of each step."""
    net, X, Y = workload
    control = {}
    if mini_batches:
        control = {"metric_rate": optimizers.MINI_BATCH_RATE, "warm_start": True,
                   "rule": "trust_region", "learning_rate": 1.0, "trust_radius": TRUST_RADIUS,
                   "whole_batch": False}
    trainer = make_trainer(optimizer, net, X, Y, X.shape[0], n_threads, **control)
    rng = np.random.default_rng(seed) if optimizer.kind == "monte_carlo" else None
    every_row = np.arange(X.shape[0])
    # n: samples, factors, losses, rates, accepted
    buffers: dict[int, tuple] = {}

    def run(n_steps: int) -> None:
        if n_steps not in buffers:
            rows = np.tile(every_row, n_steps) if mini_batches else every_row
            buffers[n_steps] = (rows, np.full(n_steps, learning_rate), np.empty(n_steps),
                                np.empty(n_steps), np.empty(n_steps, np.uint8))
        random = rng and trainer.batch.random_numbers(rng, n_steps * X.shape[0])
        done, status = trainer.run(*buffers[n_steps], random)
        assert (done, status) == (n_steps, 0)

    return run
