"""Pictures; the only module that imports matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .history import History
    from .network import Network


def figure_class() -> Any:
    """matplotlib's Figure, or an ImportError that names the extra."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install 'fisherkern[plots]'") from None
    return Figure


def loss_curves(history: History, ax: Any = None) -> Any:
    """Training loss by step (thin: each batch; thick: a running mean) and validation loss."""
    figure = figure_class()
    if ax is None:
        ax = figure(figsize=(7, 4.2), layout="constrained").subplots()
    loss = history.loss
    steps = np.arange(loss.size)
    window = max(1, loss.size // 100)
    ax.plot(steps, loss, color="tab:blue", alpha=0.25 if window > 1 else 1.0, linewidth=0.7,
            label="batch loss")
    if window > 1:
        mean = np.convolve(loss, np.ones(window) / window, mode="valid")
        ax.plot(steps[window - 1:], mean, color="tab:blue", label=f"mean of {window} batches")
    if history.validation:
        at, value = zip(*history.validation, strict=True)
        ax.plot(at, value, color="tab:orange", marker=".", label="held out")
    if loss.size and 0 < loss.max() < np.inf and loss.min() >= 0:
        # a loss of zero has no place on a logarithmic axis; six decades show all that matters
        ax.set_yscale("log")
        ax.set_ylim(bottom=max(loss[loss > 0].min(), 1e-6 * loss.max()) / 2)
    ax.set_xlabel("step")
    ax.set_ylabel("loss / nats")
    ax.legend()
    return ax


def curves(history: History) -> Any:
    """Loss and, where classes were held out, their accuracy, on a matplotlib Figure."""
    panels = 2 if history.accuracy else 1
    figure = figure_class()(figsize=(6 * panels, 4.2), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    loss_curves(history, axes[0])
    if history.accuracy:
        axes[1].plot(*zip(*history.accuracy, strict=True), color="tab:orange", marker=".")
        axes[1].set_xlabel("step")
        axes[1].set_ylabel("held-out accuracy")
    return figure


def _axes(ax: Any, **options: Any) -> Any:
    if ax is not None:
        return ax
    return figure_class()(**{"figsize": (5, 4.4), "layout": "constrained"} | options).subplots()


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, ax: Any = None) -> Any:
    """How often each label (rows) was told as each (columns), on matplotlib Axes, returned."""
    ax = _axes(ax)
    names, codes = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    counts = np.zeros((names.size, names.size), int)
    np.add.at(counts, tuple(np.split(codes, [len(labels)])), 1)
    ax.imshow(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), cmap="Blues", vmin=0,
              vmax=1)
    if names.size <= 20:
        ax.set_xticks(range(names.size), names, rotation=90)
        ax.set_yticks(range(names.size), names)
        for text in (*ax.get_xticklabels(), *ax.get_yticklabels()):
            text.set_parse_math(False)  # a label may have dollars
        for (i, k), count in np.ndenumerate(counts):
            if count:
                ax.text(k, i, count, ha="center", va="center", fontsize=7,
                        color="white" if count > counts[i].sum() / 2 else "black")
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    return ax


def calibration_curve(right: np.ndarray, probabilities: np.ndarray, ax: Any = None) -> Any:
    """Share of right answers against the probability that the answer was given, by tenths.

    Parameters
    ----------
    right : (n_samples,) bool
    probabilities : (n_samples,)
        Of the predicted label.
    """
    ax = _axes(ax)
    tenth = np.minimum(9, (10 * probabilities).astype(int))
    ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    taken = np.unique(tenth)
    told, share, count = (np.array([f(tenth == t) for t in taken]) for f in (
        lambda rows: probabilities[rows].mean(), lambda rows: right[rows].mean(), np.sum))
    error = np.sqrt(share * (1 - share) / count)
    ax.errorbar(told, share, yerr=error, marker="o", linestyle="")
    for x, y, n in zip(told, share, count, strict=True):
        ax.annotate(f"{n}", (x, y), xytext=(4, -10), textcoords="offset points", fontsize=7)
    ax.set_xlabel("probability of the predicted label")
    ax.set_ylabel("share that is right")
    return ax


