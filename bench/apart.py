"""Functions and peers in processes of their own: libraries settle their threads when loaded."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import numpy as np


def alone(function: Callable[..., Any], *given: Any) -> Any:
    """What a function returns in a process that does nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


class Apart:
    """A peer's `gradient` and `run` by messages to a process that has `n_threads` processors.

    The process is given as many processors while the library starts, and all of them afterwards:
    XLA makes its pool of threads as large as what it is given at first. A message and its
    answer take some tens of microseconds once in a window, which is a few thousandths of it;
    data and parameters stay in the process.
    """

    form: tuple[str, str]

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        process = context.Process(target=_serve, daemon=True, args=(
            theirs, *self.form, n_threads, (net, X, Y, learning_rate)))
        process.start()
        theirs.close()
        self.close = weakref.finalize(self, _end, self._pipe, process)
        self._answer()

    def gradient(self) -> np.ndarray:
        return self._ask("gradient")

    def run(self, n_steps: int) -> None:
        """Steps of gradient descent."""
        self._ask("run", n_steps)

    def share(self, n_steps: int) -> float:
        """Processor time of a run over its time: how many threads it kept busy."""
        return self._ask("share", n_steps)

    def _ask(self, *message: Any) -> Any:
        self._pipe.send(message)
        return self._answer()

    def _answer(self) -> Any:
        value, fault = self._pipe.recv()
        if fault:
            raise RuntimeError(f"in the peer's process:\n{fault}")
        return value


def _end(pipe: Connection, process) -> None:
    pipe.close()
    process.join()


def _serve(pipe: Connection, module: str, name: str, n_threads: int, arguments: tuple) -> None:
    """Answer messages until the other end closes."""
    try:
        with processors(n_threads):
            peer = getattr(import_module(module), name)(*arguments)
        answer = None, None
    except Exception:
        peer, answer = None, (None, traceback.format_exc())
    pipe.send(answer)
    while peer is not None:
        try:
            call, *options = pipe.recv()
        except EOFError:
            return
        try:
            value = _share(peer.run, *options) if call == "share" else getattr(peer, call)(*options)
            answer = value, None
        except Exception:
            answer = None, traceback.format_exc()
        pipe.send(answer)


def _share(run, n_steps: int) -> float:
    start, used = time.perf_counter(), time.process_time()
    run(n_steps)
    return (time.process_time() - used) / (time.perf_counter() - start)


@contextmanager
def processors(n: int) -> Iterator[None]:
    """This process on n processors inside, on those that it had before afterwards."""
    if not hasattr(os, "sched_setaffinity"):
        if n == 1:
            raise RuntimeError("this system cannot give a process one processor")
        yield
        return
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(every)[:n])
    try:
        yield
    finally:
        for task in os.listdir("/proc/self/task"):  # threads made inside have inherited the few
            os.sched_setaffinity(int(task), every)
