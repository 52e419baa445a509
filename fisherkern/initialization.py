"""Initial parameters: [O section 4]'s scheme, and one that adapts to the data's units."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy.sparse

from . import _pass
from .interpretations import ACTIVATIONS, RELU_FAMILY

# what one array of activities may take when the data scheme looks at its samples
_ACTIVITY_BYTES = 2**29
# whose parameters are drawn at once, so that what that takes does not count
_UNITS_AT_A_TIME = 2**14


def ollivier(net, rng: np.random.Generator) -> np.ndarray:
    """theta by [O section 4], in the network's dtype: w ~ N(0, 1)/sqrt(fan-in), biases 0; sigmoid
    units correspond to tanh ones (w = 4 w_tanh, w_0k = -sum_i w_ik / 2); the relu family is times
    sqrt(2)."""
    theta = np.empty(net.n_parameters, net.dtype)
    for first in range(0, len(net.activations), _UNITS_AT_A_TIME):
        names = net.activations[first:first + _UNITS_AT_A_TIME]
        starts = net.indptr[first:first + len(names) + 1]
        theta[starts[0]:starts[-1]] = _ollivier_blocks(names, starts, rng)
    return theta


def _ollivier_blocks(names: tuple[str, ...], starts: np.ndarray,
                     rng: np.random.Generator) -> np.ndarray:
    """The parameters of units with these activations, whose blocks start there."""
    fan_in = np.diff(starts) - 1
    unit = np.repeat(np.arange(fan_in.size), fan_in)
    kinds = np.array(names)
    gain = np.select([kinds == "sigmoid", np.isin(kinds, sorted(RELU_FAMILY))],
                     [4.0, np.sqrt(2.0)], 1.0)
    weights = rng.standard_normal(unit.size) * (gain / np.sqrt(fan_in))[unit]
    sums = np.bincount(unit, weights, minlength=fan_in.size)
    theta, is_weight = np.empty(starts[-1] - starts[0]), np.ones(starts[-1] - starts[0], bool)
    is_weight[starts[:-1] - starts[0]] = False
    theta[is_weight] = weights
    theta[~is_weight] = np.where(kinds == "sigmoid", -sums / 2, 0.0)
    return theta


class _Activities:
    """Activities by position and sample; those of inputs may stay sparse. The kernels' rows are
    multiples of 64 samples; the surplus repeats the last one."""

    def __init__(self, net, X, rng: np.random.Generator) -> None:
        self._first = net.n_inputs if scipy.sparse.issparse(X) else 0  # that is held below
        n_held = net.n_units - self._first
        most = max(32, min(500, _ACTIVITY_BYTES // (8 * n_held)))
        if self._first:  # what is rare is not seen by few samples
            low, high = (np.ravel(ends.toarray()) for ends in (X.min(axis=0), X.max(axis=0)))
            self._ends = low, high
        if X.shape[0] > most:
            X = X[np.sort(rng.choice(X.shape[0], most, replace=False))]
        self.n_samples = X.shape[0]
        columns = np.minimum(np.arange(-(-X.shape[0] // 64) * 64), X.shape[0] - 1)
        self._held = np.zeros((n_held, columns.size))
        if self._first:
            self._inputs = X[columns].T.tocsr()
        else:
            self._held[:net.n_inputs] = X[columns].T

    def __setitem__(self, positions: np.ndarray, values: np.ndarray) -> None:
        self._held[positions - self._first] = values

    def ends(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest of each; `positions` ascend."""
        n_inputs = np.searchsorted(positions, self._first)
        held = self._held[positions[n_inputs:] - self._first, :self.n_samples]
        ends = held.min(axis=1), held.max(axis=1)
        if not n_inputs:
            return ends
        return tuple(np.concatenate([of_input[positions[:n_inputs]], of_unit])
                     for of_input, of_unit in zip(self._ends, ends, strict=True))

    def sums(self, weights: scipy.sparse.csr_array) -> np.ndarray:
        """Weighted sums of the first activities."""
        if not self._first:
            return weights @ self._held[:weights.shape[1]]
        return (weights[:, :self._first] @ self._inputs).toarray() + (
            weights[:, self._first:] @ self._held[:weights.shape[1] - self._first])


def from_data(net, X, rng: np.random.Generator) -> np.ndarray:
    """theta scaled to the data, level by level on at most 500 samples.

    Weights are N(0, 1) * 4 / range(a_i) (0 on constant sources), scaled so that every
    pre-activation has mean 0 and deviation 1, or 0.3 for outputs. Frozen entries keep their value
    and count in the mean. Ranges of sparse inputs are those of all samples.
    """
    noise = rng.standard_normal(net.n_edges)
    activities = _Activities(net, X, rng)
    theta = net.theta.astype(np.float64)
    draws = np.zeros(net.n_parameters)
    draws[net._weight_mask] = noise
    for first, last in pairwise(net._dag.level_starts[1:]):
        _scale_level(net, theta, draws, activities, first, last)
    return theta


def _scale_level(net, theta, draws, activities, first, last):
    """Set the parameters of the units at positions [first, last) and their activities."""
    dag, m = net._dag, activities.n_samples
    size = dag.fan_in[first:last].astype(np.int64)
    block = dag.block[first:last]
    starts = np.concatenate([[0], np.cumsum(size)])
    entry = np.arange(starts[-1]) - np.repeat(starts[:-1], size) + np.repeat(block, size) + 1
    source = dag.source[entry]
    used = np.unique(source)
    low, high = activities.ends(used)
    with np.errstate(over="ignore"):
        width = high - low
    if not np.isfinite(width).all():
        unit = net._order[used[np.argmin(np.isfinite(width))]]
        raise ValueError(f"X: the activities of unit {unit} range over more than float64 holds")
    moving = width > 1e-6 * np.maximum(-low, high)
    scale = np.divide(4.0, width, out=np.zeros_like(width), where=moving)
    frozen = net.frozen[entry]
    free = np.where(frozen, 0.0, draws[entry] * scale[np.searchsorted(used, source)])

    def products(values):
        return activities.sums(scipy.sparse.csr_array((values, source, starts),
                                                      shape=(last - first, first)))

    z = products(free)
    deviation = z[:, :m].std(axis=1)
    outputs = np.isin(np.arange(first, last), dag.outputs)
    goal = np.where(outputs, 0.3, 1.0)
    # the rounding of a constant sum is no deviation
    varies = deviation > 1e-12 * np.abs(z[:, :m]).max(axis=1, initial=0)
    factor = np.divide(goal, deviation, out=np.zeros_like(goal), where=varies)
    theta[entry] = np.where(frozen, theta[entry], free * np.repeat(factor, size))
    z *= factor[:, None]
    if frozen.any():
        z += products(np.where(frozen, theta[entry], 0.0))
    bias_frozen = net.frozen[block]
    theta[block] = np.where(bias_frozen, theta[block], -z[:, :m].mean(axis=1))
    z += theta[block][:, None]
    codes = np.array([ACTIVATIONS.index(net.activations[k - net.n_inputs])
                      for k in net._order[first:last]])
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        activities[first + rows] = _pass.activate(np.ascontiguousarray(z[rows]), int(code),
                                                  net.leaky_slope)