def predicted_against_true(targets: np.ndarray, predicted: np.ndarray, ax: Any = None) -> Any:
    """One point for each sample of a regression."""
    ax = _axes(ax)
    ends = [min(targets.min(), predicted.min()), max(targets.max(), predicted.max())]
    ax.plot(ends, ends, color="grey", linewidth=0.8)
    ax.plot(targets, predicted, ".", markersize=3, alpha=0.5)
    ax.set_xlabel("true")
    ax.set_ylabel("predicted")
    return ax


def comparison(points: list[dict[str, Any]], score: str, title: str, ax: Any = None) -> Any:
    """The scores of methods by the seconds of their training; what failed is left out.

    Parameters
    ----------
    points : list of dict
        With "method", "seconds" and `score`; those of a method make its line.
    """
    ax = _axes(ax, figsize=(7, 4.4))
    lines: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if np.isfinite(point.get(score, np.nan)):
            lines.setdefault(point["method"], []).append((point["seconds"], point[score]))
    for i, (name, line) in enumerate(lines.items()):
        ax.plot(*zip(*line, strict=True), marker="*" if len(line) == 1 else ".", label=name,
                color=f"C{i % 10}", linestyle="-" if i < 10 else "--")
    if lines:
        ax.set_xscale("log")
        ax.legend(fontsize=7)
    if lines and score == "r2":  # what has not begun to fit lies anywhere below
        ax.set_ylim(bottom=max(-1.0, ax.get_ylim()[0]))
    ax.set_xlabel("seconds of training")
    ax.set_ylabel(title)
    return ax


# units and edges of networks that are drawn one by one
_MOST_UNITS, _MOST_EDGES = 400, 4000


def network(net: Network, figure: Any = None) -> Any:
    """A network on a matplotlib Figure, which is returned.

    Small ones are drawn: units by level, edges by the sign (red: negative) and size of their
    weight. Of large ones, the distributions of fan-in, fan-out and weights.
    """
    figure = figure or figure_class()(figsize=(7, 4.2), layout="constrained")
    if net.n_units <= _MOST_UNITS and net.n_edges <= _MOST_EDGES:
        _draw_units(net, figure.subplots())
        return figure
    fan_out = np.bincount(net.edges[:, 0], minlength=net.n_units)
    for ax, values, title in zip(figure.subplots(1, 3), (np.diff(net.indptr) - 1, fan_out,
                                                         net.weights),
                                 ("fan-in", "fan-out", "weight"), strict=True):
        ax.hist(values, bins=50, log=True)
        ax.set_xlabel(title)
    figure.axes[0].set_ylabel("count")
    return figure


def _draw_units(net: Network, ax: Any) -> None:
    from matplotlib.collections import LineCollection

    starts = net._dag.level_starts
    level = np.empty(net.n_units, int)
    level[net._order] = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    place = np.empty((net.n_units, 2))
    for x in np.unique(level):
        units = np.flatnonzero(level == x)
        place[units] = np.column_stack([np.full(units.size, x),
                                        (np.arange(units.size) + 0.5) / units.size])
    weights = net.weights.astype(np.float64)
    size = np.abs(weights) / max(np.abs(weights).max(), 1e-300)
    colors = np.where(weights[:, None] < 0, [[0.8, 0.1, 0.1, 0]], [[0.1, 0.3, 0.8, 0]])
    colors[:, 3] = 0.05 + 0.95 * size
    ax.add_collection(LineCollection(place[net.edges], colors=colors, linewidths=0.3 + 1.2 * size))
    ax.plot(*place.T, "o", color="black", markersize=max(1.0, 5 - np.log10(net.n_units) * 1.5))
    ax.set_xlabel("level")
    ax.set_xticks(np.unique(level))
    ax.set_yticks([])
