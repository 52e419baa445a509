"""Pictures; the only module that imports matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .history import History


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
