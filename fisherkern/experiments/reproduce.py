"""`fisherkern reproduce ollivier`: the runs, their tables, pictures and report in one folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .._config import config
from .._version import __version__
from ..io import write_atomically
from ..training import train
from .ollivier import ACTIVATIONS, DAMPING, METHODS, QUICK, Method, Task, problem, whole
from .runner import compute_all

BASELINE = METHODS[0]
# of the trajectories from one start, and of the effect of damping
SHORT = 60
SHORT_DAMPINGS = (DAMPING, 1e-6, 0.0)
DAMPINGS = (0.0, 1e-7, 1e-4, 1e-2)
DAMPING_RUNS = 5
_WINDOWS, _WINDOW_SECONDS = 7, 0.05


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes
    ----------
    methods : tuple of Method
    links : tuple of str
        Readings of the linking rule.
    runs, seed, jobs : int
    share : float
        Of the paper's iterations; 1 for the experiment itself.
    """

    methods: tuple[Method, ...]
    links: tuple[str, ...] = ("parallel",)
    runs: int = 20
    seed: int = 0
    jobs: int = 1
    share: float = 1.0

    def iterations(self, method: Method) -> int:
        return max(1, round(self.share * method.iterations))

    def task(self, method: Method, activation: str, links: str, run: int,
             iterations: int) -> Task:
        return Task(method, activation, links, self.seed, run, iterations)


@dataclass
class Results:
    """Curves in bits by task, seconds per iteration, and the iterations of either budget."""

    plan: Plan
    seconds: dict[str, float]
    curves: dict[str, np.ndarray]

    def iterations(self, method: Method, activation: str, budget: str) -> int:
        """Of budget "a", the paper's, or "b", the wall time of backpropagation's here."""
        if budget == "a":
            return self.plan.iterations(method)
        base = self.plan.iterations(BASELINE) * self.seconds[f"{BASELINE.key}-{activation}"]
        return max(1, round(base / self.seconds[f"{method.key}-{activation}"]))

    def curve(self, method: Method, activation: str, links: str, length: int) -> np.ndarray:
        """(runs, length + 1) bits before each attempt."""
        return np.array([
            self.curves[self.plan.task(method, activation, links, run, 0).key][:length + 1]
            for run in range(self.plan.runs)])

    def rows(self) -> list[dict]:
        """One row per method, activation, links and budget, ready for JSON."""
        rows = []
        for budget in ("a", "b"):
            for method in self.plan.methods:
                for activation in ACTIVATIONS:
                    for links in self.plan.links:
                        n = self.iterations(method, activation, budget)
                        final = self.curve(method, activation, links, n)[:, n]
                        rows.append({
                            "method": method.name, "optimizer": method.optimizer,
                            "n_draws": method.n_draws, "activation": activation, "links": links,
                            "budget": budget, "iterations": n, "runs": self.plan.runs,
                            "mean_bits": float(final.mean()),
                            "sd_bits": float(final.std(ddof=1)) if final.size > 1 else None,
                            "microseconds_per_iteration":
                                1e6 * self.seconds[f"{method.key}-{activation}"]})
        return rows


def checkable(rows: Sequence[dict]) -> list[dict]:
    """Rows of a quick run that have a stored mean."""
    return [row for row in rows if row["budget"] == "a" and row["links"] == "parallel"
            and (row["optimizer"], row["n_draws"]) in QUICK]


def outside(rows: Sequence[dict]) -> list[str]:
    """Rows of a quick run whose mean lies more than four standard errors from the stored one."""
    lines = []
    for row in checkable(rows):
        mean, deviation = QUICK[row["optimizer"], row["n_draws"]][row["activation"]]
        slack = 4 * deviation * np.sqrt(1 / row["runs"] + 1 / 20)
        if not abs(row["mean_bits"] - mean) <= slack:
            lines.append(f"{row['method']}, {row['activation']}: {row['mean_bits']:.1f} bits, "
                         f"expected {mean - slack:.1f} to {mean + slack:.1f}")
    return lines


