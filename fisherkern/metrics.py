"""Metrics on parameter space [O sections 1 and 2]: explicit state, solve, matvec, to_dense."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from . import _pass, _step
from ._validation import (
    available_threads,
    finite_number,
    numeric_array,
    positive_integer,
    random_generator,
)
from .interpretations import check_draws, check_name
from .network import Network, raise_fault

# the per-sample weight c_k of each kind, as the kernels call what they leave in a unit's rows
SIGNALS = {"fisher": "values_fisher", "backpropagated": "values_modulus",
           "outer_product": "values_squares", "monte_carlo": "values_draws"}
KINDS = tuple(SIGNALS)
MOST_DRAWS = 2**31 - 1
REDUCTIONS = ("full", "unitwise", "quasi_diagonal", "diagonal")


def check_kind(kind: str, reduction: str) -> tuple[str, str]:
    """A known (kind, reduction) pair; the error names the argument."""
    check_name(kind, KINDS, "kind")
    check_name(reduction, REDUCTIONS, "reduction")
    if kind == "backpropagated" and reduction == "full":
        raise ValueError("the backpropagated metric has no full form; choose a reduction of "
                         "unitwise, quasi_diagonal or diagonal")
    return kind, reduction


def check_memory(net: Network, reduction: str) -> None:
    """MemoryError before a full matrix that the machine cannot hold is asked for."""
    if reduction != "full" or not hasattr(os, "sysconf"):
        return
    needed = 4 * 8 * net.n_parameters**2 / 2**30
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if needed > present:
        raise MemoryError(f"reduction 'full' of {net.n_parameters} parameters needs {needed:.0f} "
                          f"GiB, and this machine has {present:.0f}; choose unitwise or "
                          "quasi_diagonal")


def draw_targets(batch: _pass.Pass, draws: Any, rng: np.random.Generator,
                 n_samples: int) -> None:
    """Give a pass over drawn targets the checked `draws`, or random numbers from `rng`."""
    if draws is None:
        batch.set_draws(batch.random_numbers(rng, n_samples), True)
    else:
        batch.set_draws(draws, False)


def checked_draws(net: Network, draws: Any, kind: str | None, X: np.ndarray) -> Any:
    """`draws` as `draw_targets` takes them, in X's dtype; None stays None."""
    if draws is None:
        return None
    if kind != "monte_carlo":
        raise ValueError("draws are targets for kind 'monte_carlo'; "
                         + (f"kind {kind!r} has none" if kind else "this optimizer has none"))
    return check_draws(draws, net.interpretation, X.shape[0], net.n_outputs, X.dtype)


def metric(net: Network, X: Any, Y: Any = None, *, kind: str = "fisher",
           reduction: str = "unitwise", n_draws: int = 1, draws: Any = None, rng: Any = None,
           n_threads: int | None = None) -> Metric:
    """The mean over samples of a metric at the network's parameters.

    Every unitwise metric is A_ij = E_x a_i a_j c_k over unit k's incoming parameters, the bias's
    activity being 1; kinds differ in c_k, reductions in the entries they keep. A full matrix has
    the products across units too.

    Parameters
    ----------
    net : Network
    X : (n_samples, n_inputs) array_like
    Y : array_like, optional
        Targets, needed by kind "outer_product".
    kind : {"fisher", "backpropagated", "outer_product", "monte_carlo"}
        c_k is the reduced Fisher modulus [O Def. 3, 4]; the reduced backpropagated modulus
        [O Def. 7, 8]; the squared reduced backpropagated value [O Def. 14]; or the mean of its
        squares over targets drawn from the output distribution [O (100)], whose mean over draws is
        Fisher's.
    reduction : {"full", "unitwise", "quasi_diagonal", "diagonal"}
        The whole matrix [O Prop. 27], not for "backpropagated"; whole unit blocks; [O Def. 6]'s
        quasi-diagonal; the diagonal.
    n_draws : int
        Targets drawn per sample, kind "monte_carlo".
    draws : array_like, optional
        These targets instead: (n_samples, n_draws) class indices for softmax and spherical,
        (n_samples, n_draws, n_outputs) otherwise.
    rng : None, int or numpy.random.Generator
        Of the drawn targets, which do not depend on `n_threads`.

    Returns
    -------
    Metric
        Computed in float64 whatever the network's dtype, which its results have. Costs about
        four passes, one more per output (fisher) or draw (monte_carlo), plus
        O(n_samples sum fan_in^2) for unitwise and O(n_samples n_parameters^2) per direction for
        full.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and the first offending index.
    MemoryError
        The machine cannot hold the full matrix.
    """
    kind, reduction = check_kind(kind, reduction)
    n_draws = positive_integer(n_draws, "n_draws", most=MOST_DRAWS)
    if kind == "outer_product" and Y is None:
        raise ValueError("kind 'outer_product' needs Y")
    rng = random_generator(rng)
    X, Y = net._doubled(X, Y)
    draws = checked_draws(net, draws, kind, X)
    check_memory(net, reduction)
    targets = Y if kind == "outer_product" else None
    batch = net._pass("statistics", X, targets, n_threads, SIGNALS[kind], reduction,
                      n_draws if draws is None else draws.shape[1])
    if kind == "monte_carlo":
        draw_targets(batch, draws, rng, X.shape[0])
    shift = input_means(net, X) if reduction == "quasi_diagonal" else None
    batch.set_shift(shift)
    batch.run()
    raise_fault(batch)
    return _CLASSES[reduction](net, batch.sums(), shift, available_threads(n_threads))


