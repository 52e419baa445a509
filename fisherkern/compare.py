"""`--compare`: optimizers and scikit-learn's MLP, on the same split and for the same time.

Each method is trained anew for an eighth, a quarter, a half and the whole of the time, every time
from the start and to the end of its own schedule: the points of its curve are whole trainings. The
sparse networks are single ones, and stop where a held-out share of the training samples says.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from .estimators import SparseNetClassifier, SparseNetRegressor, sklearn_module
from .optimizers import PRESETS
from .plots import comparison
from .run_folder import COMPARISON
from .scoring import TITLES, scores

SHARES = (1 / 8, 1 / 4, 1 / 2, 1)
# of methods without a metric, which have no default
RATES = (1e-2, 1e-3, 1e-4)
METHODS = ("QuasiDiagonalBackpropagatedMetricGradient", "BackpropagatedMetricGradient",
           "QuasiDiagonalOuterProductGradient", "DiagonalGaussNewton", "Adam", "MLP")
# steps and epochs of the first training, by which the next ones are planned
_FIRST = {"steps": 5, "epochs": 1}
_MOST_POINTS = 12
# how much less than the mean a further step may seem to take: two times are noisy
_MOST_GROWTH = 4
_CLEARLY_MORE = 1.5
# how much longer a next training is at least, and which share of a time is as good as all of it
_LEAST_GROWTH, _NEAR = 1.1, 0.9


@dataclass(frozen=True)
class Contender:
    """A method; `make` gives an estimator of a number of steps or epochs at most, `done` says how
    many a fitted one took."""

    name: str
    unit: str
    make: Callable[[int], Any]
    done: Callable[[Any], int]


@dataclass(frozen=True)
class Split:
    """Samples to train on and to score."""

    X: Any
    y: np.ndarray
    X_held: Any
    y_held: np.ndarray


def contenders(methods: tuple[str, ...], classification: bool, sparse: bool, seed: int,
               learning_rate: float | None = None, **options: Any) -> Iterator[Contender]:
    """Those of some optimizers' names and "MLP"; `options` are of the estimators."""
    kind = SparseNetClassifier if classification else SparseNetRegressor
    for method in methods:
        if method == "MLP":
            yield from _perceptrons(classification, sparse, seed)
            continue
        preset = PRESETS[method]
        rates = (None,) if preset.has_metric else RATES if learning_rate is None else (
            learning_rate,)
        for rate in rates:
            optimizer = preset(learning_rate=rate)
            name = method if rate is None else f"{method} {rate:g}"
            yield Contender(name, "steps", lambda steps, optimizer=optimizer: kind(
                optimizer=optimizer, max_steps=steps, selection="holdout", n_networks=1,
                random_state=seed, **options),
                lambda model: sum(map(len, model.histories_)))


def _perceptrons(classification: bool, sparse: bool, seed: int) -> Iterator[Contender]:
    """scikit-learn's, on the features as they are and on standardized ones."""
    kind = getattr(sklearn_module("neural_network"),
                   "MLPClassifier" if classification else "MLPRegressor")
    pipeline, scaler = (sklearn_module("pipeline").make_pipeline,
                        sklearn_module("preprocessing").StandardScaler)
    yield Contender("MLP", "epochs", lambda epochs: kind(max_iter=epochs, random_state=seed),
                    lambda model: model.n_iter_)
    yield Contender("scaler + MLP", "epochs", lambda epochs: pipeline(
        scaler(with_mean=not sparse), kind(max_iter=epochs, random_state=seed)),
        lambda model: model[-1].n_iter_)


