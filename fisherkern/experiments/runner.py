"""Runs of an experiment over processes, kept in a folder: what was done is not done again."""

from __future__ import annotations

import io
import multiprocessing
import time
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

import numpy as np

from ..io import write_atomically


class Task(Protocol):
    """A run that can be sent to another process."""

    iterations: int

    @property
    def key(self) -> str: ...

    def compute(self) -> np.ndarray: ...


def compute_all(tasks: Iterable[Task], folder: Path, jobs: int,
                tell: Callable[[str], None]) -> dict[str, np.ndarray]:
    """The curve of each task, (at least iterations + 1,), by its key.

    A curve that `folder` holds is read. The others are computed by `jobs` processes of one thread
    each, which changes no number, and written as they come. Of tasks with one key the longest is
    run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    longest: dict[str, Task] = {}
    for task in tasks:
        if task.key not in longest or task.iterations > longest[task.key].iterations:
            longest[task.key] = task
    curves, waiting = {}, []
    for task in longest.values():
        kept = _read(folder / f"{task.key}.npz")
        if kept is not None and kept.size > task.iterations:
            curves[task.key] = kept
        else:
            waiting.append(task)
    # the longest first, so that no process is left alone with one at the end
    waiting.sort(key=lambda task: -task.iterations)
    if curves:
        tell(f"{len(curves)} runs are there already")
    start, said = time.monotonic(), 0.0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = {pool.submit(task.compute): task for task in waiting}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                key = futures[future].key
                curves[key] = future.result()
                _write(folder / f"{key}.npz", curves[key])
                spent = time.monotonic() - start
                if spent - said > 5 or done == len(waiting):
                    said = spent
                    left = spent / done * (len(waiting) - done)
                    tell(f"{done} of {len(waiting)} runs, {spent:.0f} s; about {left:.0f} s left")
        except BrokenProcessPool:
            raise OSError("a process of the runs was killed; the runs that ended are kept"
                          ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return curves


def _write(path: Path, curve: np.ndarray) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, bits=curve)
    write_atomically(path, stream.getvalue())


def _read(path: Path) -> np.ndarray | None:
    """The curve of a finished run, or None."""
    try:
        with np.load(path, allow_pickle=False) as file:
            bits = file["bits"]
        if bits.ndim == 1 and bits.dtype == np.float64:
            return bits
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, SyntaxError, zipfile.BadZipFile, zlib.error,
            tokenize.TokenError):
        pass
    raise ValueError(f"{str(path)!r} is no result of a run; delete it to have it done again")
