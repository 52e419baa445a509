"""Ratios over processes of their own: what differs between two runs of a program, as where its
arrays lie, counts in their intervals."""

from __future__ import annotations

import multiprocessing
from collections.abc import Collection, Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from . import oracles, peer_table
from .loop import stepper
from .pairing import Paired, median_interval, paired
from .setting import WINDOWS

RUNS = 7
RATIOS = ("a ratio is that of paired windows, the median of {} processes, with an interval of at "
          "least 95 % over the processes")


def repeated(names: Iterable[str], labels: Collection[str], steps: Collection[str],
             n_runs: int = RUNS) -> dict[str, dict[str, Paired]]:
    """Contenders of `peer_table` and steps of `loop.stepper` by workload, each against
    backpropagation on one thread. Every workload has its turn before the next of `n_runs` turns:
    they lie as far apart as the whole takes."""
    found: dict[str, list[dict[str, Paired]]] = {name: [] for name in names}
    for _ in range(n_runs):
        for name, runs in found.items():
            windows = max(3, WINDOWS[name] // 3)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                runs.append(pool.submit(once, name, labels, steps, windows).result())
    return {name: {label: over_runs([run[label] for run in runs]) for label in runs[0]}
            for name, runs in found.items()}


def once(name: str, labels: Collection[str], steps: Collection[str],
         windows: int) -> dict[str, Paired]:
    """In this process, each checked before it is timed."""
    results = peer_table.compare(name, 1, labels, windows=windows)
    ours = stepper(oracles.workload(name), "backpropagation")
    for step in steps:
        oracles.check_step(name, step)
        results[step] = paired(stepper(oracles.workload(name), step), ours, windows=windows)
    return results


def over_runs(results: list[Paired]) -> Paired:
    """Medians over processes, and the interval of the ratio's."""
    values = np.array([result[:3] for result in results])
    return Paired(*np.median(values, axis=0).tolist(), *median_interval(values[:, 2]))
