"""The folder that a run of the command line leaves its results in."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .io import write_atomically

MODEL, RECORD, PICTURE = "model.safetensors", "run.json", "loss.png"
CONFIG, NETWORK, HELD_OUT = "run.toml", "network.png", "held-out.png"
COMPARISON = "comparison.png"


@contextmanager
def given_folder(out: str | None) -> Iterator[Path | None]:
    """--out, if it is given, made if need be, once it is clear that nothing there would be lost.

    A folder that was made does not outlast a run that fails before it has written there.
    """
    if out is None:
        yield None
        return
    if not out:
        raise ValueError("--out names no folder")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--out: {str(folder)!r} is no folder")
    for name in (MODEL, RECORD, PICTURE, CONFIG, NETWORK, HELD_OUT, COMPARISON):
        if (folder / name).exists():
            raise FileExistsError(f"--out: {str(folder)!r} already holds a {name}")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise


def new_folder(name: str) -> Path:
    """A folder of results that was not there."""
    stem = Path("fisherkern-runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(1000):
        folder = stem if attempt == 0 else stem.with_name(f"{stem.name}-{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{stem} and its thousand successors exist")


def json_line(value: Any) -> str:
    """A score that is not defined is null."""
    return json.dumps(_defined(value))


def _defined(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _defined(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_defined(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """The record of a run, whole or not at all."""
    write_atomically(folder / RECORD, json_line(record).encode())
