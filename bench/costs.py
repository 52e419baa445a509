"""Cost of a step of every method on W1 beside the paper's: `python -m bench.costs [--update FILE]`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fisherkern import reference
from fisherkern.experiments.marks import parse_target, update
from fisherkern.optimizers import PRESETS, Optimizer

from . import oracles
from .loop import optimizer_stepper
from .pairing import Paired, paired
from .setting import conditions, program

DAMPING = 1e-4
# [O Table 1]: iterations in the time of 10,000 of backpropagation; Monte Carlo with one draw
PAPER_ITERATIONS = {
    "DiagonalGaussNewton": 7750, "AdaGrad": 8050, "UnitwiseNaturalGradient": 2200,
    "QuasiDiagonalNaturalGradient": 2950, "BackpropagatedMetricGradient": 4250,
    "QuasiDiagonalBackpropagatedMetricGradient": 7450, "UnitwiseOuterProductGradient": 4050,
    "MonteCarloUnitwiseNaturalGradient": 2850, "MonteCarloQuasiDiagonalNaturalGradient": 3950,
    "NaturalGradient": 9.5, "Backpropagation": 10_000,
}
WINDOWS = 41
BASELINE = "Backpropagation"
MARK = "costs"


def make(name: str) -> Optimizer:
    cls = PRESETS[name]
    return cls(damping=DAMPING) if cls.has_metric else cls()


def check(name: str) -> None:
    """AssertionError unless a step moves theta as the reference says."""
    net, X, Y = oracles.workload("W1")
    moved = net.copy()
    optimizer_stepper((moved, X, Y), make(name), learning_rate=1.0)(1)
    optimizer = make(name)
    if optimizer.kind is None:
        expected = {"Adam": lambda G: G / (np.abs(G) + 1e-8)}.get(name, lambda G: G)(
            -reference.gradient(net, X, Y))
        if name == "AdaGrad":
            expected = reference.adagrad_direction(net, X, Y, DAMPING)
    else:
        numbers = np.random.default_rng(0).random((X.shape[0], 1, net.n_outputs))
        draws = {"draws": reference.targets_from_random(net, X, numbers)} \
            if optimizer.kind == "monte_carlo" else {}
        form = reference.full_metric if optimizer.reduction == "full" else \
            reference.unitwise_metric
        expected = reference.direction(net, form(net, X, optimizer.kind, Y, **draws),
                                       -reference.gradient(net, X, Y), optimizer.reduction,
                                       DAMPING)
    error = np.linalg.norm(moved.theta - net.theta - expected) / np.linalg.norm(expected)
    # the damped full matrix has a condition number of 10^7
    assert error <= (1e-8 if optimizer.reduction == "full" else 1e-10), f"{name}: {error:.1e}"


def measure(names: Iterable[str] = PRESETS, windows: int = WINDOWS) -> dict[str, Paired]:
    """Each method's step against one of backpropagation, checked before it is timed."""
    workload, found = oracles.workload("W1"), {}
    plain = optimizer_stepper(workload, make(BASELINE))
    for name in names:
        check(name)
        full = make(name).reduction == "full"
        found[name] = paired(optimizer_stepper(workload, make(name)), plain,
                             windows=min(7, windows) if full else windows)
    return found


def paper_ratio(name: str) -> float | None:
    """Of a step to one of backpropagation [O Table 1]."""
    iterations = PAPER_ITERATIONS.get(name)
    return 10_000 / iterations if iterations else None


def sentences(found: dict[str, Paired]) -> str:
    """Where a method costs more than in the paper, and what the baseline's own row tells."""
    dearer = [f"`{name}` ({result.ratio:.2f} against {paper:.2f})" for name, result in found.items()
              if name != BASELINE and (paper := paper_ratio(name)) and result.low > paper]
    lines = [f"Relative to backpropagation, dearer here than in the paper: "
             f"{', '.join(dearer) or 'none'}."]
    if BASELINE in found:
        lines.append(f"`{BASELINE}`'s own row is that step against itself, in other arrays: its "
                     f"distance from 1, {found[BASELINE]}, is what this run cannot tell.")
    return " ".join(lines)


def table(found: dict[str, Paired]) -> str:
    rows = ["| method | a step, µs | ratio to backpropagation | the paper's ratio |",
            "|---|--:|--:|--:|"]
    for name, result in found.items():
        paper = paper_ratio(name)
        rows.append(f"| `{name}` | {1e6 * result.a:,.0f} | {result} "
                    f"| {f'{paper:.2f}' if paper else '-'} |")
    return "\n".join([*rows, "", conditions()])


if __name__ == "__main__":
    path = parse_target(program("costs", __doc__), MARK).update
    update(path, MARK, table(measure()))
