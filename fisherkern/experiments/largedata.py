"""The default classifier on many samples beside what else one would take:
`python -m fisherkern.experiments.largedata --update docs/realdata.md`.

Samples are those of scikit-learn's `make_classification` (50 features, 20 of them informative and
10 mixtures of those, 5 classes of 4 clusters, 2 % of the labels random), with 50,000 more to score.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import process_time

import numpy as np

from ..estimators import sklearn_module
from .marks import parse_target, update
from .realdata import METHODS, one_thread, seconds_shown
from .runner import compute_all

SIZES = (20_000, 60_000, 200_000)
MARK = "large data"
SHOWN = ("fisherkern", "scaler + MLP", "scaler + linear", "gradient boosting")
_SCORED = 50_000
_CLASSES = 5


@lru_cache(maxsize=1)
def samples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """`n` training samples and those to score, which are the last."""
    return sklearn_module("datasets").make_classification(
        n + _SCORED, 50, n_informative=20, n_redundant=10, n_classes=_CLASSES,
        n_clusters_per_class=4, flip_y=0.02, random_state=0)


@dataclass(frozen=True)
class Trial:
    """One fit of a number of samples; gives accuracy and processor seconds."""

    size: int
    method: str
    iterations: int = 1

    @property
    def key(self) -> str:
        return f"{self.method.replace(' + ', '-').replace(' ', '-').lower()}-{self.size}"

    def compute(self) -> np.ndarray:
        X, y = samples(self.size)
        model = METHODS[self.method](_CLASSES, 0, X.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what has not converged
            start = process_time()
            model.fit(X[:self.size], y[:self.size])
            seconds = process_time() - start
            return np.array([model.score(X[self.size:], y[self.size:]), seconds])


def table(results: dict[str, np.ndarray]) -> str:
    """Accuracy and seconds of a fit."""
    rows = ["| accuracy (seconds) | " + " | ".join(f"{size:,} samples" for size in SIZES) + " |",
            "|---|" + "--:|" * len(SIZES)]
    for method in SHOWN:
        scores = [results[Trial(size, method).key] for size in SIZES]
        cells = [f"{accuracy:.3f} ({seconds_shown(seconds)})" for accuracy, seconds in scores]
        rows.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("fisherkern-runs/largedata"),
                        help="folder that keeps what was done")
    given = parse_target(parser, MARK)
    tasks = [Trial(size, method) for size in SIZES for method in SHOWN]
    one_thread()
    results = compute_all(tasks, given.out, 1, lambda text: print(text, file=sys.stderr))
    update(given.update, MARK, table(results))


if __name__ == "__main__":
    main()
