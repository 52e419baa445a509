"""Optimizers: directions made of (metric kind x reduction x damping), and the baselines.

An optimizer holds settings alone: no data, no loop, no state of a run.
"""

from __future__ import annotations

from functools import partialmethod
from typing import Any

import numpy as np
import scipy.sparse

from . import _loop, _pass
from ._validation import available_threads, finite_number, positive_integer, random_generator
from .interpretations import INTERPRETATIONS
from .metrics import (
    MOST_DRAWS,
    SIGNALS,
    check_kind,
    check_memory,
    checked_draws,
    draw_targets,
    input_means,
)
from .network import Network, raise_fault

# of the range rule: epsilon of V_i + epsilon A_00 R_i^2
RANGE_DAMPING = 1e-3
# rate of the running metric over mini-batches
MINI_BATCH_RATE = 0.02


class Optimizer:
    """What `train` and `direction` need of every optimizer: kernel settings and defaults."""

    has_metric = False
    kind: str | None = None
    reduction: str | None = None
    learning_rate: float | None = None

    def _settings(self) -> dict[str, Any]:
        """Checked kernel settings of the direction; see `_loop.Trainer`."""
        raise NotImplementedError

    def _update_rate(self, mode: str, net: Network) -> float | None:
        """Rate of the running metric in "whole", "mini" or "online" training; None: no memory."""
        return None

    def direction(self, net: Network, X: Any, Y: Any, *, draws: Any = None, rng: Any = None,
                  n_threads: int | None = None) -> np.ndarray:
        """(n_parameters,) direction delta of one batch, before any learning rate; theta moves
        along ``theta + learning_rate * delta``. Nothing is changed; a state starts at zero.
        Computed in float64 whatever the network's dtype, which the result has. A Monte Carlo
        metric draws its targets from `rng`, or takes `draws` as `fisherkern.metric` does.

        Raises
        ------
        ValueError
            On bad settings or data, with the argument's name.
        FloatingPointError
            The loss or the direction is not finite.
        """
        rng = random_generator(rng)
        X, Y = net._doubled(X, Y)
        draws = checked_draws(net, draws, self.kind, X)
        given = {} if draws is None else {"n_draws": draws.shape[1]}
        trainer = make_trainer(self, net, X, Y, X.shape[0], n_threads, **given)
        if self.kind == "monte_carlo":
            draw_targets(trainer.batch, draws, rng, X.shape[0])
        direction, status = trainer.direction(np.arange(X.shape[0]))
        with np.errstate(over="ignore"):
            direction = direction.astype(net.dtype, copy=False)
        if status != _loop.STATUS_OK or not np.isfinite(direction).all():
            raise_fault(trainer.batch)
            what = _loop.NOT_FINITE.get(status, "direction")
            raise FloatingPointError(f"the {what} is not finite at these parameters")
        return direction

    def __repr__(self) -> str:
        preset = type(self) is not MetricGradient
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self).items()
                          if not (preset and name in ("kind", "reduction")))
        return f"{type(self).__name__}({given})"


def make_trainer(optimizer: Optimizer, net: Network, X: np.ndarray, Y: np.ndarray,
                 batch_size: int, n_threads: int | None, **control: Any) -> _loop.Trainer:
    """The compiled loop of an optimizer on checked data; `control` overrides its settings."""
    settings = {
        "interpretation": INTERPRETATIONS.index(net.interpretation), "root": False,
        "signals": _pass.SIGNALS["values"], "statistics": _pass.REDUCTIONS["none"],
        "damping": 0.0, "range_damping": RANGE_DAMPING, "metric_rate": None, "warm_start": False,
        "rule": "constant", "learning_rate": 0.0, "trust_radius": 0.0, "noise_floor": None,
        "metric_fraction": 1.0, "metric_every": 1, "whole_batch": True, "decay": (0.0, 0.0, 0.0),
        "n_draws": 1, "prior": False, "averaging": False,
    } | optimizer._settings() | control
    if optimizer.reduction is not None:
        check_memory(net, optimizer.reduction)
    quasi = settings["statistics"] == _pass.REDUCTIONS["quasi_diagonal"]
    unitwise = settings["statistics"] == _pass.REDUCTIONS["unitwise"]
    centred = quasi or (unitwise and settings["damping"] == "range")
    # in place, or a copy where X is of another dtype than the network
    theta = net.theta.astype(X.dtype, copy=False)
    trainer = _loop.Trainer(net._dag, theta, batch_size, settings, frozen_bytes(net),
                            input_means(net, X) if centred else None, available_threads(n_threads))
    if not scipy.sparse.issparse(X):
        trainer.set_data(X, Y)
    return trainer


def frozen_bytes(net: Network) -> np.ndarray | None:
    """A copy of the frozen flags as the kernels take them; None where nothing is frozen."""
    return net.frozen.view(np.uint8).copy() if net.frozen.any() else None


