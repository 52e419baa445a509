"""Checks of arrays and numbers at the public boundary: each names the argument and the place."""

from __future__ import annotations

import operator
import os
from typing import Any

import numpy as np
import scipy.sparse

# more are never used; keeps any integer within C's range
_MOST_THREADS = 1024


def available_threads(n_threads: int | None = None) -> int:
    """The checked thread count; None means every core that this process may use."""
    if n_threads is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    return min(positive_integer(n_threads, "n_threads"), _MOST_THREADS)


def positive_integer(value: Any, name: str, least: int = 1, most: int | None = None) -> int:
    """`value` as an int in [least, most]; a boolean is none."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer; got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}; got {number}")
    if most is not None and number > most:
        raise ValueError(f"{name} must be at most {most}; got {number}")
    return number


def boolean(value: Any, name: str) -> bool:
    """`value` if it is one of True and False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def finite_number(value: Any, name: str, least: float | None = None, above: float | None = None,
                  most: float | None = None) -> float:
    """`value` as a float within [least, most] and above `above`."""
    if isinstance(value, (str, bytes, bool, np.bool_)) or not np.isscalar(value):
        raise TypeError(f"{name} must be a number; got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number; got {value!r}") from None
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite; got {value!r}")
    bad = ((least is not None and number < least)
           or (above is not None and number <= above) or (most is not None and number > most))
    if bad:
        bounds = [f"at least {least}" if least is not None else "",
                  f"above {above}" if above is not None else "",
                  f"at most {most}" if most is not None else ""]
        raise ValueError(f"{name} must be {' and '.join(filter(None, bounds))}; got {value!r}")
    return number


def place(index: tuple[int, ...]) -> str:
    """'[17, 3]'"""
    return "[" + ", ".join(map(str, map(int, index))) + "]"


def first_place(bad: np.ndarray) -> tuple[int, ...]:
    """Index of the first true entry in row-major order."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))


def raw_array(values: Any, name: str) -> np.ndarray:
    """Whatever array the values make, unchecked but for being one."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from None


def numeric_array(values: Any, name: str, dtype: np.dtype | type) -> np.ndarray:
    """A C-contiguous array of `dtype` with finite entries; read-only and strided input is fine.

    Raises
    ------
    TypeError
        The values are not real numbers.
    ValueError
        An entry is NaN, infinite, masked, or too large for `dtype`; its index is named.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        index = first_place(np.ma.getmaskarray(values))
        raise ValueError(f"{name}{place(index)} is masked; fill or drop missing values first")
    raw = raw_array(values, name)
    if raw.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {raw.dtype}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(raw, dtype=dtype).reshape(raw.shape)
    finite = np.isfinite(array)
    if not finite.all():
        index = first_place(~finite)
        value = raw[index]
        why = f"does not fit {np.dtype(dtype)}" if np.isfinite(value) else "is not finite"
        raise ValueError(f"{name}{place(index)} = {value} {why}")
    return array


def sample_array(X: Any, width: int, dtype: np.dtype, name: str = "X",
                 sparse: bool = False) -> np.ndarray | scipy.sparse.csr_array:
    """Checked samples of shape (n_samples, width), n_samples >= 1; with `sparse`, also those of
    scipy.sparse, as CSR."""
    is_sparse = sparse and scipy.sparse.issparse(X)
    shape = X.shape if is_sparse else raw_array(X, name).shape
    if len(shape) != 2 or shape[1] != width:
        if not is_sparse:  # a type error says more than the shape of what is no array at all
            numeric_array(X, name, dtype)
        raise ValueError(f"{name} must have shape (n_samples, {width}); got {shape}")
    if shape[0] == 0:
        raise ValueError(f"{name} has no samples; its shape is {shape}")
    return _csr_array(X, name, dtype) if is_sparse else numeric_array(X, name, dtype)


def _csr_array(X: Any, name: str, dtype: np.dtype) -> scipy.sparse.csr_array:
    """Rows of checked entries, each once."""
    rows = scipy.sparse.csr_array(X)
    try:
        data = numeric_array(rows.data, name, dtype)
    except ValueError:
        entries = rows.tocoo()
        bad = int(np.argmin(np.isfinite(entries.data.astype(dtype))))
        index = tuple(axis[bad] for axis in entries.coords)
        raise ValueError(f"{name}{place(index)} = {entries.data[bad]} is not finite or does not "
                         f"fit {np.dtype(dtype)}") from None
    rows = scipy.sparse.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def random_generator(rng: Any) -> np.random.Generator:
    """A Generator from None (fresh entropy), a seed or a Generator."""
    kinds = (int, np.integer, np.random.Generator, np.random.SeedSequence, np.random.BitGenerator)
    if isinstance(rng, bool) or not (rng is None or isinstance(rng, kinds)):
        raise TypeError(f"rng must be None, a seed or a numpy Generator; got {rng!r}")
    try:
        return np.random.default_rng(rng)
    except ValueError:
        raise ValueError(f"rng must be a non-negative seed; got {rng!r}") from None


def float_dtype(dtype: Any) -> np.dtype:
    """float32 or float64."""
    try:
        checked = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be 'float32' or 'float64'; got {dtype!r}") from None
    if checked not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be 'float32' or 'float64'; got {dtype!r}")
    return checked


def integer_array(values: Any, name: str) -> np.ndarray:
    """The values as they are, if they are integers."""
    array = raw_array(values, name)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers; got dtype {array.dtype}")
    return array


def frozen_flags(frozen: Any, size: int, what: str) -> np.ndarray:
    """(size,) booleans, one per `what`."""
    flags = raw_array(frozen, "frozen")
    if flags.dtype != bool:
        raise TypeError(f"frozen must be boolean; got dtype {flags.dtype}")
    if flags.shape != (size,):
        raise ValueError(f"frozen must have shape ({size},), one per {what}; got {flags.shape}")
    return flags
