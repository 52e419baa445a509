"""Step times beside the fastest peers: `python -m bench table [--update FILE] [--check FILE]`.

A document has a table for each of the kernels' instruction sets: which peer is the fastest depends
on it. --check measures the one of this machine's kernels anew, and fails where an interval of the
one does not meet that of the other.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import numpy as np

import fisherkern as fk
from fisherkern.experiments.marks import add_target, between, update

from . import peer_table
from .pairing import Paired
from .repeated import RATIOS, RUNS, repeated
from .setting import NAMES, program

MARK = f"table {fk.config()['isa']}"
STEPS = ("quasi-diagonal", "quasi-diagonal, mini-batch")
PEERS = {"scipy.sparse": ("scipy.sparse",),
         "PyTorch": ("torch, CSR", "torch, embedding_bag"), "Numba": ("Numba",)}
"""Forms of each package, of which a row has the fastest."""


def fastest(results: dict[str, Paired]) -> dict[str, Paired | None]:
    """Of each package's forms, None where it is not installed."""
    return {package: min((results[form] for form in forms if form in results),
                         key=lambda result: result.ratio, default=None)
            for package, forms in PEERS.items()}


def plainly(found: dict[str, dict[str, Paired]]) -> str:
    """Where a package's plain step is faster, and where their intervals meet."""
    lines = []
    for step in ("backpropagation", STEPS[0]):
        faster, level = [], []
        for name, results in found.items():
            low, high = (results[step].low, results[step].high) if step in results else (1.0, 1.0)
            peers = {package: peer for package, peer in fastest(results).items() if peer}
            for where, which in (
                    (faster, [package for package, p in peers.items() if p.high < low]),
                    (level, [package for package, p in peers.items()
                             if p.low <= high and p.high >= low])):
                if which:
                    where.append(f"{NAMES[name].partition(',')[0]} ({' and '.join(which)})")
        lines.append(f"A peer's plain step is faster than this library's {step} on: "
                     f"{'; '.join(faster) or 'none of these'}; "
                     f"cannot be told from it on: {'; '.join(level) or 'none of these'}.")
    return "\n".join(lines)


def table(names: Iterable[str] = NAMES, n_runs: int = RUNS) -> str:
    rows = ["| one step, one thread | backpropagation, µs | quasi-diagonal | mini-batches | "
            + " | ".join(PEERS) + " |", "|---|" + "--:|" * (3 + len(PEERS))]
    labels = [label for forms in PEERS.values() for label in forms]
    found = repeated(names, labels, STEPS, n_runs)
    for name, results in found.items():
        columns = {step: results[step] for step in STEPS} | fastest(results)
        cells = [f"{1e6 * np.median([result.b for result in results.values()]):,.0f}",
                 *(str(result or "not installed") for result in columns.values())]
        rows.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", plainly(found), "",
                      peer_table.versions(("torch", "numba"), RATIOS.format(n_runs))])


_RATIO = re.compile(r"(\d+\.\d+) \((\d+\.\d+)-(\d+\.\d+)\)")


def apart(old: str, new: str) -> list[str]:
    """Where the intervals of two tables do not meet: the row, and both ratios."""
    lines = [] if _rows(old) else ["there is no row to compare"]
    for before, after in zip_longest(_rows(old), _rows(new), fillvalue=[""]):
        if len(before) != len(after) or before[0] != after[0]:
            return ["they have other rows or columns"]
        for was, now in zip(before, after, strict=True):
            found = _RATIO.fullmatch(was), _RATIO.fullmatch(now)
            if any(found) and not (all(found) and _meet(*found)):
                lines.append(f"{before[0]}: {was} is now {now}")
    return lines


def _meet(*ratios: re.Match) -> bool:
    (low, high), (other_low, other_high) = (map(float, ratio.groups()[1:]) for ratio in ratios)
    return low <= other_high and other_low <= high


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()
            if _RATIO.search(line) and line.startswith("|")]


def _conditions(text: str) -> str:
    """The last line, below the table."""
    return text.strip().splitlines()[-1]


def main() -> None:
    parser = program("table", __doc__)
    add_target(parser, MARK)
    add_target(parser, MARK, "--check", "measure the table of this file anew, and fail where the "
                                        "two do not agree")
    given = parser.parse_args()
    if "FISHERKERN_ISA" in os.environ:
        parser.error("FISHERKERN_ISA is set: the peers would not be held to its instructions")
    new = table()
    update(given.update, MARK, new)
    if given.check is not None:
        old = between(Path(given.check).read_text(encoding="utf-8"), MARK)
        wrong = apart(old, new)
        if wrong:
            sys.exit("\n".join(["not as in the document:", *wrong, "", "the document's figures:",
                                _conditions(old), "these figures:", _conditions(new)]))
        print("every interval meets that of the document")


if __name__ == "__main__":
    main()
