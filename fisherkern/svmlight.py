"""svmlight files: a target and numbered features, most of which are zero."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

SUFFIXES = (".svm", ".svmlight", ".libsvm")
TARGET = "target"
# every feature is an input unit
_MOST_FEATURES = 2**24


@dataclass(frozen=True)
class SparseTable:
    """A table of one column, the target, beside a sparse matrix; column i is feature number i."""

    target: Any  # pandas.Series; its index numbers the rows from 0
    matrix: scipy.sparse.csr_array

    columns = (TARGET,)

    def __len__(self) -> int:
        return len(self.target)

    def __contains__(self, name: str) -> bool:
        return name == TARGET

    def __getitem__(self, chosen: Any) -> Any:
        """The target by its name, or some rows."""
        if isinstance(chosen, str):
            return self.target
        return SparseTable(self.target[chosen], self.matrix[np.flatnonzero(chosen)])


@dataclass(frozen=True)
class NumberedFeatures:
    """Features 0 to n_features - 1; what a file does not name is zero, as everywhere in it, and
    numbers beyond those of the training file are left out."""

    n_features: int

    kind = "numbered features"
    missing = False

    @property
    def name(self) -> str:
        return f"up to {self.n_features - 1}"

    @property
    def width(self) -> int:
        return self.n_features

    def encode(self, table: Any, path: Any) -> scipy.sparse.csr_array:
        """(n_rows, n_features)"""
        if not isinstance(table, SparseTable):
            raise ValueError(f"{str(path)!r} is no svmlight file ({', '.join(SUFFIXES)}), and the "
                             "model was trained on one")
        X = table.matrix[:, :self.n_features].copy()
        X.resize(X.shape[0], self.n_features)
        return X


def read_svmlight(pandas: Any, path: Path) -> SparseTable:
    """The table in a file, whose faults are told with their line or row."""
    from .estimators import sklearn_module

    load = sklearn_module("datasets").load_svmlight_file
    data = path.read_bytes()
    try:
        X, y = load(io.BytesIO(data), zero_based=True)
    except (ValueError, OverflowError):
        line, reason = _first_fault(load, data.split(b"\n"))
        raise ValueError(f"{str(path)!r}, line {line}: {reason}") from None
    X = scipy.sparse.csr_array(X)
    if X.shape[1] > _MOST_FEATURES:
        raise ValueError(f"{str(path)!r} has a feature of number {X.shape[1] - 1}; they must be "
                         f"below {_MOST_FEATURES}")
    row_of = np.repeat(np.arange(1, y.size + 1), np.diff(X.indptr))
    for values, rows, place in ((y, np.arange(1, y.size + 1), lambda i: "the target"),
                                (X.data, row_of, lambda i: f"feature {X.indices[i]}")):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise ValueError(f"{str(path)!r}, row {rows[bad[0]]}, {place(bad[0])}: "
                             f"{values[bad[0]]} is no finite number")
    return SparseTable(pandas.Series(y, name=TARGET), X)


def _first_fault(load: Any, lines: list[bytes]) -> tuple[int, str]:
    """Number and fault of the first line that cannot be read, by halves."""
    first, last, reason = 0, len(lines), ""
    while first < last:
        middle = (first + last) // 2
        try:
            load(io.BytesIO(b"\n".join(lines[first:middle + 1])), zero_based=True)
        except (ValueError, OverflowError) as error:
            last, reason = middle, str(error)
        else:
            first = middle + 1
    return first + 1, reason
