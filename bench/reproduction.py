"""Tables of docs/reproduction.md from a full run's results:
`python -m bench.reproduction results.json docs/reproduction.md`."""

from __future__ import annotations

import json
import math
from pathlib import Path

from fisherkern.experiments.marks import replace
from fisherkern.experiments.ollivier import ACTIVATIONS, METHODS, Method
from fisherkern.experiments.report import bits

from .setting import program

Rows = dict[tuple[str, int, str, str, str], dict]


def read(path: Path) -> Rows:
    """Rows by optimizer, draws, activation, links and budget."""
    return {(row["optimizer"], row["n_draws"], row["activation"], row["links"], row["budget"]): row
            for row in json.loads(path.read_text(encoding="utf-8"))}


def pick(rows: Rows, method: Method, links: str, budget: str) -> list[dict]:
    return [rows[method.optimizer, method.n_draws, a, links, budget] for a in ACTIVATIONS]


def distance(row: dict, paper: tuple[float, float]) -> float:
    """Of the means, in standard errors of their difference; the paper's runs are 20 too."""
    error = math.sqrt(row["sd_bits"] ** 2 / row["runs"] + paper[1] ** 2 / 20)
    return abs(row["mean_bits"] - paper[0]) / error


def printed(rows: Rows) -> str:
    lines = ["| method (iterations) | sigmoid | paper | tanh | paper "
             "| distance in standard errors |", "|---|--:|--:|--:|--:|---|"]
    for method in METHODS:
        cells, distances = [], []
        for activation, row in zip(ACTIVATIONS, pick(rows, method, "parallel", "a"), strict=True):
            cells.append(bits(row["mean_bits"], row["sd_bits"]))
            cells.append(bits(*method.paper[activation]) if method.paper else "")
            if method.paper:
                distances.append(f"{distance(row, method.paper[activation]):.1f}")
        lines.append(f"| {method.name} ({method.iterations:,}) | {' | '.join(cells)} "
                     f"| {' / '.join(distances)} |")
    return "\n".join(lines)


def equal_time(rows: Rows) -> str:
    lines = ["| method | µs per iteration | iterations, sigmoid | bits | iterations, tanh | bits |",
             "|---|--:|--:|--:|--:|--:|"]
    for method in METHODS:
        found = pick(rows, method, "parallel", "b")
        micros = " / ".join(f"{row['microseconds_per_iteration']:.0f}" for row in found)
        cells = " | ".join(f"{row['iterations']:,} | {bits(row['mean_bits'], row['sd_bits'])}"
                           for row in found)
        lines.append(f"| {method.name} | {micros} | {cells} |")
    return "\n".join(lines)


def distinct(rows: Rows) -> str:
    lines = ["| method | sigmoid | tanh |", "|---|--:|--:|"]
    for method in METHODS:
        cells = " | ".join(bits(row["mean_bits"], row["sd_bits"])
                           for row in pick(rows, method, "distinct", "a"))
        lines.append(f"| {method.name} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = program("reproduction", __doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path)
    given = parser.parse_args()
    found = read(given.results)
    text = given.page.read_text(encoding="utf-8")
    for name, make in (("printed", printed), ("equal-time", equal_time), ("distinct", distinct)):
        text = replace(text, name, make(found))
    given.page.write_text(text, encoding="utf-8")