def input_means(net: Network, X: np.ndarray) -> np.ndarray:
    """Origin for the statistics: means of the inputs, zero for other units, by position."""
    shift = np.zeros(net.n_units, X.dtype)
    step = max(1, X.shape[0] // 4096)
    shift[:net.n_inputs] = np.ravel(X[::step].mean(axis=0, dtype=np.float64))
    return shift


class Metric:
    """A symmetric positive semi-definite matrix on theta's free entries; frozen ones are zero.

    Subclasses hold the entries of one reduction. Built by `metric`.
    """

    def __init__(self, net: Network, sums: tuple, shift: np.ndarray | None,
                 n_threads: int) -> None:
        self._dag, self._dtype = net._dag, net.dtype
        self._n_inputs, self._n_units = net.n_inputs, net.n_units
        self._indptr = net.indptr
        self._frozen = net.frozen.copy()
        self._shift, self._n_threads = shift, n_threads
        self._sums = sums

    @property
    def shape(self) -> tuple[int, int]:
        return (self._frozen.size,) * 2

    def _vector(self, values: Any, name: str) -> np.ndarray:
        vector = numeric_array(values, name, np.float64)
        if vector.shape != self._frozen.shape:
            raise ValueError(f"{name} must have shape {self._frozen.shape}; got {vector.shape}")
        return np.where(self._frozen, 0.0, vector)

    def _cast(self, values: np.ndarray) -> np.ndarray:
        """In the network's dtype; what does not fit is infinite."""
        with np.errstate(over="ignore"):
            return values.astype(self._dtype, copy=False)

    def solve(self, g: Any, damping: float = 0.0) -> np.ndarray:
        """(A + damping)^-1 g, (n_parameters,); [O Remark 12].

        At damping 0, singular matrices give the minimum-norm solution (full, unitwise), or 0
        where the reduced variance vanishes (quasi-diagonal, diagonal). O(n_edges), or
        O(sum fan_in^3) for unitwise and O(n_parameters^3) for full.
        """
        g = self._vector(g, "g")
        damping = finite_number(damping, "damping", least=0)
        if self._shift is not None:
            # the kernel takes the gradient about the same origin as the moments
            origin = np.where(self._is_bias(), 0, self._shift[self._dag.source])
            g = g - origin * self._spread(g[self._indptr[:-1]])
        frozen = self._frozen.view(np.uint8) if self._frozen.any() else None
        direction = _step.solve(self._dag, _pass.REDUCTIONS[self.reduction],
                                np.ascontiguousarray(g), diagonal=self._sums.diagonal,
                                cross=self._sums.cross, blocks=self._sums.blocks,
                                full=self._sums.full, damping=damping, frozen=frozen,
                                shift=self._shift, n_threads=self._n_threads)
        return self._cast(direction)

    def matvec(self, v: Any, damping: float = 0.0) -> np.ndarray:
        """(A + damping) v, (n_parameters,); frozen entries are 0."""
        v = self._vector(v, "v")
        damping = finite_number(damping, "damping", least=0)
        product = self._product(v, damping)
        return self._cast(np.where(self._frozen, 0.0, product))

    def to_dense(self, damping: float = 0.0) -> np.ndarray:
        """(n_parameters, n_parameters) matrix, damping included."""
        damping = finite_number(damping, "damping", least=0)
        dense = np.zeros(self.shape)
        for k in range(self._n_units - self._n_inputs):
            span = slice(self._indptr[k], self._indptr[k + 1])
            dense[span, span] = self._unit(k, damping)
        return self._cast(dense)

    def diagonal(self) -> np.ndarray:
        """(n_parameters,) undamped diagonal."""
        return self._cast(np.where(self._frozen, 0.0, self._diagonal()))

    def _is_bias(self) -> np.ndarray:
        flags = np.zeros(self._frozen.size, bool)
        flags[self._indptr[:-1]] = True
        return flags

    def _spread(self, per_unit: np.ndarray) -> np.ndarray:
        """One value per unit to every entry of its block."""
        return np.repeat(per_unit, np.diff(self._indptr))

    def _free(self, k: int) -> np.ndarray:
        return ~self._frozen[self._indptr[k]:self._indptr[k + 1]]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape[0]} parameters, {self._dtype}>"


class DiagonalMetric(Metric):
    """The diagonal of the unitwise metric."""

    reduction = "diagonal"

    def _diagonal(self) -> np.ndarray:
        return self._sums.diagonal

    def _product(self, v: np.ndarray, damping: float) -> np.ndarray:
        return (self._diagonal() + damping) * v

    def _unit(self, k: int, damping: float) -> np.ndarray:
        span = slice(self._indptr[k], self._indptr[k + 1])
        return np.diag(np.where(self._free(k), self._sums.diagonal[span] + damping, 0.0))


