"""How the bench tests call pytest-benchmark: equal work per round within a group."""

from __future__ import annotations

from collections.abc import Callable

from .pairing import elapsed
from .setting import cases

REPEATS = {"W1": 100, "W2": 4, "W2d": 4, "W3": 1, "W4": 1}
SECONDS, FEWEST, MOST = 1.5, 3, 25
# NumPy and scipy run on one thread, whatever a title says
CASES = cases(REPEATS, 2)


def measure(benchmark, what: str, name: str, n_threads: int, run: Callable[[int], object]) -> None:
    """Time ``run(n)``, which repeats its work n times; the group's title says n."""
    n = REPEATS[name]
    threads = f"{n_threads} thread" + "s" * (n_threads > 1)
    benchmark.group = f"{name}, {what}, {threads}: {n} per round"
    rounds = int(SECONDS / elapsed(run, n))
    benchmark.pedantic(run, (n,), rounds=min(max(rounds, FEWEST), MOST))
    if benchmark.stats is not None:
        benchmark.extra_info["microseconds"] = benchmark.stats.stats.median / n * 1e6


def repeated(function: Callable[..., object], *args, **options) -> Callable[[int], None]:
    """A function of n that calls `function` n times."""
    def run(n: int) -> None:
        for _ in range(n):
            function(*args, **options)
    return run
