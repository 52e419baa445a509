"""All measurements into docs/performance.md and its pictures: `python -m bench report`.

Each section lies between marks of its own, so that `--only peers roofline` measures these again and
leaves the others as they are. The document is written after each section; a document that is not
there starts as a copy of docs/performance.md without figures.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fisherkern._validation import available_threads
from fisherkern.experiments.marks import replace

from . import (
    costs,
    memory,
    partial_metric,
    peer_report,
    pictures,
    roofline,
    scale,
    scaling,
    time_to_accuracy,
)
from .setting import NAMES, conditions, program

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
NOT_YET = "Not measured yet."


class Plan(NamedTuple):
    """How much is measured.

    Attributes
    ----------
    names : tuple of str
        Workloads; W2 and W3 where a section asks for those.
    threads : int
        Most threads.
    windows : int, optional
        Of every pair; None: each section's own number.
    seeds : range
        Of the held-out figures of partial metrics.
    methods, kept : tuple of str
        Optimizers whose steps and whose memory are measured.
    sweeps : dict
        As of `scaling.sweeps`.
    scale : tuple of float
        Edges for `bench.scale`.
    data, length
        Of `time_to_accuracy.measure`.
    """

    names: tuple[str, ...]
    threads: int
    windows: int | None
    seeds: range
    methods: tuple[str, ...]
    kept: tuple[str, ...]
    sweeps: dict[str, list[scaling.Size]]
    scale: tuple[float, ...]
    data: tuple[str, ...] = tuple(time_to_accuracy.DATA)
    length: time_to_accuracy.Length = time_to_accuracy.WHOLE


class Part(NamedTuple):
    """Texts by mark and pictures by file name."""

    texts: dict[str, str]
    figures: dict[str, Any]


def whole(large: bool = False) -> Plan:
    threads = min(2, available_threads(None))
    edges = (1e6, 1e7, 1e8) if large else (1e6, 1e7)
    return Plan(tuple(NAMES), threads, None, partial_metric.SEEDS, tuple(costs.PRESETS),
                memory.NAMES, scaling.sweeps(threads, large), edges)


def quick() -> Plan:
    """Of every section the least that still goes through all of it."""
    few = {name: [size._replace(edges=10_000, windows=3) for size in sizes[:2]]
           for name, sizes in scaling.sweeps(1).items()}
    few["edges"] = [scaling.Size(n, windows=3) for n in (10_000, 20_000)]
    return Plan(("W1",), 1, 3, range(1), ("DiagonalGaussNewton", "Adam", "Backpropagation"),
                ("Backpropagation",), few, (1e5,), ("digits",),
                time_to_accuracy.Length(range(1), 1, 1, 3))


def peers(plan: Plan) -> Part:
    results = peer_report.compare_all(plan.threads, plan.names if plan.windows else None,
                                      plan.windows)
    n_runs = 1 if plan.windows else peer_report.RUNS
    again = peer_report.again(results, n_runs, plan.windows)
    return Part({"peers": peer_report.text(results, again, n_runs),
                 "verdict": peer_report.verdict(results, again, n_runs)},
                {"peers": pictures.peers(peer_report.of(results, peer_report.PEERS))})


def accuracy(plan: Plan) -> Part:
    found = time_to_accuracy.measure(plan.data, plan.length)
    return Part({"accuracy": time_to_accuracy.text(found)}, {"accuracy": pictures.accuracy(found)})


def cost(plan: Plan) -> Part:
    found = costs.measure(plan.methods, plan.windows or costs.WINDOWS)
    return Part({"costs": f"{costs.table(found)}\n\n{costs.sentences(found)}"},
                {"costs": pictures.costs(found)})


def partial(plan: Plan) -> Part:
    names = ("W1",) if plan.windows else ("W2", "W3")
    return Part({"partial": partial_metric.table(names, plan.windows or 21, plan.seeds)}, {})


def roofs(plan: Plan) -> Part:
    how = {"seconds": 0.002, "runs": 2} if plan.windows else {}
    points, limits = roofline.measure(list(plan.names), plan.threads, plan.windows, **how)
    return Part({"roofline": roofline.text(points, limits)},
                {"roofline": pictures.roofline(points, limits)})


def sweeps(plan: Plan) -> Part:
    found = {name: [(size, scaling.measure(size)) for size in sizes]
             for name, sizes in plan.sweeps.items()}
    text = f"{scaling.table(found)}\n\n{scaling.sentence(found['edges'])}\n\n{conditions()}"
    return Part({"scaling": text}, {"scaling": pictures.scaling(found)})


def sizes(plan: Plan) -> Part:
    given = argparse.Namespace(edges=plan.scale, threads=[plan.threads], fan_in=16)
    return Part({"scale": scale.table(given)}, {})


def kept(plan: Plan) -> Part:
    found = {(name, n): memory.measure(n, name) for name in plan.kept
             for n in sorted({1, plan.threads})}
    return Part({"memory": f"{memory.table(found)}\n\n{conditions()}"},
                {"memory": pictures.memory(found)})


SECTIONS: dict[str, tuple[Callable[[Plan], Part], tuple[str, ...]]] = {
    "peers": (peers, ("peers", "verdict")),
    "accuracy": (accuracy, ("accuracy",)), "costs": (cost, ("costs",)),
    "partial": (partial, ("partial",)), "roofline": (roofs, ("roofline",)),
    "scaling": (sweeps, ("scaling",)), "scale": (sizes, ("scale",)), "memory": (kept, ("memory",)),
}
"""What measures a section, and its marks in the document."""


def start(document: Path) -> str:
    """The document's text, or that of an empty one; ValueError where a mark is missing."""
    is_new = not document.exists()
    text = (DOCUMENT if is_new else document).read_text(encoding="utf-8")
    for _, marks in SECTIONS.values():
        for mark in marks:
            emptied = replace(text, mark, NOT_YET)
            text = emptied if is_new else text
    return text.replace(f"]({DOCUMENT.stem}/", f"]({document.stem}/")