class QuasiDiagonalMetric(Metric):
    """[O Def. 6]: A_00, A_0i, A_ii; elsewhere A_0i A_0j / A_00, damped first, then reduced.

    A unit whose bias is frozen keeps its diagonal alone.
    """

    reduction = "quasi_diagonal"

    def _moments(self) -> tuple[np.ndarray, ...]:
        """Per entry: A_00, A_0i and the reduced variance V_i (at a bias: A_00, 0, 0)."""
        diagonal, cross = self._sums.diagonal, self._sums.cross
        a00 = self._spread(diagonal[self._indptr[:-1]])
        bias = self._is_bias()
        origin = np.where(bias, 0.0, self._shift[self._dag.source])
        cross = np.where(bias, 0.0, cross)
        centred = np.divide(cross, a00, out=np.zeros_like(a00), where=a00 > 0)
        variance = np.where(bias, 0.0, np.maximum(diagonal - cross * centred, 0.0))
        return a00, (origin + centred) * a00, variance

    def _diagonal(self) -> np.ndarray:
        a00, first, variance = self._moments()
        squares = np.divide(first**2, a00, out=np.zeros_like(a00), where=a00 > 0)
        return np.where(self._is_bias(), a00, variance + squares)

    def _product(self, v: np.ndarray, damping: float) -> np.ndarray:
        a00, first, _ = self._moments()
        damped = a00 + damping
        slope = np.divide(first, damped, out=np.zeros_like(a00), where=damped > 0)
        carried = self._spread(~self._frozen[self._indptr[:-1]])
        first, slope = first * carried, slope * carried
        v0 = self._spread(v[self._indptr[:-1]])
        sums = self._spread(np.add.reduceat(first * v, self._indptr[:-1]))
        own = self._diagonal() + damping - first * slope
        return np.where(self._is_bias(), damped * v + sums, first * v0 + own * v + slope * sums)

    def _unit(self, k: int, damping: float) -> np.ndarray:
        span = slice(self._indptr[k], self._indptr[k + 1])
        free = self._free(k)
        own = self._diagonal()[span] + damping
        if not free[0]:
            return np.diag(np.where(free, own, 0.0))
        a00, first, _ = (moment[span] for moment in self._moments())
        outer = np.outer(first, first) / (a00[0] + damping) if a00[0] + damping > 0 else \
            np.zeros((first.size,) * 2)
        outer[0] = outer[:, 0] = first
        np.fill_diagonal(outer, own)
        return outer * np.outer(free, free)


class UnitwiseMetric(Metric):
    """Whole blocks A^(k), one per non-input unit [O Def. 13-14]."""

    reduction = "unitwise"

    def block(self, unit: int) -> np.ndarray:
        """(fan_in + 1, fan_in + 1) undamped block of a unit by its number, bias first."""
        if not isinstance(unit, (int, np.integer)):
            raise TypeError(f"unit must be an integer; got {unit!r}")
        if not self._n_inputs <= unit < self._n_units:
            raise ValueError(f"unit {unit} has no block; non-input units are {self._n_inputs} to "
                             f"{self._n_units - 1}")
        return self._cast(self._unit(unit - self._n_inputs, 0.0))

    def _unit(self, k: int, damping: float) -> np.ndarray:
        size = int(self._indptr[k + 1] - self._indptr[k])
        start = self._dag.place_blocks()[self._dag.position[self._n_inputs + k]]
        block = np.zeros((size, size))
        lower = np.tril_indices(size)
        block[lower] = self._sums.blocks[start:start + size * (size + 1) // 2]
        block.T[lower] = block[lower]
        free = self._free(k)
        return (block + damping * np.eye(size)) * np.outer(free, free)

    def _diagonal(self) -> np.ndarray:
        return np.concatenate([np.diag(self._unit(k, 0.0))
                               for k in range(self._n_units - self._n_inputs)])

    def _product(self, v: np.ndarray, damping: float) -> np.ndarray:
        return np.concatenate([
            self._unit(k, damping) @ v[self._indptr[k]:self._indptr[k + 1]]
            for k in range(self._n_units - self._n_inputs)])


class FullMetric(Metric):
    """The whole network's matrix E_x a_i a_j r_k r_k' J_k^T Omega J_k' [O Prop. 27], or the mean
    outer product of gradients."""

    reduction = "full"

    def to_dense(self, damping: float = 0.0) -> np.ndarray:
        damping = finite_number(damping, "damping", least=0)
        free = ~self._frozen
        return self._cast((self._matrix() + np.diag(damping * free)) * np.outer(free, free))

    def _matrix(self) -> np.ndarray:
        upper = self._sums.full
        return upper + np.triu(upper, 1).T

    def _diagonal(self) -> np.ndarray:
        return np.diag(self._sums.full)

    def _product(self, v: np.ndarray, damping: float) -> np.ndarray:
        upper = self._sums.full
        return upper @ v + v @ upper - self._diagonal() * v + damping * v


_CLASSES = {cls.reduction: cls
            for cls in (DiagonalMetric, QuasiDiagonalMetric, UnitwiseMetric, FullMetric)}
