"""Activations and output interpretations: names, codes and the targets that each one takes.

The formulas are in src/fisherkern/simd/activations.h and output.h [O Example 1, Def. 3].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._validation import first_place, numeric_array, place, positive_integer, raw_array

# in the order of enum fk_activation
ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "erf", "lecun_tanh", "softplus",
               "silu", "gelu")
# in the order of enum fk_interpretation
INTERPRETATIONS = ("square", "bernoulli", "softmax", "spherical")

# their slope is read off the activity; that of the others is kept by the forward pass
SLOPE_FROM_ACTIVITY = ("identity", "relu", "leaky_relu")
# enum fk_keeps
KEEPS_SLOPE, KEEPS_Z = 1, 2
RELU_FAMILY = frozenset({"relu", "leaky_relu", "softplus", "silu", "gelu"})
# activities in a known interval, which Bernoulli outputs map to probabilities
BERNOULLI_ACTIVATIONS = ("sigmoid", "tanh", "erf", "lecun_tanh")


def check_name(name: Any, known: tuple[str, ...], what: str, where: str = "") -> str:
    """`name` if it is known; ValueError that lists the known ones otherwise."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"unknown {what} {name!r}{where}; known: {', '.join(known)}")
    return name


def unit_activations(activation: Any, n_inputs: int, n_units: int) -> tuple[str, ...]:
    """The checked name of every non-input unit."""
    n = n_units - n_inputs
    if isinstance(activation, str):
        return (check_name(activation, ACTIVATIONS, "activation"),) * n
    if isinstance(activation, Mapping):
        names = ["tanh"] * n
        for unit, name in activation.items():
            k = positive_integer(unit, "a unit of activation", least=0)
            if not n_inputs <= k < n_units:
                raise ValueError(f"activation names unit {k}; non-input units are "
                                 f"{n_inputs} to {n_units - 1}")
            names[k - n_inputs] = name
    else:
        if not np.iterable(activation):
            raise TypeError(f"activation must be a name, a sequence of names or a mapping; "
                            f"got {activation!r}")
        names = list(activation)
        if len(names) != n:
            raise ValueError(f"activation must have one name per non-input unit ({n}); "
                             f"got {len(names)}")
    for k, name in enumerate(names):
        check_name(name, ACTIVATIONS, "activation", f" of unit {k + n_inputs}")
    return tuple(map(str, names))


def check_bernoulli_outputs(outputs: Any, activations: tuple[str, ...], n_inputs: int) -> None:
    """ValueError on an output whose activity is no probability."""
    for unit in outputs:
        name = activations[unit - n_inputs]
        if name not in BERNOULLI_ACTIVATIONS:
            raise ValueError(f"output unit {unit} is {name}; Bernoulli outputs must be one of "
                             + ", ".join(BERNOULLI_ACTIVATIONS))


def check_targets(Y: Any, interpretation: str, n_samples: int, n_outputs: int,
                  dtype: np.dtype, name: str = "Y") -> np.ndarray:
    """Targets as the kernels take them.

    Parameters
    ----------
    Y : array_like
        (n_samples, n_outputs), or (n_samples,) for a single output; class indices (n_samples,)
        for softmax and spherical.

    Returns
    -------
    ndarray
        (n_samples, n_outputs) of `dtype`, or (n_samples,) int64 class indices.

    Raises
    ------
    TypeError, ValueError
        With the first offending index.
    """
    shape = raw_array(Y, name).shape
    by_class = interpretation in ("softmax", "spherical")
    fits = len(shape) == 2 and shape[1] == n_outputs
    flat = len(shape) == 1 and (by_class or n_outputs == 1)
    if not (fits or flat):
        numeric_array(Y, name, dtype)
        also = " or (n_samples,)" if by_class or n_outputs == 1 else ""
        raise ValueError(f"{name} must have shape (n_samples, {n_outputs}){also}; got {shape}")
    if shape[0] != n_samples:
        raise ValueError(f"{name} has {shape[0]} rows and X has {n_samples}")
    if flat and by_class:
        return _class_indices(Y, n_outputs, name)
    targets = numeric_array(Y, name, dtype).reshape(n_samples, n_outputs)
    if interpretation == "square":
        return targets
    _check_probabilities(targets, name, len(shape))
    if by_class:
        off = np.abs(targets.sum(axis=1, dtype=np.float64) - 1) > 1e-4
        if off.any():
            row = first_place(off)[0]
            total = targets[row].sum(dtype=np.float64)
            raise ValueError(f"{name}[{row}] sums to {total}, not to 1")
    return targets


def check_draws(draws: Any, interpretation: str, n_samples: int, n_outputs: int,
                dtype: np.dtype) -> np.ndarray:
    """Drawn targets as the kernels take them.

    Parameters
    ----------
    draws : array_like
        (n_samples, n_draws) class indices for softmax and spherical; otherwise
        (n_samples, n_draws, n_outputs).

    Raises
    ------
    TypeError, ValueError
        With the first offending index.
    """
    shape = raw_array(draws, "draws").shape
    by_class = interpretation in ("softmax", "spherical")
    wanted = "(n_samples, n_draws)" if by_class else f"(n_samples, n_draws, {n_outputs})"
    if len(shape) != (2 if by_class else 3) or (not by_class and shape[2] != n_outputs):
        raise ValueError(f"draws must have shape {wanted}; got {shape}")
    if shape[0] != n_samples:
        raise ValueError(f"draws has {shape[0]} rows and X has {n_samples}")
    if shape[1] == 0:
        raise ValueError(f"draws has no draw; its shape is {shape}")
    if by_class:
        return _class_indices(draws, n_outputs, "draws")
    targets = numeric_array(draws, "draws", dtype)
    if interpretation == "bernoulli":
        _check_probabilities(targets, "draws", 3)
    return targets


def _check_probabilities(targets: np.ndarray, name: str, n_shown: int) -> None:
    """ValueError with the first `n_shown` indices of an entry outside of [0, 1]."""
    bad = (targets < 0) | (targets > 1)
    if bad.any():
        index = first_place(bad)
        raise ValueError(f"{name}{place(index[:n_shown])} = {targets[index]} is no probability")


def _class_indices(values: Any, n_outputs: int, name: str) -> np.ndarray:
    values = numeric_array(values, name, np.float64)
    bad = (values != np.floor(values)) | (values < 0) | (values >= n_outputs)
    if bad.any():
        index = first_place(bad)
        raise ValueError(f"{name}{place(index)} = {values[index]:g} is no class index "
                         f"in 0..{n_outputs - 1}")
    return np.ascontiguousarray(values, np.int64)