def compare(split: Split, entered: Iterator[Contender], seconds: float,
            tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """The points of all curves: method, work, unit, seconds and scores, or the error's message.

    Ctrl-C ends it with the curves that are finished.
    """
    points = []
    for contender in entered:
        try:
            points += _curve(split, contender, seconds)
        except KeyboardInterrupt:
            tell("interrupted")
            break
        last = points[-1]
        tell(f"{contender.name}: {last['error']}" if "error" in last else
             f"{contender.name}: {last['work']} {last['unit']} in {last['seconds']:.2f} s")
    return points


def _curve(split: Split, contender: Contender, seconds: float) -> list[dict[str, Any]]:
    """Trainings of which each is planned by the times that those before took."""
    asked = [_FIRST[contender.unit]]
    points = [_point(split, contender, asked[0])]
    while "error" not in points[-1] and points[-1]["work"] >= asked[-1]:
        last = points[-1]["seconds"]
        target = next((share * seconds for share in SHARES if _NEAR * share * seconds > last), None)
        if target is None or len(points) >= _MOST_POINTS:
            break
        # beside a fixed time two trainings of nearly the same length tell little of a step's
        slopes = [(last - point["seconds"]) / (asked[-1] - work)
                  for point, work in zip(points, asked[:-1], strict=False)
                  if work * _CLEARLY_MORE < asked[-1]]
        per_work = max([last / asked[-1] / _MOST_GROWTH, *slopes])
        asked.append(max(round(asked[-1] + (target - last) / per_work),
                         int(np.ceil(_LEAST_GROWTH * asked[-1]))))
        points.append(_point(split, contender, asked[-1]))
    return points


def _point(split: Split, contender: Contender, work: int) -> dict[str, Any]:
    model = contender.make(work)
    point: dict[str, Any] = {"method": contender.name, "unit": contender.unit}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of what has not converged: that is the result
        start = time.perf_counter()
        try:
            model.fit(split.X, split.y)
        except (ValueError, FloatingPointError, MemoryError) as error:
            return point | {"work": work, "seconds": time.perf_counter() - start,
                            "error": " ".join(str(error).split()) or type(error).__name__}
        point |= {"work": contender.done(model), "seconds": time.perf_counter() - start}
        return point | scores(model, split.X_held, split.y_held)


def table(points: list[dict[str, Any]]) -> str:
    """The last point of each method, the best one first."""
    last = {point["method"]: point for point in points}
    names = next(([name for name in TITLES if name in point] for point in last.values()
                  if "error" not in point), [])
    rows = sorted(last.values(), key=lambda point: (
        "error" in point, 0 if "error" in point else -np.nan_to_num(point[names[0]], nan=-np.inf)))
    width = max(len(name) for name in last)
    lines = [" ".join([f"{'':{width}}", f"{'work':>16}", f"{'seconds':>8}",
                       *(f"{TITLES[name]:>22}" for name in names)])]
    for point in rows:
        cells = [f"{point['method']:{width}}", f"{point['work']:>9} {point['unit']:6}",
                 f"{point['seconds']:8.2f}"]
        cells += ([point["error"]] if "error" in point else
                  [f"{point[name]:22.4g}" for name in names])
        lines.append(" ".join(cells))
    return "\n".join(lines)


def run_comparison(arguments: argparse.Namespace, split: Split, result: dict[str, Any],
                   folder: Path, **options: Any) -> list[dict[str, Any]]:
    """--compare: the points of all curves, printed as a table and drawn into the folder.

    `result` is of the run before, which is one of the points; `options` are of the estimators.
    """
    methods = tuple(dict.fromkeys(arguments.compare)) or METHODS
    seconds = arguments.seconds or max(1.0, result["seconds"])
    classification = "accuracy" in result
    print(f"comparing {', '.join(methods)}: {seconds:.3g} s each", flush=True)
    entered = contenders(methods, classification, scipy.sparse.issparse(split.X), arguments.seed,
                         arguments.learning_rate, **options)
    own = {"method": "this run", "work": result["steps"], "unit": "steps",
           "seconds": result["seconds"]} | {name: result[name] for name in TITLES if name in result}
    points = [own, *compare(split, entered, seconds, lambda text: print(text, file=sys.stderr))]
    print(table(points))
    score = "accuracy" if classification else "r2"
    comparison(points, score, TITLES[score]).figure.savefig(folder / COMPARISON, dpi=150)
    print(f"picture: {folder / COMPARISON}", flush=True)
    return points
