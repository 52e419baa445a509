"""A table of step times against scipy.sparse: `python -m bench.table [--update README.md]`."""

from __future__ import annotations

import argparse
import platform
import re
from pathlib import Path

import fisherkern as fk

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
    oracles.check(name, workload[0].gradient(*workload[1:]), oracles.gradient(name))
    oracles.check(name, peer.gradient(), oracles.gradient(name))
    ours = stepper(workload, "backpropagation")
    windows = WINDOWS[name]
    return (paired(peer.run, ours, windows=windows),
            *(paired(stepper(workload, step), ours, windows=windows) for step in STEPS))


def table() -> str:
    rows = ["| one step, one thread | scipy.sparse, µs | backpropagation, µs "
            "| quasi-diagonal, µs | the same in mini-batches, µs "
            "| scipy.sparse / backpropagation |",
            "|---|--:|--:|--:|--:|--:|"]
    for name, description in NAMES.items():
        peer, *steps = compare(name)
        times = " | ".join(f"{1e6 * t:,.0f}" for t in (peer.a, peer.b, *(s.a for s in steps)))
        rows.append(f"| {description} | {times} | {peer} |")
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


def replace(text: str, mark: str, new: str) -> str:
    """`text` with what lies between the two comments of a mark replaced."""
    start, end = f"<!-- {mark}:start -->", f"<!-- {mark}:end -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"the file must hold {start} and then {end}, once each")
    return text[:text.index(start) + len(start)] + f"\n{new}\n" + text[text.index(end):]


def parse_target(parser: argparse.ArgumentParser, mark: str) -> argparse.Namespace:
    """The arguments with --update, whose file is checked before anything is measured."""
    parser.add_argument("--update", type=Path, metavar="FILE",
                        help=f"put the table between the marks {mark!r} of this file")
    given = parser.parse_args()
    if given.update is not None:
        try:
            replace(given.update.read_text(encoding="utf-8"), mark, "")
        except (OSError, ValueError) as error:
            parser.error(str(error))
    return given


def program(name: str, description: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)


def update(path: Path | None, mark: str, new: str) -> None:
    """Print a table and put it into its place in a file."""
    print(new)
    if path is not None:
        path.write_text(replace(path.read_text(encoding="utf-8"), mark, new), encoding="utf-8")


if __name__ == "__main__":
    update(parse_target(program("table", __doc__), MARK).update, MARK, table())
