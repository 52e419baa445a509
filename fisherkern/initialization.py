"""Initial parameters: [O section 4]'s scheme, and one that adapts to the data's units."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from . import _pass
from .interpretations import ACTIVATIONS, RELU_FAMILY

# what one array of activities may take when the data scheme looks at its samples
_ACTIVITY_BYTES = 2**29


def ollivier(net, rng: np.random.Generator) -> np.ndarray:
    """theta by [O section 4]: w ~ N(0, 1)/sqrt(fan-in), biases 0; sigmoid units correspond to
    tanh ones (w = 4 w_tanh, w_0k = -sum_i w_ik / 2); the relu family is times sqrt(2)."""
    fan_in = np.diff(net.indptr) - 1
    unit = np.repeat(np.arange(fan_in.size), fan_in)
    kinds = np.array(net.activations)
    gain = np.select([kinds == "sigmoid", np.isin(kinds, sorted(RELU_FAMILY))],
                     [4.0, np.sqrt(2.0)], 1.0)
    weights = rng.standard_normal(unit.size) * (gain / np.sqrt(fan_in))[unit]
    sums = np.bincount(unit, weights, minlength=fan_in.size)
    theta = np.zeros(net.n_parameters)
    theta[net._weight_mask] = weights
    theta[net.indptr[:-1]] = np.where(kinds == "sigmoid", -sums / 2, 0.0)
    return theta


def from_data(net, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """theta scaled to the data, level by level on at most 500 samples.

    Weights are N(0, 1) * 4 / range(a_i) (0 on constant sources), scaled so that every
    pre-activation has mean 0 and deviation 1, or 0.3 for outputs. Frozen entries keep their value
    and count in the mean.
    """
    noise = rng.standard_normal(net.n_edges)
    most = max(32, min(500, _ACTIVITY_BYTES // (8 * net.n_units)))
    if X.shape[0] > most:
        X = X[np.sort(rng.choice(X.shape[0], most, replace=False))]
    m = X.shape[0]
    # the kernels' rows are multiples of 64 samples; the surplus repeats the last one
    columns = np.minimum(np.arange(-(-m // 64) * 64), m - 1)
    activities = np.zeros((net.n_units, columns.size))
    activities[:net.n_inputs] = X[columns].T
    theta = net.theta.astype(np.float64)
    draws = np.zeros(net.n_parameters)
    draws[net._weight_mask] = noise
    level = net._dag.levels[net._order]
    for first, last in _level_bounds(level, net.n_inputs):
        _scale_level(net, theta, draws, activities, first, last, m)
    return theta


def _level_bounds(level: np.ndarray, n_inputs: int):
    """(first, last) positions of each level after the inputs."""
    starts = np.flatnonzero(np.diff(level[n_inputs:], prepend=-1)) + n_inputs
    return zip(starts, [*starts[1:], level.size], strict=True)


def _scale_level(net, theta, draws, activities, first, last, m):
    """Set the parameters of the units at positions [first, last) and their activities."""
    dag = net._dag
    size = dag.fan_in[first:last].astype(np.int64)
    block = dag.block[first:last]
    starts = np.concatenate([[0], np.cumsum(size)])
    entry = np.arange(starts[-1]) - np.repeat(starts[:-1], size) + np.repeat(block, size) + 1
    source = dag.source[entry]
    used = np.unique(source)
    a = activities[used, :m]
    with np.errstate(over="ignore"):
        width = a.max(axis=1) - a.min(axis=1)
    if not np.isfinite(width).all():
        unit = net._order[used[np.argmin(np.isfinite(width))]]
        raise ValueError(f"X: the activities of unit {unit} range over more than float64 holds")
    moving = width > 1e-6 * np.abs(a).max(axis=1)
    scale = np.divide(4.0, width, out=np.zeros_like(width), where=moving)
    frozen = net.frozen[entry]
    free = np.where(frozen, 0.0, draws[entry] * scale[np.searchsorted(used, source)])

    def products(values):
        return scipy.sparse.csr_array((values, source, starts),
                                      shape=(last - first, first)) @ activities[:first]

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
