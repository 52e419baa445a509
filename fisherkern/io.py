"""Save and load networks: safetensors files of a few flat arrays, written atomically."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ._validation import numeric_array
from .network import Network

FORMAT, TABLE_FORMAT = "fisherkern.network", "fisherkern.table_model"
VERSION = 1
# what a file must hold, with the kind of its dtype and its number of dimensions
_ARRAYS = {"edges": ("iu", 2), "outputs": ("iu", 1), "activation": ("u", 1), "theta": ("f", 1),
           "frozen": ("b", 1)}
_DEFINITION = {"n_inputs": int, "interpretation": str, "leaky_slope": float, "activations": list,
               "dtype": str}


def safetensors_module() -> Any:
    """safetensors, or an ImportError that names the extra."""
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError("saving and loading networks needs safetensors: "
                          "pip install 'fisherkern[io]'") from None
    return safetensors


def save(net: Network, path: Any) -> None:
    """Write `net` to `path`: definition, parameters and frozen flags.

    The file appears whole or not at all: it is written beside its place and then renamed. A theta
    that is not finite is a ValueError.
    """
    definition, arrays = network_state(net)
    write_arrays(path, FORMAT, VERSION, definition, arrays)


def network_state(net: Network) -> tuple[dict, dict[str, np.ndarray]]:
    """What a file holds of a network, which must be finite."""
    definition, arrays = net._state()
    numeric_array(arrays["theta"], "theta", net.dtype)
    return definition, arrays


def write_arrays(path: Any, kind: str, version: int, definition: dict,
                 arrays: dict[str, np.ndarray]) -> None:
    """A safetensors file whose header says what it is."""
    check_target(path, "path")
    header = {"format": kind, "version": str(version), "definition": json.dumps(definition)}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomically(Path(path), safetensors_module().numpy.save(arrays, header))


def check_target(path: Any, name: str) -> None:
    """Raise before work begins if a network could not be saved to `path`."""
    safetensors_module()
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path; got {path!r}")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{name}: there is no folder {str(path.parent)!r}")
    if path.is_dir():
        raise IsADirectoryError(f"{name}: {str(path)!r} is a folder")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by a file of `data`; on any failure the old file stays."""
    name = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # not tempfile's: that one keeps others from reading, whatever the umask says
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def load(path: Any) -> Network:
    """Read a network that `Network.save` wrote.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is truncated, foreign, of a newer version, or its arrays make no network; the
        message names the file.
    """
    return read_arrays(path, FORMAT, network_from_state, "network")


def read_arrays(path: Any, kind: str, build: Callable[[dict, dict], Any], what: str) -> Any:
    """What `build` makes of the definition and the arrays that `write_arrays` wrote."""
    header, arrays = _read(path)
    try:
        return build(_definition(header, kind), arrays)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} holds no {what}: {error}") from None


def kind_of(path: Any) -> str | None:
    """What the header of a file says that it is."""
    return _read(path)[0].get("format")


def _read(path: Any) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    path = Path(path)
    open_file = safetensors_module().safe_open
    if not path.is_file():
        raise FileNotFoundError(f"no model file {str(path)!r}")
    try:
        with open_file(path, framework="numpy") as file:
            return file.metadata() or {}, {
                name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # the reader's error class is not public
        raise ValueError(f"{str(path)!r} is truncated or no safetensors file: {error}") from None


def network_from_state(definition: Any, arrays: dict[str, np.ndarray]) -> Network:
    """The inverse of `network_state`, of foreign data."""
    return Network._from_state(_checked_definition(definition), _checked(arrays))


def _definition(header: dict[str, str], kind: str) -> dict:
    if header.get("format") != kind:
        raise ValueError(f"its header says {header.get('format')!r} instead of {kind!r}")
    if header.get("version") != str(VERSION):
        raise ValueError(f"its format version is {header.get('version')!r}; "
                         f"this release reads version {VERSION}")
    definition = json.loads(header.get("definition", "null"))
    if not isinstance(definition, dict):
        raise ValueError("its definition is missing")
    return definition


def _checked_definition(definition: Any) -> dict:
    for name, kind in _DEFINITION.items():
        if not isinstance(definition.get(name), kind):
            raise ValueError(f"its definition lacks {name}")
    return definition


def _checked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for name, (kind, ndim) in _ARRAYS.items():
        if name not in arrays:
            raise ValueError(f"array {name!r} is missing")
        if arrays[name].dtype.kind not in kind or arrays[name].ndim != ndim:
            raise ValueError(f"array {name!r} has dtype {arrays[name].dtype} and shape "
                             f"{arrays[name].shape}")
    numeric_array(arrays["theta"], "theta", arrays["theta"].dtype)
    return arrays
