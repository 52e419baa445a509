"""The folder that a run of the command line leaves its results in."""

from __future__ import annotations

import time
from pathlib import Path

MODEL, RECORD, PICTURE = "model.safetensors", "run.json", "loss.png"
CONFIG, NETWORK, HELD_OUT = "run.toml", "network.png", "held-out.png"


def given_folder(out: str) -> Path:
    """--out, made if need be, once it is clear that nothing there would be lost."""
    if not out:
        raise ValueError("--out names no folder")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--out: {str(folder)!r} is no folder")
    for name in (MODEL, RECORD, PICTURE, CONFIG, NETWORK, HELD_OUT):
        if (folder / name).exists():
            raise FileExistsError(f"--out: {str(folder)!r} already holds a {name}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
