"""Ratios of two running times that hold on a busy machine: windows of both in turn."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

Run = Callable[[int], object]
# seconds that n repeats take
Timer = Callable[[Run, int], float]


class Paired(NamedTuple):
    """Median seconds per repeat of each side, and the median of the windows' ratios a / b.

    `low` and `high` bound the ratio's median with 95 % confidence (order statistics; windows
    taken as independent); over processes they are the range (`repeated`).
    """

    a: float
    b: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.low:.2f}-{self.high:.2f})"


def elapsed(run: Run, n: int) -> float:
    start = time.perf_counter()
    run(n)
    return time.perf_counter() - start


def paired(a: Run, b: Run, *, windows: int = 31, seconds: float = 0.02,
           pause: float = 0.0, timer: Timer = elapsed) -> Paired:
    """Time ``a(n)`` against ``b(n)``, each of which repeats its work n times.

    Parameters
    ----------
    a, b : callable
    windows : int
        Pairs of windows; every other pair runs b first, so that a drift cancels.
    seconds : float
        Length of one window, by the choice of n for each side; at least one repeat.
    pause : float
        Seconds of sleep before each window.
    timer : callable
        What takes the time of ``run(n)``; another one than this process's clock where the work is
        done in another process.
    """
    sides = (a, b)
    with no_collection():
        counts = [repeats(run, seconds, timer) for run in sides]
        times = np.empty((windows, 2))
        for window in range(windows):
            for side in (0, 1) if window % 2 == 0 else (1, 0):
                if pause:
                    time.sleep(pause)
                times[window, side] = timer(sides[side], counts[side]) / counts[side]
    ratios = np.sort(times[:, 0] / times[:, 1])
    low, high = median_interval(ratios)
    return Paired(*np.median(times, axis=0).tolist(), float(np.median(ratios)), low, high)


def median_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Distribution-free interval of the median: the k-th smallest and k-th largest of n values,
    k the largest with P(Binomial(n, 1/2) < k) <= (1 - confidence) / 2 (at least 1)."""
    values = np.sort(values)
    k = int(binom.ppf((1 - confidence) / 2, values.size, 0.5))
    k = min(max(k, 1), (values.size + 1) // 2)
    return float(values[k - 1]), float(values[-k])


def repeats(run: Run, seconds: float, timer: Timer = elapsed) -> int:
    """How many repeats fill a window, after a warm-up."""
    n = 1
    while (spent := timer(run, n)) < seconds / 4:
        n *= 2
    run(n)
    return max(1, math.ceil(n * seconds / min(spent, timer(run, n))))


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage collection inside, after one before."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
