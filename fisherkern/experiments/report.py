"""Tables, pictures and the self-contained page of `reproduce`."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io import write_atomically
from ..plots import figure_class
from .ollivier import ACTIVATIONS, DAMPING, METHODS, Method, Task

if TYPE_CHECKING:
    from .reproduce import Results

Table = list[list[str]]
NON_DIAGONAL = ("DiagonalGaussNewton", "QuasiDiagonalBackpropagatedMetricGradient")


def bits(mean: float, deviation: float | None) -> str:
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def write(results: Results, rows: list[dict], invariant: Sequence[Method],
          side: dict[str, np.ndarray], folder: Path) -> None:
    """table1.csv, table2.csv, damping.csv, the pictures and report.html."""
    tables = {"table1": iterations_table(results), "table2": bits_table(results, rows)}
    if invariant:
        tables["damping"] = damping_table(results, invariant, side)
    for name, table in tables.items():
        stream = io.StringIO(newline="")
        csv.writer(stream).writerows(table)
        write_atomically(folder / f"{name}.csv", stream.getvalue().encode())
    pictures = {"curves": curves(results)}
    if invariant:
        pictures["invariance"] = pairs(results, invariant)
        pictures["trajectories"] = trajectories(results, invariant, side)
    if any(method.optimizer in NON_DIAGONAL for method in results.plan.methods):
        pictures["diagonal"] = diagonal(results)
    images = {}
    for name, figure in pictures.items():
        stream = io.BytesIO()
        figure.savefig(stream, dpi=110)
        images[name] = stream.getvalue()
        write_atomically(folder / f"{name}.png", images[name])
    write_atomically(folder / "report.html", page(results, tables, images).encode())


# --- tables ---------------------------------------------------------------------------------------


def iterations_table(results: Results) -> Table:
    """[O Table 1]: iterations in equal time, the paper's and here."""
    table = [["method", *(f"{a}: {what}" for a in ACTIVATIONS
                          for what in ("microseconds", "iterations here")), "paper's iterations"]]
    for method in results.plan.methods:
        cells = []
        for activation in ACTIVATIONS:
            seconds = results.seconds[f"{method.key}-{activation}"]
            cells += [f"{1e6 * seconds:.1f}",
                      str(results.iterations(method, activation, "b"))]
        table.append([method.name, *cells,
                      str(results.plan.iterations(method)) if method in METHODS else ""])
    return table


def bits_table(results: Results, rows: list[dict]) -> Table:
    """[O Table 2]: final bits at either budget, and the printed ones."""
    plan = results.plan
    found = {(row["optimizer"], row["n_draws"], row["activation"], row["links"], row["budget"]): row
             for row in rows}
    columns = [(links, budget, activation) for links in plan.links for budget in "ab"
               for activation in ACTIVATIONS]
    table = [["method", *(f"{links}, budget {budget}, {activation}"
                          for links, budget, activation in columns),
              *(f"paper, {activation}" for activation in ACTIVATIONS)]]
    for method in plan.methods:
        cells = []
        for links, budget, activation in columns:
            row = found[method.optimizer, method.n_draws, activation, links, budget]
            cells.append(bits(row["mean_bits"], row["sd_bits"]))
        paper = [bits(*method.paper[a]) if method.paper else "" for a in ACTIVATIONS]
        table.append([method.name, *cells, *paper])
    return table


def damping_table(results: Results, methods: Sequence[Method],
                  side: dict[str, np.ndarray]) -> Table:
    """Final bits at budget a by damping."""
    from .reproduce import DAMPINGS, damping_runs

    plan = results.plan
    table = [["method", *(f"{activation}, {damping:g}" for activation in ACTIVATIONS
                          for damping in DAMPINGS)]]
    for method in methods:
        n, cells = plan.iterations(method), []
        for activation in ACTIVATIONS:
            for damping in DAMPINGS:
                final = [side[task.key][n]
                         for task in damping_runs(plan, method, activation, damping)]
                deviation = float(np.std(final, ddof=1)) if len(final) > 1 else None
                cells.append(bits(float(np.mean(final)), deviation) if final else "")
        table.append([method.name, *cells])
    return table


# --- pictures -------------------------------------------------------------------------------------


def _panels(n: int) -> tuple[Any, Any]:
    figure = figure_class()(figsize=(5.2 * n, 4.6), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(1, n, sharey=True))


def _band(axes: Any, results: Results, method: Method, activation: str, **style: Any) -> None:
    """Mean over the runs and its deviation, against time in units of the paper's whole budget."""
    n = results.plan.iterations(method)
    curve = results.curve(method, activation, results.plan.links[0], n)
    keep = np.unique(np.linspace(0, n, 400).astype(int))
    mean = curve[:, keep].mean(axis=0)
    deviation = curve[:, keep].std(axis=0, ddof=1) if len(curve) > 1 else np.zeros_like(mean)
    (line,) = axes.plot(keep / n, mean, linewidth=1.2, **style)
    axes.fill_between(keep / n, mean - deviation, mean + deviation, alpha=0.15, linewidth=0,
                      color=line.get_color())


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("share of the time budget")
    axes.set_ylim(bottom=0)


