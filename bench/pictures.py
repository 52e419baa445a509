"""Pictures of measurements for docs/performance.md, with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fisherkern.plots import figure_class

from .costs import paper_ratio
from .memory import Memory
from .pairing import Paired
from .peaks import Peaks
from .peer_report import named
from .roofline import Point
from .scaling import STEPS, Found, Size, nanoseconds
from .time_to_accuracy import DATA, OURS, Results, ways

COLORS = {"backpropagation": "tab:blue", "quasi-diagonal": "tab:orange"}
ROOFS = {"L1": "0.1", "L2": "0.35", "L3": "0.55", "DRAM": "0.7"}


def save(figure: Any, path: Path) -> None:
    """As SVG that differs only where the picture does."""
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "fisherkern", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def bars(ratios: dict[str, Paired]) -> np.ndarray:
    """(2, n) distances of the intervals' ends from the ratios."""
    return np.array([[r.ratio - r.low, r.high - r.ratio] for r in ratios.values()]).T


def peers(results: dict[tuple[str, int], dict[str, Paired]]) -> Any:
    """Time of each peer's step over fisherkern's, with its interval; a row for each."""
    rows = [(f"{named(case)}: {label}", ratio) for case, found in results.items()
            for label, ratio in found.items()]
    figure = figure_class()(figsize=(8, 1.2 + 0.2 * len(rows)), layout="constrained")
    ax = figure.subplots()
    ratios = dict(rows)
    ax.errorbar([r.ratio for r in ratios.values()], range(len(ratios)), xerr=bars(ratios), fmt="o",
                markersize=4, capsize=2, color="tab:blue")
    ax.axvline(1, color="0.3", linewidth=0.8)
    start = 0
    for found in list(results.values())[:-1]:
        start += len(found)
        ax.axhline(start - 0.5, color="0.85", linewidth=0.8)
    ax.set_yticks(range(len(ratios)), list(ratios), fontsize=8)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlabel("time of the peer's gradient step / time of fisherkern's (right of 1: "
                  "fisherkern is faster)")
    return figure


def costs(found: dict[str, Paired]) -> Any:
    """Steps of each method over one of backpropagation, and the paper's."""
    figure = figure_class()(figsize=(8, 1.2 + 0.27 * len(found)), layout="constrained")
    ax = figure.subplots()
    places = np.arange(len(found))
    ratios = [r.ratio for r in found.values()]
    ax.barh(places, ratios, xerr=bars(found), color="tab:blue", capsize=2, label="fisherkern")
    paper = [(i, ratio) for i, name in enumerate(found) if (ratio := paper_ratio(name))]
    if paper:
        at, values = zip(*paper, strict=True)
        ax.plot(values, at, "D", color="tab:red", markersize=5, label="the paper, Table 1")
    ax.set_yticks(places, list(found), fontsize=8)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlabel("time of a step / time of backpropagation, each side's own")
    ax.legend()
    return figure


def roofline(points: list[Point], limits: dict[int, Peaks]) -> Any:
    """Achieved flops per second by flops per byte, under the roofs; a panel per thread count."""
    figure = figure_class()(figsize=(6 * len(limits), 4.8), layout="constrained")
    axes = figure.subplots(1, len(limits), squeeze=False, sharey=True)[0]
    x = np.geomspace(0.1, 10, 100)
    for ax, (n_threads, peaks) in zip(axes, limits.items(), strict=True):
        here = [p for p in points if p.threads == n_threads]
        top = max(peaks.flops.values())
        for level, rate in peaks.gathers.items():
            ax.plot(x, np.minimum(x * rate, top) / 1e9, color=ROOFS.get(level, "0.5"),
                    linewidth=1, label=f"{level}, {rate / 1e9:.0f} GB/s")
        for dtype in sorted({p.dtype for p in here}):
            ax.axhline(peaks.flops[dtype] / 1e9, color="0.3", linewidth=0.8, linestyle=":")
            ax.text(x[-1], peaks.flops[dtype] / 1e9, f"multiply-adds, {dtype}", ha="right",
                    va="bottom", fontsize=8)
        for p in here:
            place = p.counts.intensity, p.flops / 1e9
            ax.plot(*place, "s" if p.dtype == "float64" else "o", color=COLORS[p.step])
            ax.annotate(p.workload, place, xytext=(5, -3), textcoords="offset points", fontsize=8)
        for step, color in COLORS.items():
            ax.plot([], [], "o", color=color, label=step)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_title(f"{n_threads} thread{'s' * (n_threads > 1)}")
        ax.set_xlabel("flops per byte read")
        ax.legend(fontsize=8, loc="lower right")
    axes[0].set_ylabel("GFLOP/s")
    return figure


