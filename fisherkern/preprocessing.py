"""What stands between a table of numbers and a network: units and tails of the features, equal
samples."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse

from .samples import Samples

# rows that are scaled at a time
_BLOCK = 4096
# a feature of which this share is further than _FAR spreads from the median has heavy tails: they
# begin at _NEAR spreads, others at _FAR
_TAIL_SHARE, _FAR, _NEAR = 1e-3, 60.0, 3.0
_MIDDLE, _MIDDLE_AND_TAIL = np.array([0.5]), np.array([0.5, 1 - _TAIL_SHARE])
_MOST = float(np.finfo(np.float64).max)
# sums of weights that differ by less are equal: their rounding depends on the samples' order
_TIE = 1e-9
Rows = np.ndarray | scipy.sparse.csr_array


@dataclass(frozen=True)
class Tails:
    """Entries further from their feature's median than a limit, whose distance grows from there
    only as its logarithm: limit + spread log(1 + (distance - limit) / spread)."""

    median: np.ndarray  # 0 of sparse samples
    spread: np.ndarray  # half the median distance of those that are not at the median
    limit: np.ndarray  # half of it too, so that no distance overflows

    @classmethod
    def of(cls, X: Rows, weights: np.ndarray | None) -> Tails:
        weights = np.ones(X.shape[0]) if weights is None else weights
        if scipy.sparse.issparse(X):
            X = X.tocsc()
            halves, weights = X.data.astype(np.float64) / 2, weights[X.indices]
            parts = [slice(*ends) for ends in pairwise(X.indptr.tolist())]
            tails = [_tails(halves[part], weights[part], 0.0) for part in parts]
        else:
            tails = [_tails(column.astype(np.float64) / 2, weights) for column in X.T]
        return cls(*np.array(tails).T.copy())

    def __call__(self, X: np.ndarray, features: Any = ...) -> np.ndarray:
        """Entries of these features, in float64 where any lies in the tails."""
        halves = X / 2 - self.median[features] / 2
        far = np.nonzero(np.abs(halves) > self.limit[features])
        if not far[0].size:
            return X
        median, spread, limit = (np.broadcast_to(values[features], X.shape)[far]
                                 for values in (self.median, self.spread, self.limit))
        beyond = np.log(spread + np.abs(halves[far]) - limit) - np.log(spread)
        out = X.astype(np.float64)
        out[far] = 2 * (median / 2 + np.copysign(limit + spread * beyond, halves[far]))
        return out


def _tails(halves: np.ndarray, weights: np.ndarray,
           middle: float | None = None) -> tuple[float, float, float]:
    """Median, spread and limit of a feature; the half of its median may be known."""
    if middle is None:
        (middle,) = _quantiles(halves, weights, _MIDDLE)
    distance = np.abs(halves - middle)
    apart = (distance > 0) & (weights > 0)
    if not apart.any():
        return 2 * middle, 1.0, _MOST
    spread, tail = _quantiles(distance[apart], weights[apart], _MIDDLE_AND_TAIL)
    limit = spread * (_NEAR if tail / _FAR > spread else _FAR)
    return 2 * middle, spread, min(limit, _MOST)


def _quantiles(values: np.ndarray, weights: np.ndarray, shares: np.ndarray) -> list[float]:
    """Weighted; halfway between two where either would do."""
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    goals = shares * sums[-1]
    first = sums.searchsorted(goals * (1 - _TIE))
    last = np.minimum(sums.searchsorted(goals * (1 + _TIE), side="right"), order.size - 1)
    return ((values[order[first]] + values[order[last]]) / 2).tolist()


@dataclass(frozen=True)
class Inputs:
    """(x - centre) / scale of each feature, its tails drawn in. Training does not depend on centre
    and scale; rounding does, in float32."""

    centre: np.ndarray | None  # None: the zeros of sparse samples stay zeros
    scale: np.ndarray
    tails: Tails | None = None  # None: as they are

    @classmethod
    def of(cls, X: Rows, weights: np.ndarray | None = None) -> Inputs:
        """By the range of each feature, which becomes [-1, 1]."""
        tails = Tails.of(X, weights)
        if scipy.sparse.issparse(X):
            largest = np.ravel(abs(X).max(axis=0).toarray())
            centre, scale = None, tails(largest).astype(np.float64)
        else:
            low, high = (tails(x).astype(np.float64) for x in (X.min(axis=0), X.max(axis=0)))
            scale = high / 2 - low / 2  # their difference might overflow
            centre = low + scale
        scale[scale == 0] = 1
        return cls(centre, scale, tails)

    @classmethod
    def raw(cls, n_features: int) -> Inputs:
        return cls(None, np.ones(n_features))

    def __call__(self, X: Rows, dtype: np.dtype | type) -> Rows:
        """Inputs of a network, computed in float64."""
        if scipy.sparse.issparse(X):
            if self.centre is None:
                data = X.data if self.tails is None else self.tails(X.data, X.indices)
                data = (data / self.scale[X.indices]).astype(dtype)
                return scipy.sparse.csr_array((data, X.indices, X.indptr), shape=X.shape)
            X = X.toarray()
        out = np.empty(X.shape, dtype)
        for first in range(0, X.shape[0], _BLOCK):
            rows = slice(first, first + _BLOCK)
            block = X[rows] if self.tails is None else self.tails(X[rows])
            out[rows] = (block if self.centre is None else block - self.centre) / self.scale
        return out


def moments(Y: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(n_outputs,) means and deviations of targets of any unit; of constants exactly 0."""
    unit = _power_of_two(np.abs(Y).max(axis=0))
    mean = np.average(Y / unit, axis=0, weights=weights) * unit
    mean = np.where((Y[0] == Y).all(axis=0), Y[0], mean)
    return mean, deviations(Y, mean, weights)


