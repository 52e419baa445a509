"""Time per edge and sample by edges, batch size, fan-in and threads: `python -m bench.scaling`.

Layered networks of `workloads.w5`, each size in a process of its own. Backpropagation and the
quasi-diagonal step are timed in pairs: the one against the other, and with one thread against two.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .loop import OPTIMIZERS, stepper
from .pairing import Paired, paired
from .workloads import Workload, w5

STEPS = ("backpropagation", "quasi-diagonal")
EDGES = (10_000, 100_000, 1_000_000, 10_000_000)
LARGE = 100_000_000
BATCHES = (1, 4, 16, 32, 64, 128, 256)
FAN_INS = (4, 8, 16, 32, 64, 128)
# edges up to which a step is compared with one in float64, in memory of its own
MOST_CHECKED = 20_000_000
TOLERANCE = 2e-3


class Size(NamedTuple):
    """What a process measures."""

    edges: int
    batch: int = 32
    fan_in: int = 16
    threads: int = 1
    windows: int = 11


class Found(NamedTuple):
    """What it found.

    Attributes
    ----------
    edges : int
        Of the network that was built.
    cost : Paired
        Quasi-diagonal against backpropagation, one thread.
    speed : dict of Paired
        By step, one thread against all of `Size.threads`; empty for one thread.
    """

    edges: int
    cost: Paired
    speed: dict[str, Paired]

    def seconds(self, step: str, n_threads: int = 1) -> float:
        """Of a step."""
        if n_threads > 1:
            return self.speed[step].b
        return self.cost.a if step == "quasi-diagonal" else self.cost.b


def sweeps(n_threads: int, large: bool = False) -> dict[str, list[Size]]:
    """Sizes by what changes."""
    edges = [*EDGES, LARGE] if large else EDGES
    return {"edges": [Size(n, threads=n_threads, windows=11 if n < LARGE else 6) for n in edges],
            "batch": [Size(100_000, batch=n, threads=n_threads) for n in BATCHES],
            "fan_in": [Size(1_000_000, fan_in=n) for n in FAN_INS]}


def measure(size: Size) -> Found:
    """What `measure_here` finds in a fresh process."""
    command = [sys.executable, "-m", "bench.scaling", "--here", json.dumps(size)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, text=True,
                          stdout=subprocess.PIPE)
    edges, cost, speed = json.loads(done.stdout)
    return Found(edges, Paired(*cost), {name: Paired(*times) for name, times in speed.items()})


def measure_here(size: Size) -> Found:
    """Checked and timed in this process."""
    edges, build, _, _ = w5(size.edges, size.fan_in)
    net = build(edges)
    del edges
    rng = np.random.default_rng(1)
    X = rng.standard_normal((size.batch, 1000), dtype=np.float32)
    workload = net, X, rng.integers(64, size=size.batch)
    for step in STEPS:
        check(workload, step, size.threads)
    runs = {(step, n): stepper(workload, step, n_threads=n)
            for step in STEPS for n in {1, size.threads}}
    how = {"windows": size.windows}
    cost = paired(runs["quasi-diagonal", 1], runs["backpropagation", 1], **how)
    speed = {step: paired(runs[step, 1], runs[step, size.threads], **how)
             for step in STEPS if size.threads > 1}
    return Found(net.n_edges, cost, speed)


def check(workload: Workload, step: str, n_threads: int) -> None:
    """AssertionError unless a step moves theta along the direction in float64; in the largest
    networks, unless a small one lowers the loss."""
    net, X, Y = workload
    moved = net.copy()
    if net.n_edges > MOST_CHECKED:
        stepper((moved, X, Y), step, n_threads=n_threads, learning_rate=1e-3)(1)
        assert moved.loss(X, Y) < net.loss(X, Y), f"{net.n_edges} edges, {step}: the loss"
        return
    expected = OPTIMIZERS[step][0]().direction(net, X, Y).astype(np.float64)
    # as long as theta, or float32 would lose the digits of a short step
    rate = float(np.linalg.norm(net.theta) / np.linalg.norm(expected))
    stepper((moved, X, Y), step, n_threads=n_threads, learning_rate=rate)(1)
    error = np.linalg.norm((moved.theta - net.theta) / rate - expected)
    error /= np.linalg.norm(expected)
    assert error <= TOLERANCE, f"{net.n_edges} edges, {step}: relative error {error:.1e}"


def nanoseconds(size: Size, found: Found, step: str, n_threads: int = 1) -> float:
    """Per edge and sample."""
    return 1e9 * found.seconds(step, n_threads) / found.edges / size.batch


def table(results: dict[str, list[tuple[Size, Found]]]) -> str:
    """Markdown of all sweeps."""
    lines = ["| edges | fan-in | batch | backpropagation, ns | quasi-diagonal, ns "
             "| quasi-diagonal / backpropagation | speed-up of backpropagation | of quasi-diagonal "
             "|", "|" + "--:|" * 8]
    for size, found in (pair for sweep in results.values() for pair in sweep):
        cells = [f"{nanoseconds(size, found, step):.2f}" for step in STEPS]
        speed = [str(found.speed[step]) if found.speed else "" for step in STEPS]
        lines.append(f"| {found.edges:,} | {size.fan_in} | {size.batch} | {' | '.join(cells)} "
                     f"| {found.cost} | {' | '.join(speed)} |")
    return "\n".join(lines)


def sentence(sweep: list[tuple[Size, Found]]) -> str:
    """Time per edge and sample of the largest network over that of the fastest, one thread; whole
    numbers, for they are times of different processes."""
    parts = []
    for step in STEPS:
        times = {found.edges: nanoseconds(size, found, step) for size, found in sweep}
        most, best = max(times), min(times, key=times.__getitem__)
        ratio = f"some {times[most] / times[best]:.0f} times that with {best:,}"
        parts.append(f"{step} takes {times[most]:.2f} ns with {most:,} edges, "
                     f"{ratio if most != best else 'the least of all'}")
    return f"Per edge and sample, one thread: {'; '.join(parts)}."


def main() -> None:
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(measure_here(Size(*json.loads(sys.argv[2])))))
        return
    from fisherkern._validation import available_threads

    from .setting import conditions, program

    parser = program("scaling", __doc__)
    parser.add_argument("--large", action="store_true", help="10^8 edges too: some 15 minutes")
    given = parser.parse_args()
    plan = sweeps(min(2, available_threads(None)), given.large)
    results = {name: [(size, measure(size)) for size in plan[name]] for name in plan}
    print(f"{table(results)}\n\n{conditions()}")


if __name__ == "__main__":
    main()
