"""The record of a training run."""

from __future__ import annotations

from typing import Any

import numpy as np


class History:
    """One entry per attempted step, and the validation losses.

    Attributes
    ----------
    loss : (n_steps,) ndarray
        Mean loss of the step's batch in nats, before the step.
    bits : (n_steps,) ndarray
        The same in bits.
    accepted : (n_steps,) ndarray of bool
        False where the adaptive control cancelled the step.
    learning_rate : (n_steps,) ndarray
    seconds : (n_steps,) ndarray
        Time in the training loop up to the end of the step; even within what ran uninterrupted.
    validation : list of (step, loss)
        Steps done and the held-out mean loss in nats.
    accuracy : list of (step, share)
        At the same places, the share of the held-out samples whose class is the most probable
        one; empty where targets are no class indices.
    stopped : None, "callback" or "interrupted"
        What ended training before its last step.
    selected : int or None
        The steps after which the parameters are those that selection kept.
    """

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {
            "loss": [], "learning_rate": [], "accepted": [], "seconds": []}
        self._elapsed = 0.0
        self.validation: list[tuple[int, float]] = []
        self.accuracy: list[tuple[int, float]] = []
        self.stopped: str | None = None
        self.selected: int | None = None

    def extend(self, losses: np.ndarray, rates: np.ndarray, accepted: np.ndarray) -> None:
        """Add a chunk of steps."""
        for name, values in zip(("loss", "learning_rate", "accepted"), (losses, rates, accepted),
                                strict=True):
            self._parts[name].append(values)

    def cancel_last(self) -> None:
        """The newest step led to where no direction can be found."""
        self._parts["accepted"][-1][-1] = False

    def extend_seconds(self, n_steps: int, seconds: float) -> None:
        """Add the time of the last chunk."""
        self._parts["seconds"].append(self._elapsed + seconds * np.arange(1, n_steps + 1) / n_steps)
        self._elapsed += seconds

    def _joined(self, name: str) -> np.ndarray:
        if len(self._parts[name]) != 1:
            empty = np.empty(0, bool if name == "accepted" else float)
            self._parts[name] = [np.concatenate([empty, *self._parts[name]])]
        return self._parts[name][0]

    @property
    def loss(self) -> np.ndarray:
        return self._joined("loss")

    @property
    def bits(self) -> np.ndarray:
        return self.loss / np.log(2)

    @property
    def accepted(self) -> np.ndarray:
        return self._joined("accepted")

    @property
    def learning_rate(self) -> np.ndarray:
        return self._joined("learning_rate")

    @property
    def seconds(self) -> np.ndarray:
        return self._joined("seconds")

    @property
    def last_loss(self) -> float:
        """Loss before the newest step, nats."""
        return float(self._parts["loss"][-1][-1])

    def __len__(self) -> int:
        return sum(part.size for part in self._parts["loss"])

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for JSON."""
        return {"loss": self.loss.tolist(), "bits": self.bits.tolist(),
                "accepted": self.accepted.tolist(), "learning_rate": self.learning_rate.tolist(),
                "seconds": self.seconds.tolist(),
                "validation": [list(pair) for pair in self.validation],
                "accuracy": [list(pair) for pair in self.accuracy], "stopped": self.stopped,
                "selected": self.selected}

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss curves on a matplotlib Axes, which is returned."""
        from .plots import loss_curves

        return loss_curves(self, ax)

    def __repr__(self) -> str:
        if not len(self):
            return "<History of no steps>"
        return (f"<History of {len(self)} steps, loss {self.loss[0]:.4g} -> {self.last_loss:.4g} "
                f"nats, {self._elapsed:.3g} s>")
