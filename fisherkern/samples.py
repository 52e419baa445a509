"""The samples of a run: which are held out, how often each is taken, and those of each batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from ._validation import finite_number, first_place, numeric_array, sample_array
from .interpretations import check_targets
from .network import Network

# of sparse samples that are made dense at a time
_DENSE_BYTES = 2**26
# of an epoch of weighted samples that are shuffled at a time
_MOST_ROWS = 2**22


@dataclass
class Samples:
    """Checked samples, some of them perhaps with weights."""

    X: np.ndarray | scipy.sparse.csr_array  # (n, n_inputs)
    Y: np.ndarray
    weights: np.ndarray | None  # times that an epoch takes each; None: once

    @property
    def total(self) -> float:
        """Samples of an epoch."""
        return self.X.shape[0] if self.weights is None else float(self.weights.sum())

    @property
    def is_sparse(self) -> bool:
        return scipy.sparse.issparse(self.X)

    def take(self, rows: np.ndarray) -> Samples:
        return Samples(self.X[rows], self.Y[rows],
                       None if self.weights is None else self.weights[rows])

    def loss(self, net: Network, n_threads: int | None) -> float:
        """Mean loss in nats, weighted."""
        if self.weights is None and not self.is_sparse:
            return net.loss(self.X, self.Y, n_threads=n_threads)
        losses = np.concatenate([net.losses(X, self.Y[rows], n_threads=n_threads)
                                 for rows, X in dense_blocks(net, self.X)])
        if self.weights is None:
            return float(losses.mean())
        # a weight of 0 leaves out even what has no finite loss
        taken = self.weights > 0
        return float(np.average(losses[taken], weights=self.weights[taken]))

    def accuracy(self, net: Network, n_threads: int | None) -> float | None:
        """Weighted share of samples whose class is the most probable one; None without classes."""
        if self.Y.ndim != 1:
            return None
        outputs = forward(net, self.X, n_threads)
        if net.interpretation == "spherical":  # probabilities go with the squares
            outputs = np.abs(outputs)
        return float(np.average(outputs.argmax(axis=1) == self.Y, weights=self.weights))


def dense_samples(net: Network) -> int:
    """Samples of sparse data that are made dense at a time."""
    return max(1, _DENSE_BYTES // (net.n_inputs * net.dtype.itemsize))


def dense_rows(X: np.ndarray | scipy.sparse.csr_array, rows: Any) -> np.ndarray:
    """Some samples, dense."""
    chosen = X[rows]
    return chosen.toarray() if scipy.sparse.issparse(chosen) else chosen


def dense_blocks(net: Network, X: np.ndarray | scipy.sparse.csr_array
                 ) -> Iterator[tuple[slice, np.ndarray]]:
    """All samples, dense; sparse ones piece by piece."""
    n = X.shape[0]
    size = dense_samples(net) if scipy.sparse.issparse(X) else n
    for first in range(0, n, size):
        rows = slice(first, min(n, first + size))
        yield rows, dense_rows(X, rows)


def forward(net: Network, X: np.ndarray | scipy.sparse.csr_array,
            n_threads: int | None) -> np.ndarray:
    """(n_samples, n_outputs) output activities of checked samples, in the dtype of X."""
    out = np.empty((X.shape[0], net.n_outputs), X.dtype)
    for rows, block in dense_blocks(net, X):
        net._pass("forward", block, None, n_threads).run(outputs=out[rows])
    return out


def checked_samples(net: Network, X: Any, Y: Any, weights: Any = None,
                    names: tuple[str, str, str] = ("X", "Y", "sample_weight")) -> Samples:
    """Samples whose errors have these names."""
    X = sample_array(X, net.n_inputs, net.dtype, names[0], sparse=True)
    Y = check_targets(Y, net.interpretation, X.shape[0], net.n_outputs, net.dtype, names[1])
    if weights is not None:
        weights = checked_weights(weights, X.shape[0], names[2])
    return Samples(X, Y, weights)


def checked_weights(weights: Any, n_samples: int, name: str) -> np.ndarray:
    """(n_samples,) numbers of at least 0, one of them above."""
    weights = numeric_array(weights, name, np.dtype(np.float64))
    if weights.shape != (n_samples,):
        raise ValueError(f"{name} must have shape ({n_samples},); got {weights.shape}")
    if (weights < 0).any():
        (row,) = first_place(weights < 0)
        raise ValueError(f"{name}[{row}] = {weights[row]} is negative")
    if not 0 < weights.sum() < np.inf:
        raise ValueError(f"{name} must have a finite sum and at least one non-zero number; its sum "
                         f"is {weights.sum()}")
    return weights


def split(net: Network, samples: Samples, validation: Any,
          rng: np.random.Generator) -> tuple[Samples, Samples | None, np.ndarray]:
    """Training samples, the held-out ones (None without validation), and the training rows."""
    every = np.arange(samples.X.shape[0])
    if validation is None:
        return samples, None, every
    if isinstance(validation, (tuple, list)):
        if len(validation) not in (2, 3):
            raise ValueError(f"validation must be (X, Y), (X, Y, sample_weight) or a share; got "
                             f"{len(validation)} items")
        names = ("validation[0]", "validation[1]", "validation[2]")
        return samples, checked_samples(net, *validation, names=names), every
    share = finite_number(validation, "validation", above=0)
    n_held = round(share * every.size)
    if share >= 1 or not 1 <= n_held < every.size:
        raise ValueError(f"validation = {validation!r} holds out {n_held} of {every.size} samples")
    order = rng.permutation(every.size)
    held, kept = order[:n_held], np.sort(order[n_held:])
    training, held_out = samples.take(kept), samples.take(held)
    if training.total < 1 or held_out.total <= 0:
        raise ValueError(f"validation = {validation!r} leaves a sample_weight of {training.total} "
                         f"to train on, and holds out {held_out.total}")
    return training, held_out, kept


class Batches:
    """Rows of the coming steps: epoch by epoch shuffled, or in the given order online."""

    def __init__(self, mode: str, batch_size: int, samples: Samples,
                 rng: np.random.Generator) -> None:
        self._mode, self._batch_size, self._rng = mode, batch_size, rng
        self._n = samples.X.shape[0]
        # an epoch of large weights comes in pieces
        pieces = max(1, int(samples.total // _MOST_ROWS))
        self._ends = None if samples.weights is None else np.cumsum(samples.weights / pieces)
        self._rest = np.arange(self._n if mode == "whole" else 0)

    def take(self, n_steps: int) -> np.ndarray:
        if self._mode == "whole":
            return self._rest
        wanted = n_steps * self._batch_size
        parts, have = [self._rest], self._rest.size
        while have < wanted:
            parts.append(self.epoch())
            have += parts[-1].size
        rows = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self._rest = rows[wanted:]
        return rows[:wanted]

    def epoch(self) -> np.ndarray:
        """The rows of one epoch, or of a piece of it where weights are large."""
        if self._mode == "online":
            return np.arange(self._n)
        if self._ends is None:
            return self._rng.permutation(self._n)
        # each row as often as its weight says: rounded up or down at random, systematically
        last = np.floor(self._ends + self._rng.random()).astype(np.int64)
        return self._rng.permutation(np.repeat(np.arange(self._n), np.diff(last, prepend=0)))