def scaling(results: dict[str, list[tuple[Size, Found]]]) -> Any:
    """Nanoseconds per edge and sample in each sweep, and the speed-up with threads."""
    figure = figure_class()(figsize=(10, 7.5), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    for ax, (name, sweep) in zip(axes, results.items(), strict=False):
        x = [found.edges if name == "edges" else getattr(size, name) for size, found in sweep]
        threads = sorted({n for size, found in sweep for n in (1, *([size.threads]
                                                                    if found.speed else []))})
        for step in STEPS:
            for n in threads:
                y = [nanoseconds(size, found, step, n) for size, found in sweep]
                ax.plot(x, y, "o--" if n > 1 else "o-", color=COLORS[step], markersize=4,
                        label=f"{step}, {n} thread{'s' * (n > 1)}")
        ax.set_yscale("log")
        ax.set_ylabel("ns per edge and sample")
        finish(ax, name.replace("_", "-"))
    sweep = [(size, found) for size, found in results["edges"] if found.speed]
    for step in STEPS:
        ratios = {str(found.edges): found.speed[step] for _, found in sweep}
        if ratios:
            axes[3].errorbar([found.edges for _, found in sweep],
                             [r.ratio for r in ratios.values()], yerr=bars(ratios), fmt="o-",
                             color=COLORS[step], markersize=4, capsize=2, label=step)
    axes[3].set_ylabel("time of one thread / time of two")
    if sweep:
        finish(axes[3], "edges")
    return figure


def finish(ax: Any, name: str) -> None:
    ax.set_xscale("log")
    ax.set_xlabel({"batch": "samples in a batch"}.get(name, name))
    ax.legend(fontsize=8)


def memory(found: dict[tuple[str, int], Memory]) -> Any:
    """Bytes per edge of training, the network's part apart; the fewest threads measured."""
    fewest = min(n for _, n in found)
    chosen = {name: m for (name, n), m in found.items() if n == fewest}
    figure = figure_class()(figsize=(8, 1.2 + 0.27 * len(chosen)), layout="constrained")
    ax = figure.subplots()
    places = np.arange(len(chosen))
    network = np.array([m.network / m.n_edges for m in chosen.values()])
    training = np.array([m.training / m.n_edges for m in chosen.values()])
    ax.barh(places, network, color="0.6", label="the network")
    ax.barh(places, training - network, left=network, color="tab:blue", label="training it")
    ax.set_yticks(places, list(chosen), fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel(f"bytes per edge at the peak, W3, {fewest} thread{'s' * (fewest > 1)}")
    ax.legend()
    return figure


def accuracy(results: Results) -> Any:
    """Mean held-out accuracy by seconds of training; of rates the one that ends the best."""
    cases = list(results)
    figure = figure_class()(figsize=(11, 1 + 3.6 * len(cases) / 2), layout="constrained")
    axes = figure.subplots(-(-len(cases) // 2), 2, squeeze=False).ravel()
    labels = list(dict.fromkeys(label for methods in results.values() for label in methods))
    colors = {label: f"C{i}" for i, label in enumerate(labels)}
    for ax, case in zip(axes, cases, strict=False):
        for label, found in results[case].items():
            for way, rates in ways(found).items():
                means = [found.curves[rate].mean(axis=0) for rate in rates]
                curve = max(means, key=lambda mean: mean[-1])
                ax.plot(np.arange(1, curve.size + 1) * found.epoch.a, curve, color=colors[label],
                        linestyle="--" if len(rates) == 1 and way else "-",
                        linewidth=2.2 if label == OURS else 1.1,
                        label=f"{label}, {way}" if way else label)
        levels = DATA[case[0]].levels
        for level in levels:
            ax.axhline(level, color="0.85", linewidth=0.8, zorder=0)
        ax.set_ylim(2 * levels[0] - 1, None)
        ax.set_title(f"{case[0]}, {case[1]} network")
        ax.set_ylabel("held-out accuracy")
        finish(ax, "seconds of training, one thread")
    return figure
