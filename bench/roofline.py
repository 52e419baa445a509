"""Steps beside the machine's limits: `python -m bench.roofline [--workloads W1 W2 ...]`.

Work is counted from the network as docs/methods.md, Costs, counts it, and so are reads:

* rows: the inner loops read, for each edge and sample, the activity of the source (forward), the
  signals of the target (backward, but for edges out of inputs; value, and modulus where there is
  one) and the activity again (sums over samples). Where sums are taken by sources, they are those
  of the targets' signals, of all edges, read in the backward pass itself or right behind it, then
  from the nearest cache: counted once. Rows come from a cache or memory; which one depends on the
  network.
* edges: indices, weights and sums of each edge, once per step at least (a tile of 16 to 64 samples
  at a time, so up to that many times less often than rows).

Work per unit and per output is left out of both, and so is what the last tile computes in vain:
the rates achieved are lower bounds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fisherkern import Network
from fisherkern._validation import available_threads

from . import oracles, peaks
from .loop import stepper
from .pairing import paired
from .peaks import Peaks
from .setting import NAMES, WINDOWS, cases, conditions, program

STEPS = ("backpropagation", "quasi-diagonal")
INDEX = 4  # bytes of a unit's number


class Counts(NamedTuple):
    """Of one step: flops, bytes of rows, bytes of edges."""

    flops: int
    row_bytes: int
    edge_bytes: int

    @property
    def intensity(self) -> float:
        """Flops per byte."""
        return self.flops / (self.row_bytes + self.edge_bytes)


def by_source(net: Network, X: np.ndarray, Y: np.ndarray, step: str) -> bool:
    """Whether a step takes its sums in the backward pass, or right behind it."""
    signals, statistics = {"backpropagation": ("values", "none"),
                           "quasi-diagonal": ("values_modulus", "quasi_diagonal")}[step]
    return net._pass("statistics", X, Y, 1, signals, statistics).form == "by source"


def counts(net: Network, step: str, n_samples: int, by_source: bool = False) -> Counts:
    """Work and reads of a step of STEPS."""
    has_metric = {"backpropagation": False, "quasi-diagonal": True}[step]
    n, size = net.n_edges, net.dtype.itemsize
    inner = int((net.edges[:, 0] >= net.n_inputs).sum())
    # forward, values, gradient; with a metric the modulus, A_0i and A_ii
    per_sample = (4 + 4 * has_metric) * n + (2 + 2 * has_metric) * inner
    # the update of theta; with a metric the direction
    per_step = (2 + 20 * has_metric) * n
    rows = n + (1 + has_metric) * n if by_source else 2 * n + (1 + has_metric) * inner
    sums = 1 + 2 * has_metric
    # forward; sums, written and read again; theta, read and written
    edges = n * ((size + INDEX) + (INDEX + 2 * sums * size) + 2 * size)
    # the weights in the order of the backward pass: written through an index, then read
    edges += inner * (2 * (size + INDEX) + size)
    if by_source:  # sums into theta's order
        edges += sums * n * (INDEX + 2 * size)
    return Counts(n_samples * per_sample + per_step, n_samples * rows * size, edges)


class Point(NamedTuple):
    """A step's counts and seconds."""

    workload: str
    step: str
    threads: int
    dtype: str
    counts: Counts
    seconds: float

    @property
    def flops(self) -> float:
        """Per second."""
        return self.counts.flops / self.seconds

    @property
    def bytes(self) -> float:
        """Per second."""
        return (self.counts.row_bytes + self.counts.edge_bytes) / self.seconds

    def level(self, limits: Peaks) -> str:
        """The slowest level whose measured bandwidth, of rows at random, is at least the one
        achieved."""
        enough = [name for name, rate in limits.gathers.items() if rate >= self.bytes]
        return enough[-1] if enough else "none"


def points(name: str, n_threads: int, windows: int | None = None) -> list[Point]:
    """Both steps of a workload, checked and timed in the same windows."""
    net, X, Y = oracles.workload(name)
    for step in STEPS:
        oracles.check_step(name, step, n_threads)
    plain, metric = (stepper((net, X, Y), step, n_threads=n_threads) for step in STEPS)
    result = paired(plain, metric, windows=windows or WINDOWS[name])
    return [Point(name, step, n_threads, net.dtype.name,
                  counts(net, step, len(X), by_source(net, X, Y, step)), seconds)
            for step, seconds in zip(STEPS, result[:2], strict=True)]


def table(found: list[Point], limits: dict[int, Peaks]) -> str:
    """Markdown of what was achieved, beside the limits of as many threads."""
    lines = ["| workload | threads | step | µs | flops per byte | GFLOP/s | of the multiply-adds "
             "| GB/s | level that could deliver it |", "|---|--:|---|--:|--:|--:|--:|--:|---|"]
    for p in found:
        share = p.flops / limits[p.threads].flops[p.dtype]
        lines.append(
            f"| {p.workload} | {p.threads} | {p.step} | {1e6 * p.seconds:,.0f} "
            f"| {p.counts.intensity:.2f} | {p.flops / 1e9:.1f} | {100 * share:.0f} % "
            f"| {p.bytes / 1e9:.0f} | {p.level(limits[p.threads])} |")
    return "\n".join(lines)


def measure(names: list[str], most_threads: int, windows: int | None = None, **how
            ) -> tuple[list[Point], dict[int, Peaks]]:
    """Limits first, then the steps; `how` as `peaks.measure` takes it."""
    wanted = cases(names, most_threads)
    limits = {n: peaks.measure(n, **how) for n in sorted({n for _, n in wanted})}
    return [point for case in wanted for point in points(*case, windows)], limits


def text(found: list[Point], limits: dict[int, Peaks]) -> str:
    sizes = ", ".join(f"{name} {size >> 10:,} KiB" for name, size in peaks.caches().items())
    return "\n\n".join([peaks.table(list(limits.values())), table(found, limits),
                        sentence(found, limits), f"{conditions()} Caches: {sizes}."])


def sentence(found: list[Point], limits: dict[int, Peaks]) -> str:
    """The best and the worst use of the multiply-adds."""
    shares = sorted((p.flops / limits[p.threads].flops[p.dtype], p.workload, p.step, p.threads)
                    for p in found)
    ends = [f"{100 * share:.0f} % ({name}, {step}, {n} thread{'s' * (n > 1)})"
            for share, name, step, n in (shares[0], shares[-1])]
    return f"Of the multiply-adds that the machine can do, steps reach {ends[0]} to {ends[1]}."


def main() -> None:
    parser = program("roofline", __doc__)
    parser.add_argument("--workloads", nargs="+", default=list(NAMES), choices=list(NAMES))
    names = parser.parse_args().workloads
    print(text(*measure(names, min(2, available_threads(None)))))


if __name__ == "__main__":
    main()