def write(document: Path, names: list[str], plan: Plan) -> None:
    """Measure sections and put each into its place; pictures lie beside the document."""
    text = start(document)
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(text, encoding="utf-8")
    for name in names:
        begun = time.perf_counter()
        part = SECTIONS[name][0](plan)
        print(*part.texts.values(), sep="\n\n", flush=True)  # not lost if the document is
        text = document.read_text(encoding="utf-8")  # it may have been edited in the meantime
        for mark, new in part.texts.items():
            text = replace(text, mark, new)
        for picture, figure in part.figures.items():
            pictures.save(figure, document.with_suffix("") / f"{picture}.svg")
        document.write_text(text, encoding="utf-8")
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)


def missing_pictures(document: Path) -> list[str]:
    """Pictures that the document shows and that are not there."""
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", document.read_text(encoding="utf-8"))
    return [path for path in shown if not (document.parent / path).is_file()]


def parser() -> argparse.ArgumentParser:
    made = program("report", __doc__)
    made.prog = "python -m bench report"
    made.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS),
                      metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    made.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE")
    made.add_argument("--quick", action="store_true",
                      help="a short run that shows that all works; its figures mean nothing")
    made.add_argument("--large", action="store_true", help="10^8 edges too: some 20 minutes more")
    return made


def main() -> None:
    made = parser()
    given = made.parse_args()
    if given.quick and given.document.resolve() == DOCUMENT:
        made.error("--quick needs a --document of its own: its figures mean nothing")
    try:
        start(given.document)  # before anything is measured
    except (OSError, ValueError) as error:
        made.error(f"{given.document}: {error}")
    write(given.document, given.only, quick() if given.quick else whole(given.large))
    for path in missing_pictures(given.document):
        print(f"not there yet: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