class MetricGradient(Optimizer):
    """Natural-gradient direction (A + damping)^-1 G of a metric A [O section 2].

    Parameters
    ----------
    kind, reduction : str
        As for `fisherkern.metric`.
    learning_rate : float, optional
        Default: 0.01 at first under "adaptive", a ceiling of 1 under "trust_region".
    damping : "range" or float
        "range" adds 1e-3 of a unit's weight times each source's squared range, so that the
        direction depends on no feature's unit or origin; a float is added to the diagonal.
    metric_update_rate : float, optional
        Of the running metric. Default: whole batch: this batch alone; mini-batches: 0.02;
        online: 1 / (10 (largest fan-in + 1)).
    n_draws : int
        Targets drawn per sample, kind "monte_carlo".
    n_init : int, optional
        Online: samples whose mean starts the metric. Default: 10 (largest fan-in + 1).
    metric_fraction : float
        Share of each batch that the metric is taken from, its first samples, rounded up to whole
        tiles (16 to 64 samples); the gradient is always that of the whole batch. A batch that is
        one tile, as small ones are, gives its metric whole.
    metric_every : int
        Steps from one update of the metric to the next; between them it stays as it is.

    Notes
    -----
    One step costs O(n_edges) per sample; kind "fisher" as much for each output and "monte_carlo"
    for each draw; unitwise O(sum fan_in^2) per sample and O(sum fan_in^3) per step; full
    O(n_parameters^2) per sample and direction and O(n_parameters^3) per step.
    """

    has_metric = True

    def __init__(self, kind: str, reduction: str, *, learning_rate: float | None = None,
                 damping: str | float = "range", metric_update_rate: float | None = None,
                 n_draws: int = 1, n_init: int | None = None, metric_fraction: float = 1.0,
                 metric_every: int = 1) -> None:
        self.kind = kind
        self.reduction = reduction
        self.learning_rate = learning_rate
        self.damping = damping
        self.metric_update_rate = metric_update_rate
        self.n_draws = n_draws
        self.n_init = n_init
        self.metric_fraction = metric_fraction
        self.metric_every = metric_every

    def _settings(self) -> dict[str, Any]:
        kind, reduction = check_kind(self.kind, self.reduction)
        damping = self.damping
        if isinstance(damping, str):
            if damping != "range":
                raise ValueError(f"damping must be 'range' or a number; got {damping!r}")
        else:
            damping = finite_number(damping, "damping", least=0)
        if self.n_init is not None:
            positive_integer(self.n_init, "n_init")
        return {"method": "metric", "signals": _pass.SIGNALS[SIGNALS[kind]],
                "statistics": _pass.REDUCTIONS[reduction], "damping": damping,
                "n_draws": positive_integer(self.n_draws, "n_draws", most=MOST_DRAWS),
                "metric_fraction": finite_number(self.metric_fraction, "metric_fraction", above=0,
                                                 most=1),
                "metric_every": positive_integer(self.metric_every, "metric_every",
                                                 most=2**62)}

    def _update_rate(self, mode: str, net: Network) -> float | None:
        if self.metric_update_rate is not None:
            return finite_number(self.metric_update_rate, "metric_update_rate", above=0, most=1)
        largest = int(np.diff(net.indptr).max())
        return {"whole": None, "mini": MINI_BATCH_RATE, "online": 1 / (10 * largest)}[mode]

    def _initial_samples(self, net: Network, n_samples: int) -> int:
        """Samples whose mean starts the metric of online training."""
        if self.n_init is None:
            return min(n_samples, 10 * int(np.diff(net.indptr).max()))
        if self.n_init > n_samples:
            raise ValueError(f"n_init must be at most n_samples = {n_samples}; got {self.n_init}")
        return int(self.n_init)


class NaturalGradient(MetricGradient):
    """Full Fisher matrix [O Prop. 27]: Amari's natural gradient; undamped, invariant to every
    reparametrization. For small networks; LAPACK's own threads may change the last digits."""

    __init__ = partialmethod(MetricGradient.__init__, "fisher", "full")


class UnitwiseNaturalGradient(MetricGradient):
    """Unit blocks of the Fisher matrix [O Def. 13]."""

    __init__ = partialmethod(MetricGradient.__init__, "fisher", "unitwise")


class QuasiDiagonalNaturalGradient(MetricGradient):
    """Quasi-diagonal reduction of the Fisher matrix [O Def. 6, Prop. 25]."""

    __init__ = partialmethod(MetricGradient.__init__, "fisher", "quasi_diagonal")


class BackpropagatedMetricGradient(MetricGradient):
    """Unitwise backpropagated metric [O Def. 7-9, 13]."""

    __init__ = partialmethod(MetricGradient.__init__, "backpropagated", "unitwise")


class QuasiDiagonalBackpropagatedMetricGradient(MetricGradient):
    """Quasi-diagonal backpropagated metric [O Def. 23, Prop. 25]: the default to try first."""

    __init__ = partialmethod(MetricGradient.__init__, "backpropagated", "quasi_diagonal")