def deviations(Y: np.ndarray, centre: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(n_outputs,) root mean square distances from a centre."""
    unit = _power_of_two(np.maximum(np.abs(Y).max(axis=0), np.abs(centre)))
    squares = (Y / unit - centre / unit)**2
    return np.sqrt(np.average(squares, axis=0, weights=weights)) * unit


def standardized(Y: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(Y - mean) / deviation; zeros where the deviation is 0, all targets being the mean."""
    unit = _power_of_two(np.maximum(np.abs(mean), deviation))
    return (Y / unit - mean / unit) / np.where(deviation > 0, deviation / unit, 1)


def _power_of_two(largest: np.ndarray) -> np.ndarray:
    """Of about that size, so that neither squares nor differences leave the range of numbers."""
    return np.ldexp(1.0, np.where(largest > 0, np.frexp(largest)[1], 0) - 1)


def distinct(X: Rows, Y: np.ndarray, weights: np.ndarray | None) -> Samples:
    """The different samples, in an order of their own, with the sum of their weights (1 each).

    So a sample of weight 2 is the same as two of weight 1, and the order of samples is nothing.
    Sums below the number of samples are scaled up to it.
    """
    if scipy.sparse.issparse(X):
        X = X.copy()
        X.sum_duplicates()
        X.eliminate_zeros()
        entries = (X.indices.astype(np.int64), X.data)
        parts = [tuple(array[first:last] for array in entries)
                 for first, last in zip(X.indptr[:-1], X.indptr[1:], strict=True)]
    else:
        parts = [(row,) for row in np.ascontiguousarray(X)]
    digests = []
    for arrays, y in zip(parts, np.ascontiguousarray(Y), strict=True):
        # numbers come second, so that their unit changes no order but that of equal features
        digest = blake2b(y.tobytes() if Y.ndim == 1 else b"", digest_size=16)
        for array in arrays:
            digest.update(array)
        digests.append(digest.digest() + blake2b(y.tobytes(), digest_size=16).digest())
    _, rows, inverse = np.unique(np.array(digests, "S32"), return_index=True, return_inverse=True)
    total = np.bincount(inverse, weights)
    total = total * max(1.0, total.size / total.sum())
    return Samples(X[rows], Y[rows], None if (total == 1).all() else total)
