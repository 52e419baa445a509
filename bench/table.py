"""A table of step times against scipy.sparse: `python -m bench.table [--update README.md]`."""

from __future__ import annotations

import argparse
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import fisherkern as fk
from fisherkern.experiments.marks import parse_target, update

from . import oracles
from .loop import stepper
from .pairing import Paired, paired
from .peers import SparsePeer

NAMES = {
    "W1": "100-30-10-30-100 autoencoder, 1,300 edges, 16 samples, float64",
    "W2": "784-1000-1000-10, fan-in 30, 60,300 edges, 128 samples, float32",
    "W3": "8 layers of 8192, fan-in 16, 918,528 edges, 64 samples, float32",
    "W4": "irregular graph, 20,000 units, 159,488 edges, 64 samples, float32",
}
WINDOWS = {"W1": 41, "W2": 41, "W3": 15, "W4": 25}
MARK = "table"


STEPS = ("quasi-diagonal", "quasi-diagonal, mini-batch")


def compare(name: str) -> tuple[Paired, ...]:
    """scipy.sparse and the steps of STEPS, each against backpropagation."""
    workload = oracles.workload(name)
    peer = SparsePeer(*workload)
    oracles.check(name, peer.gradient(), oracles.gradient(name))
    for step in ("backpropagation", *STEPS):
        oracles.check_step(name, step)
    ours = stepper(workload, "backpropagation")
    windows = WINDOWS[name]
    return (paired(peer.run, ours, windows=windows),
            *(paired(stepper(workload, step), ours, windows=windows) for step in STEPS))


def table(names: Iterable[str] = NAMES) -> str:
    rows = ["| one step, one thread | scipy.sparse, µs | backpropagation, µs "
            "| quasi-diagonal, µs | the same in mini-batches, µs "
            "| scipy.sparse / backpropagation |",
            "|---|--:|--:|--:|--:|--:|"]
    for name in names:
        peer, *steps = compare(name)
        times = " | ".join(f"{1e6 * t:,.0f}" for t in (peer.a, peer.b, *(s.a for s in steps)))
        rows.append(f"| {NAMES[name]} | {times} | {peer} |")
    return "\n".join([*rows, "", conditions() + " scipy.sparse takes a gradient and a plain step."])


def conditions() -> str:
    """What the figures depend on, in one line."""
    info = fk.config()
    versions = ", ".join(f"{name} {info[name]}" for name in ("fisherkern", "numpy", "scipy"))
    return (f"{processor()}, kernels for {info['isa']}, Python {info['python']}, {versions}. "
            "Medians; a ratio is the median over paired windows, with its 95 % interval.")


def processor() -> str:
    """Model name where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def program(name: str, description: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)


if __name__ == "__main__":
    update(parse_target(program("table", __doc__), MARK).update, MARK, table())
