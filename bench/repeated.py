"""Ratios over processes of their own: what differs between two runs of a program, as where its
arrays lie, counts in their intervals."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from . import oracles, peer_table
from .apart import alone
from .loop import stepper
from .pairing import Paired, paired
from .setting import WINDOWS

RUNS = 11
RATIOS = ("a ratio is that of paired windows, the median of {} processes, with the lowest and the "
          "highest of them")


def repeated(names: Iterable[str], labels: Collection[str], steps: Collection[str],
             n_runs: int = RUNS) -> dict[str, dict[str, Paired]]:
    """Contenders of `peer_table` and steps of `loop.stepper` by workload, each against
    backpropagation on one thread. Every workload has its turn before the next of `n_runs` turns:
    they lie as far apart as the whole takes."""
    found: dict[str, list[dict[str, Paired]]] = {name: [] for name in names}
    for _ in range(n_runs):
        for name, runs in found.items():
            windows = max(3, WINDOWS[name] // 3)
            runs.append(alone(once, name, labels, steps, windows))
    return {name: {label: over_runs([run[label] for run in runs]) for label in runs[0]}
            for name, runs in found.items()}


def once(name: str, labels: Collection[str], steps: Collection[str],
         windows: int) -> dict[str, Paired]:
    """In this process, each checked before it is timed."""
    results = {label: peer_table.timed(label, name, windows=windows)[0]
               for label in peer_table.installed(name, labels)}
    ours = stepper(oracles.workload(name), "backpropagation")
    for step in steps:
        oracles.check_step(name, step)
        results[step] = paired(stepper(oracles.workload(name), step), ours, windows=windows)
    return results


def over_runs(results: list[Paired]) -> Paired:
    """Medians over processes, and the range of the ratio's: an interval of the median would shrink
    below the drift of a host, where another run finds its own median."""
    values = np.array([result[:3] for result in results])
    ratios = values[:, 2]
    return Paired(*np.median(values, axis=0).tolist(), float(ratios.min()), float(ratios.max()))