class DiagonalGaussNewton(MetricGradient):
    """Diagonal of the backpropagated metric [O section 1.2]; invariant to units of measure, not to
    origins."""

    __init__ = partialmethod(MetricGradient.__init__, "backpropagated", "diagonal")


class OuterProductGradient(MetricGradient):
    """Full mean outer product of the samples' gradients [O section 2.2]."""

    __init__ = partialmethod(MetricGradient.__init__, "outer_product", "full")


class UnitwiseOuterProductGradient(MetricGradient):
    """Unit blocks of the outer product metric [O Def. 14, (63)]."""

    __init__ = partialmethod(MetricGradient.__init__, "outer_product", "unitwise")


class QuasiDiagonalOuterProductGradient(MetricGradient):
    """Quasi-diagonal reduction of the outer product metric [O Def. 14, 23]."""

    __init__ = partialmethod(MetricGradient.__init__, "outer_product", "quasi_diagonal")


class MonteCarloNaturalGradient(MetricGradient):
    """Full Fisher matrix estimated from drawn targets [O section 2.2, (100)]."""

    __init__ = partialmethod(MetricGradient.__init__, "monte_carlo", "full")


class MonteCarloUnitwiseNaturalGradient(MetricGradient):
    """Unit blocks of the Fisher matrix, estimated from drawn targets [O section 2.2]."""

    __init__ = partialmethod(MetricGradient.__init__, "monte_carlo", "unitwise")


class MonteCarloQuasiDiagonalNaturalGradient(MetricGradient):
    """Quasi-diagonal Fisher matrix, estimated from drawn targets [O section 2.2]."""

    __init__ = partialmethod(MetricGradient.__init__, "monte_carlo", "quasi_diagonal")


class Backpropagation(Optimizer):
    """Gradient descent: delta = G.

    Parameters
    ----------
    learning_rate : float, optional
        Needed by step_size "constant"; 0.01 at first under "adaptive".
    """

    def __init__(self, learning_rate: float | None = None) -> None:
        self.learning_rate = learning_rate

    def _settings(self) -> dict[str, Any]:
        return {"method": "gradient"}


class Momentum(Optimizer):
    """Heavy ball: v <- momentum v + G, delta = v."""

    def __init__(self, learning_rate: float | None = None, *, momentum: float = 0.9) -> None:
        self.learning_rate = learning_rate
        self.momentum = momentum

    def _settings(self) -> dict[str, Any]:
        decay = _below_one(self.momentum, "momentum")
        return {"method": "momentum", "decay": (decay, 0.0, 0.0)}


class Adam(Optimizer):
    """Adam, bias corrected (Kingma and Ba 2015): delta = m / (sqrt(v) + damping)."""

    def __init__(self, learning_rate: float | None = None, *, beta1: float = 0.9,
                 beta2: float = 0.999, damping: float = 1e-8) -> None:
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.damping = damping

    def _settings(self) -> dict[str, Any]:
        decay = (_below_one(self.beta1, "beta1"), _below_one(self.beta2, "beta2"),
                 finite_number(self.damping, "damping", above=0))
        return {"method": "adam", "decay": decay}


class AdaGrad(Optimizer):
    """AdaGrad as in [O section 4]: delta_i = G_i / sqrt(E_x g_i^2 + damping), g per sample.

    Over mini-batches and online, E_x g_i^2 is a running mean as a metric's.
    """

    def __init__(self, learning_rate: float | None = None, *, damping: float = 1e-4,
                 metric_update_rate: float | None = None) -> None:
        self.learning_rate = learning_rate
        self.damping = damping
        self.metric_update_rate = metric_update_rate

    def _settings(self) -> dict[str, Any]:
        return {"method": "metric", "root": True,
                "signals": _pass.SIGNALS[SIGNALS["outer_product"]],
                "statistics": _pass.REDUCTIONS["diagonal"],
                "damping": finite_number(self.damping, "damping", least=0)}

    _update_rate = MetricGradient._update_rate
    _initial_samples = MetricGradient._initial_samples
    n_init = None


PRESETS = {cls.__name__: cls for cls in (
    QuasiDiagonalBackpropagatedMetricGradient, BackpropagatedMetricGradient, DiagonalGaussNewton,
    NaturalGradient, UnitwiseNaturalGradient, QuasiDiagonalNaturalGradient,
    OuterProductGradient, UnitwiseOuterProductGradient, QuasiDiagonalOuterProductGradient,
    MonteCarloNaturalGradient, MonteCarloUnitwiseNaturalGradient,
    MonteCarloQuasiDiagonalNaturalGradient, Backpropagation, Momentum, Adam, AdaGrad)}


def _below_one(value: Any, name: str) -> float:
    number = finite_number(value, name, least=0)
    if number >= 1:
        raise ValueError(f"{name} must be below 1; got {number}")
    return number
