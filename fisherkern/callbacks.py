"""Callbacks of a training run: what they see, their checks, and early stopping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._validation import boolean, finite_number, positive_integer
from .network import Network


@dataclass(frozen=True)
class Event:
    """What a callback sees after a step.

    Attributes
    ----------
    step : int
        Steps attempted so far.
    loss : float
        Loss of the last step's batch, before it, in nats.
    network : Network
    validation : float or None
        The validation loss where it was measured at this very step.
    parameters : (n_parameters,) ndarray or None
        What it was measured at (a copy): theta, or the average of the steps with averaging.
    """

    step: int
    loss: float
    network: Network
    validation: float | None = None
    parameters: np.ndarray | None = None


class EarlyStopping:
    """Callback: stop when the validation loss has not improved for `patience` evaluations.

    `train` then stops with the network at its best evaluation, unless `restore_best` is False. A
    run that reaches its last step keeps its last parameters (or those of `selection`). Needs
    `validation`; each run starts anew.

    Parameters
    ----------
    patience : int
    min_delta : float
        Nats by which a loss must fall to count as better.
    restore_best : bool
    """

    on_validation = True

    def __init__(self, patience: int = 10, *, min_delta: float = 0.0,
                 restore_best: bool = True) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best = restore_best
        self._reset()

    def __repr__(self) -> str:
        return (f"EarlyStopping(patience={self.patience!r}, min_delta={self.min_delta!r}, "
                f"restore_best={self.restore_best!r})")

    def _reset(self) -> None:
        self.best_loss, self.best_step, self._waited = np.inf, 0, 0
        self._best_theta: np.ndarray | None = None

    def on_start(self) -> None:
        """Called by `train` before anything changes: check the settings and forget other runs."""
        positive_integer(self.patience, "patience")
        finite_number(self.min_delta, "min_delta", least=0)
        boolean(self.restore_best, "restore_best")
        self._reset()

    def __call__(self, event: Event) -> bool:
        if event.validation is None:
            return False
        if event.validation < self.best_loss - self.min_delta:
            self.best_loss, self.best_step, self._waited = event.validation, event.step, 0
            self._best_theta = (event.network.theta if event.parameters is None
                                else event.parameters).copy()
            return False
        self._waited += 1
        if self._waited < self.patience:
            return False
        if self.restore_best and self._best_theta is not None:
            event.network.theta = self._best_theta
        return True


def checked_callbacks(callbacks: Any, validated: bool) -> list:
    """A list of them; none is started."""
    if callable(callbacks):
        callbacks = [callbacks]
    if not np.iterable(callbacks):
        raise TypeError(f"callbacks must be callables; got {callbacks!r}")
    callbacks = list(callbacks)
    for i, callback in enumerate(callbacks):
        if not callable(callback) or isinstance(callback, type):
            raise TypeError(f"callbacks[{i}] must be a callable of an event; got {callback!r}")
        if getattr(callback, "on_validation", False) and not validated:
            raise ValueError(f"callbacks[{i}] waits for validation losses; give validation")
    return callbacks
