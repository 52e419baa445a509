"""What a run will do, checked before it begins: steps, batches, rule of the step size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._validation import boolean, finite_number, positive_integer
from .optimizers import Optimizer

_EVALUATIONS = 100
# of a run among which selection chooses
_PLACES = 15
# where the path of the prior's scale ends; it starts at 1
_LEAST_PRIOR = 0.003


@dataclass
class Plan:
    """The checked schedule of a run."""

    mode: str  # whole, mini, online
    n_steps: int
    batch_size: int
    rule: str  # of the compiled loop
    factors: Callable[[int, int], np.ndarray]  # of steps [first, last)
    learning_rate: float
    period: tuple[int, int]  # steps between evaluations, as a fraction
    prior: Callable[[int, int], np.ndarray] | None  # its scale in steps [first, last)
    averaging: bool
    selection: str | int | None

    @property
    def last_step(self) -> int:
        """After which the run ends, though its schedule may be longer."""
        return self.selection if isinstance(self.selection, int) else self.n_steps

    def next_evaluation(self, done: int) -> int:
        """The first step after `done` that ends a period: an epoch, or a hundredth of the run."""
        steps, periods = self.period
        return min(self.last_step, -(-(done * periods // steps + 1) * steps // periods))


def make_plan(optimizer: Optimizer, n_samples: int, steps: int | None, epochs: int | None,
              batch_size: int | None, online: bool, step_size: Any, prior: Any = None,
              averaging: Any = False, selection: Any = None) -> Plan:
    """The schedule that `train`'s arguments ask for; errors name the argument."""
    averaging = boolean(averaging, "averaging")
    online = boolean(online, "online")
    if (steps is None) == (epochs is None):
        raise ValueError(f"give exactly one of steps and epochs; got steps={steps!r}, "
                         f"epochs={epochs!r}")
    if online and batch_size is not None:
        raise ValueError(f"online training takes one sample per step; got batch_size={batch_size}")
    mode = "online" if online else "whole" if batch_size is None else "mini"
    size = {"online": 1, "whole": n_samples}.get(mode) or positive_integer(batch_size, "batch_size")
    if size > n_samples:
        raise ValueError(f"batch_size must be at most n_samples = {n_samples}; got {size}")
    if steps is not None:
        n_steps = positive_integer(steps, "steps")
    else:
        n_steps = -(-positive_integer(epochs, "epochs") * n_samples // size)
    selection = _checked_selection(selection, n_steps)
    rule, rate, factors = _step_rule(optimizer, mode, step_size, n_steps)
    scale = _prior_scale(optimizer, prior, n_steps)
    if prior == "path" and rule == "trust_region":
        factors = _ones  # the path itself is the schedule
    for name, value, asked in (("prior", prior, scale is not None),
                               ("averaging", averaging, averaging)):
        if asked and rule == "adaptive":
            raise ValueError(f"{name} = {value!r} cannot be used with step_size 'adaptive', which "
                             "judges each step by the loss at theta")
    period = (max(1, n_steps // _EVALUATIONS), 1) if mode == "whole" else (n_samples, size)
    if selection is not None:
        period = (max(1, n_steps // _PLACES), 1)
    return Plan(mode, n_steps, size, rule, factors, rate, period, scale, averaging, selection)


def _checked_selection(selection: Any, n_steps: int) -> str | int | None:
    if selection is None or (isinstance(selection, str) and selection == "best"):
        return selection
    if isinstance(selection, str):
        raise ValueError(f"selection must be None, 'best' or a number of steps; got {selection!r}")
    step = positive_integer(selection, "selection")
    if step > n_steps:
        raise ValueError(f"selection must be at most the run's {n_steps} steps; got {step}")
    return step


def _ones(first: int, last: int) -> np.ndarray:
    return np.ones(last - first)


def _prior_scale(optimizer: Optimizer, prior: Any,
                 n_steps: int) -> Callable[[int, int], np.ndarray] | None:
    """lambda of the steps [first, last)."""
    if prior is None:
        return None
    if optimizer.has_metric and optimizer.damping != "range":
        raise ValueError(f"prior = {prior!r} needs an optimizer with damping 'range'; that of "
                         f"{type(optimizer).__name__} is {optimizer.damping!r}")
    if isinstance(prior, str):
        if prior != "path":
            raise ValueError(f"prior must be None, 'path' or a number; got {prior!r}")
        return lambda first, last: _LEAST_PRIOR ** (np.arange(first, last) / n_steps)
    scale = finite_number(prior, "prior", least=0)
    return lambda first, last: np.full(last - first, scale)


def averaging_weights(first: int, last: int) -> np.ndarray:
    """Share of the parameters after each of the steps [first, last) in their average (ours:
    docs/methods.md)."""
    t = np.arange(first + 1, last + 1)
    return np.maximum(1 / t, 1 - np.exp(-1 / np.maximum(1, 0.1 * t)))


def _step_rule(optimizer: Optimizer, mode: str, step_size: Any, n_steps: int) -> tuple:
    """The compiled loop's rule, its learning rate, and the factor of each step."""
    rate = optimizer.learning_rate
    if rate is not None:
        rate = finite_number(rate, "learning_rate", above=0)
    if step_size is None:
        step_size = "adaptive" if mode == "whole" else \
            "trust_region" if optimizer.has_metric else "constant"
    if callable(step_size):
        return "constant", 0.0, lambda first, last: np.array(
            [finite_number(step_size(step), f"step_size({step})", least=0)
             for step in range(first, last)], np.float64)
    if step_size == "adaptive":
        if mode != "whole":
            raise ValueError("step_size 'adaptive' compares losses of the whole batch; "
                             "it cannot be used with batch_size or online")
        return "adaptive", rate or 0.01, _ones
    if step_size == "trust_region":
        if not optimizer.has_metric:
            raise ValueError(f"step_size 'trust_region' needs an optimizer with a metric; got "
                             f"{type(optimizer).__name__}")
        return "trust_region", rate or 1.0, lambda first, last: np.cos(
            0.5 * np.pi * np.arange(first, last) / n_steps)
    if step_size == "constant":
        if rate is None:
            raise ValueError(f"step_size 'constant' needs a learning_rate; "
                             f"{type(optimizer).__name__} was given none")
        return "constant", rate, lambda first, last: np.full(last - first, rate)
    raise ValueError("step_size must be 'adaptive', 'trust_region', 'constant' or a callable; "
                     f"got {step_size!r}")