def reproduce(plan: Plan, folder: Path,
              tell: Callable[[str], None]) -> tuple[Results, list[dict]]:
    """Compute what `folder` does not hold yet, write tables, pictures and report; the results and
    their rows."""
    from . import report

    folder.mkdir(parents=True, exist_ok=True)
    described = _describe(plan)
    _tell_of_other_plan(folder / "plan.json", described, tell)
    methods = plan.methods if BASELINE in plan.methods else (BASELINE, *plan.methods)
    plan = replace(plan, methods=methods)
    results = Results(plan, _timings(plan, folder, tell), {})
    results.curves = compute_all(_main_tasks(results), folder / "runs", plan.jobs, tell)
    rows = results.rows()
    write_atomically(folder / "results.json", json.dumps(rows, indent=1).encode())
    invariant = [method for method in methods if method.compared]
    tell("trajectories from one start, and the effect of damping")
    side = compute_all([*_trajectory_tasks(plan, invariant), *_damping_tasks(plan, invariant)],
                       folder / "runs", plan.jobs, tell)
    report.write(results, rows, invariant, side, folder)
    write_atomically(folder / "plan.json", described.encode())
    return results, rows


def _describe(plan: Plan) -> str:
    """What a folder's tables are of, as JSON."""
    return json.dumps({
        "methods": [method.key for method in plan.methods], "links": list(plan.links),
        "runs": plan.runs, "seed": plan.seed, "share": plan.share, "version": __version__,
        "isa": config()["isa"]})


def _tell_of_other_plan(path: Path, described: str, tell: Callable[[str], None]) -> None:
    """Say so where another plan's tables will be replaced."""
    if path.exists() and (before := path.read_text(encoding="utf-8")) != described:
        tell(f"tables and pictures in {path.parent} will be replaced; they are of {before}")


def _main_tasks(results: Results) -> list[Task]:
    plan = results.plan
    return [plan.task(method, activation, links, run,
                      max(results.iterations(method, activation, budget) for budget in "ab"))
            for method in plan.methods for activation in ACTIVATIONS for links in plan.links
            for run in range(plan.runs)]


def _trajectory_tasks(plan: Plan, methods: Sequence[Method]) -> list[Task]:
    return [Task(method, activation, plan.links[0], plan.seed, 0, SHORT, damping)
            for method in methods for activation in ACTIVATIONS for damping in SHORT_DAMPINGS]


def damping_runs(plan: Plan, method: Method, activation: str, damping: float) -> list[Task]:
    """The runs of one damping; none for undamped unit blocks, whose eigenvectors take too long."""
    if damping == 0 and method.reduction != "quasi_diagonal":
        return []
    return [Task(method, activation, plan.links[0], plan.seed, run, plan.iterations(method),
                 damping) for run in range(min(plan.runs, DAMPING_RUNS))]


def _damping_tasks(plan: Plan, methods: Sequence[Method]) -> list[Task]:
    return [task for method in methods for activation in ACTIVATIONS for damping in DAMPINGS
            for task in damping_runs(plan, method, activation, damping)]


def _timings(plan: Plan, folder: Path, tell: Callable[[str], None]) -> dict[str, float]:
    """Median seconds of a warm iteration by method and activation, methods in turn; measured once
    for a folder, before anything else runs."""
    path = folder / "timings.json"
    known = _known_timings(path)
    cases = [(method, activation) for method in plan.methods for activation in ACTIVATIONS
             if f"{method.key}-{activation}" not in known]
    if not cases:
        return known
    tell(f"timing {len(cases)} kinds of iteration, about "
         f"{len(cases) * (_WINDOWS + 1) * _WINDOW_SECONDS:.0f} s (more for full matrices)")
    windows: dict[str, list[float]] = {}
    steps = {f"{method.key}-{activation}": 3 for method, activation in cases}
    for window in range(_WINDOWS + 1):
        for method, activation in cases:
            key = f"{method.key}-{activation}"
            spent = _time(method, activation, plan.seed, steps[key])
            steps[key] = max(1, round(_WINDOW_SECONDS / spent))
            if window:
                windows.setdefault(key, []).append(spent)
    known |= {key: float(np.median(values)) for key, values in windows.items()}
    write_atomically(path, json.dumps(known, indent=1).encode())
    return known


def _time(method: Method, activation: str, seed: int, steps: int) -> float:
    net, X, Y = problem(seed, 0, activation)
    start = time.perf_counter()
    history = train(net, X, Y, method.make(), steps=steps, rng=0, n_threads=1, progress=False)
    spent = (time.perf_counter() - start) / steps
    whole(history, steps)
    return spent


def _known_timings(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    try:
        known = {str(key): float(value) for key, value in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError):
        known = {"": 0.0}
    if not all(value > 0 for value in known.values()):
        raise ValueError(f"{str(path)!r} holds no times; delete it to have them taken again")
    return known
