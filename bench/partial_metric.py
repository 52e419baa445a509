"""What a metric from a part of the samples, or every few steps, saves and costs:
`python -m bench.partial_metric [--update docs/methods.md]`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import fisherkern as fk
from fisherkern.estimators import load_digits, stratified_split
from fisherkern.experiments.marks import parse_target, update
from fisherkern.optimizers import QuasiDiagonalBackpropagatedMetricGradient

from . import oracles
from .loop import optimizer_stepper, stepper
from .pairing import paired
from .setting import conditions, program

OPTIONS: tuple[dict[str, float], ...] = (
    {}, {"metric_fraction": 0.5}, {"metric_fraction": 0.25}, {"metric_every": 2},
    {"metric_every": 4}, {"metric_every": 16})
SEEDS = range(6)
MARK = "partial metric"


def cost(name: str, options: dict[str, float], windows: int = 21) -> str:
    """Of a step, relative to one of backpropagation; steps with and without an update of the
    metric in their proportion."""
    workload = oracles.workload(name)
    every = int(options.get("metric_every", 1))
    optimizer = QuasiDiagonalBackpropagatedMetricGradient(damping=1e-4, **options)
    step = optimizer_stepper(workload, optimizer)
    plain = stepper(workload, "backpropagation")
    result = paired(lambda n: step(every * n), lambda n: plain(every * n), windows=windows)
    return str(result)


def learn(options: dict[str, float], seeds: Sequence[int] = SEEDS) -> tuple[float, float]:
    """Mean held-out accuracy and loss on digits: the command line's network and epochs."""
    X, y = load_digits()
    X = X.astype(np.float32)
    accuracies, losses = [], []
    for seed in seeds:
        train, test = stratified_split(y, 0.25, seed)
        net = fk.Network.layered([64, 256, 128, 10], fan_in=[16, 16, 128], dtype="float32",
                                 interpretation="softmax", rng=seed,
                                 activation=["relu"] * 384 + ["identity"] * 10)
        net.initialize("data", rng=seed, X=X[train])
        fk.train(net, X[train], y[train], QuasiDiagonalBackpropagatedMetricGradient(**options),
                 epochs=15, batch_size=64, rng=seed)
        accuracies.append(np.mean(net.forward(X[test]).argmax(axis=1) == y[test]))
        losses.append(net.loss(X[test], y[test]))
    return float(np.mean(accuracies)), float(np.mean(losses))


def table(names: Sequence[str] = ("W2", "W3"), windows: int = 21,
          seeds: Sequence[int] = SEEDS) -> str:
    for name in names:
        oracles.check_step(name, "quasi-diagonal")
    heads = " | ".join(f"{name} step / backpropagation" for name in names)
    rows = [f"| options | {heads} | digits: accuracy | digits: held-out loss |",
            "|---|--:|--:|" + "--:|" * len(names)]
    for options in OPTIONS:
        name = ", ".join(f"`{key}={value}`" for key, value in options.items()) or "whole metric"
        accuracy, loss = learn(options, seeds)
        costs = " | ".join(cost(workload, options, windows) for workload in names)
        rows.append(f"| {name} | {costs} | {accuracy:.3f} | {loss:.4f} |")
    return "\n".join([*rows, "", conditions() + f" Digits: means of {len(seeds)} seeds."])


if __name__ == "__main__":
    target = parse_target(program("partial_metric", __doc__), MARK).update
    update(target, MARK, table())
