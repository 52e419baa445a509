"""What stands between a table of numbers and a network: units of the features, equal samples."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import scipy.sparse

from .samples import Samples

# rows that are scaled at a time
_BLOCK = 4096
Rows = np.ndarray | scipy.sparse.csr_array


@dataclass(frozen=True)
class Inputs:
    """(x - centre) / scale of each feature. Training does not depend on that; rounding does, in
    float32."""

    centre: np.ndarray | None  # None: the zeros of sparse samples stay zeros
    scale: np.ndarray

    @classmethod
    def of(cls, X: Rows) -> Inputs:
        """By the range of each feature, which becomes [-1, 1]."""
        if scipy.sparse.issparse(X):
            centre, scale = None, np.ravel(abs(X).max(axis=0).toarray()).astype(np.float64)
        else:
            low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
            scale = high / 2 - low / 2  # their difference might overflow
            centre = low + scale
        scale[scale == 0] = 1
        return cls(centre, scale)

    @classmethod
    def raw(cls, n_features: int) -> Inputs:
        return cls(None, np.ones(n_features))

    def __call__(self, X: Rows, dtype: np.dtype | type) -> Rows:
        """Inputs of a network, computed in float64."""
        if scipy.sparse.issparse(X):
            if self.centre is None:
                data = (X.data / self.scale[X.indices]).astype(dtype)
                return scipy.sparse.csr_array((data, X.indices, X.indptr), shape=X.shape)
            X = X.toarray()
        out = np.empty(X.shape, dtype)
        for first in range(0, X.shape[0], _BLOCK):
            rows = slice(first, first + _BLOCK)
            centred = X[rows] if self.centre is None else X[rows] - self.centre
            out[rows] = centred / self.scale
        return out


def distinct(X: Rows, Y: np.ndarray, weights: np.ndarray | None) -> Samples:
    """The different samples, in an order of their own, with the sum of their weights (1 each).

    So a sample of weight 2 is the same as two of weight 1, and the order of samples is nothing.
    Sums below the number of samples are scaled up to it.
    """
    if scipy.sparse.issparse(X):
        entries = (X.indices.astype(np.int64), X.data)
        parts = [tuple(array[first:last] for array in entries)
                 for first, last in zip(X.indptr[:-1], X.indptr[1:], strict=True)]
    else:
        parts = [(row,) for row in np.ascontiguousarray(X)]
    digests = []
    for arrays, y in zip(parts, np.ascontiguousarray(Y), strict=True):
        digest = blake2b(y.tobytes(), digest_size=16)
        for array in arrays:
            digest.update(array)
        digests.append(digest.digest())
    _, rows, inverse = np.unique(np.array(digests, "S16"), return_index=True, return_inverse=True)
    total = np.bincount(inverse, weights)
    total = total * max(1.0, total.size / total.sum())
    return Samples(X[rows], Y[rows], None if (total == 1).all() else total)