def curves(results: Results) -> Any:
    """[O Figures 2, 3]: bits by time, every method."""
    figure, panels = _panels(2)
    for axes, activation in zip(panels, ACTIVATIONS, strict=True):
        for method in results.plan.methods:
            if method.n_draws == 1:
                _band(axes, results, method, activation, label=method.name)
        _finish(axes, activation)
    panels[0].set_ylabel("bits per sample")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  fontsize=8)
    return figure


def pairs(results: Results, methods: Sequence[Method]) -> Any:
    """[O Figure 4]: invariant methods in both implementations."""
    figure, panels = _panels(len(methods))
    for axes, method in zip(panels, methods, strict=True):
        for activation in ACTIVATIONS:
            _band(axes, results, method, activation, label=activation)
        _finish(axes, method.name)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("bits per sample")
    return figure


def diagonal(results: Results) -> Any:
    """[O Figure 5]: what the few non-diagonal terms do."""
    figure, (axes,) = _panels(1)
    for method in results.plan.methods:
        if method.optimizer in NON_DIAGONAL:
            for activation in ACTIVATIONS:
                _band(axes, results, method, activation, label=f"{method.name}, {activation}")
    _finish(axes, "with and without the non-diagonal terms")
    axes.legend(fontsize=8)
    axes.set_ylabel("bits per sample")
    return figure


def trajectories(results: Results, methods: Sequence[Method], side: dict[str, np.ndarray]) -> Any:
    """Relative difference of the losses of sigmoid and tanh units from one start."""
    from .reproduce import SHORT, SHORT_DAMPINGS

    figure, panels = _panels(len(SHORT_DAMPINGS))
    plan = results.plan
    for axes, damping in zip(panels, SHORT_DAMPINGS, strict=True):
        for method in methods:
            one, two = (side[Task(method, activation, plan.links[0], plan.seed, 0, SHORT,
                                  damping).key][:SHORT + 1] for activation in ACTIVATIONS)
            axes.semilogy(np.maximum(np.abs(one - two) / one, 1e-17), label=method.name)
        axes.axhline(0.01, color="gray", linewidth=0.7)
        axes.set_title(f"damping {damping:g}", fontsize=10)
        axes.set_xlabel("iteration")
        axes.legend(fontsize=7)
    panels[0].set_ylabel("|sigmoid - tanh| / sigmoid")
    return figure


# --- page -----------------------------------------------------------------------------------------

_TEXT = {
    "table1": ("Iterations in equal time", "Microseconds of a warm iteration on one thread, "
               "iterations that fit into the time of backpropagation's, the paper's (Table 1)."),
    "table2": ("Final loss in bits per sample", "Mean and standard deviation over the runs (Table "
               "2). Budget a: the paper's iterations; budget b: the wall time that "
               "backpropagation's iterations take here."),
    "curves": ("Loss by time", "Mean over the runs with its deviation; each method's time budget "
               "is the paper's number of iterations (Figures 2 and 3)."),
    "invariance": ("Invariance", "Invariant methods with sigmoid and tanh units (Figure 4)."),
    "diagonal": ("Non-diagonal terms", "The quasi-diagonal backpropagated metric without its "
                 "non-diagonal terms is diagonal Gauss-Newton (Figure 5)."),
    "trajectories": ("Trajectories from one start", "Damping breaks the invariance of single "
                     "trajectories; undamped, rounding and singular blocks are what is left."),
    "damping": ("Effect of damping", "Final bits at budget a, of 5 runs at most and the first "
                "reading of the links; the number is the damping. Undamped unit blocks are left "
                "out: their eigenvectors take too long."),
}


def page(results: Results, tables: dict[str, Table], images: dict[str, bytes]) -> str:
    """One HTML file with everything in it."""
    plan = results.plan
    parts = []
    for name in ("table2", "table1", "curves", "invariance", "diagonal", "trajectories", "damping"):
        if name not in tables and name not in images:
            continue
        title, text = _TEXT[name]
        body = _html_table(tables[name]) if name in tables else (
            f'<img alt="{title}" src="data:image/png;base64,'
            f'{base64.b64encode(images[name]).decode()}">')
        parts.append(f"<h2>{title}</h2><p>{text}</p>{body}")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Ollivier 2015, section 4</title>"
        "<style>body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
        "table{border-collapse:collapse;font-size:13px}td,th{padding:.2em .6em;text-align:right;"
        "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
        "img{max-width:100%}</style>"
        "<h1>Riemannian metrics for neural networks I, section 4, recomputed</h1>"
        f"<p>Runs: {plan.runs}; seed: {plan.seed}; links: {', '.join(plan.links)} (pictures: "
        f"{plan.links[0]}); share of the paper's iterations: {plan.share:g}; damping: "
        f"{DAMPING:g}.</p>"
        + "".join(parts))


def _html_table(table: Table) -> str:
    head, *body = ("".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
                   for tag, row in [("th", table[0]), *(("td", row) for row in table[1:])])
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"


def summary(table: Table) -> str:
    """A table as lines of text."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
                     for row in table)
