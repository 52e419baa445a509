"""The experiment of [O section 4]: a sparse auto-encoder, sigmoid and tanh from the same start.

A network 100-30-10-30-100 learns to reproduce 16 random binary strings of length 100 through 10
middle units, in batch mode, with Bernoulli outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import optimizers
from ..history import History
from ..network import Network
from ..topology import layer_edges
from ..training import train

SIZES = (100, 30, 10, 30, 100)
N_LINKS = 5
N_STRINGS = 16
DAMPING = 1e-4
ACTIVATIONS = ("sigmoid", "tanh")
LINKS = ("parallel", "distinct")


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    Attributes
    ----------
    name : str
    optimizer : str
        Class in `fisherkern.optimizers`.
    iterations : int
        In the time of 10,000 of backpropagation [O Table 1].
    paper : mapping, optional
        Activation to the printed mean and deviation in bits [O Table 2].
    n_draws : int
        Of a Monte Carlo metric.
    """

    name: str
    optimizer: str
    iterations: int
    paper: dict[str, tuple[float, float]] | None = None
    n_draws: int = 1

    @property
    def key(self) -> str:
        """Short name for files."""
        return self.optimizer + (f"-{self.n_draws}" if self.n_draws > 1 else "")

    @property
    def reduction(self) -> str | None:
        return optimizers.PRESETS[self.optimizer]().reduction

    @property
    def compared(self) -> bool:
        """Whether trajectories and damping are looked at: the invariant methods that draw nothing
        and take no full matrix."""
        return self.reduction in ("unitwise", "quasi_diagonal") \
            and optimizers.PRESETS[self.optimizer]().kind != "monte_carlo"

    def make(self, damping: float = DAMPING) -> optimizers.Optimizer:
        cls = optimizers.PRESETS[self.optimizer]
        options: dict[str, Any] = {"n_draws": self.n_draws} if self.n_draws > 1 else {}
        if hasattr(cls(), "damping"):
            options["damping"] = damping
        return cls(**options)


def _table_row(name: str, optimizer: str, iterations: int, *values: float,
               n_draws: int = 1) -> Method:
    paper = None
    if values:
        paper = {"sigmoid": (values[0], values[1]), "tanh": (values[2], values[3])}
    return Method(name, optimizer, iterations, paper, n_draws)


METHODS = (
    _table_row("backpropagation", "Backpropagation", 10_000, 35.9, 2.1, 24.7, 2.2),
    _table_row("diagonal Gauss-Newton", "DiagonalGaussNewton", 7750, 11.6, 2.5, 3.5, 2.0),
    _table_row("AdaGrad", "AdaGrad", 8050, 51.1, 3.3, 25.3, 2.0),
    _table_row("unitwise natural gradient", "UnitwiseNaturalGradient", 2200, 0.9, 1.0, 1.4, 1.8),
    _table_row("quasi-diagonal natural gradient", "QuasiDiagonalNaturalGradient", 2950,
               3.5, 1.2, 3.4, 1.6),
    _table_row("backpropagated metric", "BackpropagatedMetricGradient", 4250, 0.8, 0.8, 0.3, 0.5),
    _table_row("quasi-diagonal backpropagated metric",
               "QuasiDiagonalBackpropagatedMetricGradient", 7450, 1.9, 1.2, 1.5, 1.3),
    _table_row("Monte Carlo unitwise natural gradient", "MonteCarloUnitwiseNaturalGradient", 2850,
               12.9, 1.5, 14.1, 2.2),
    _table_row("Monte Carlo unitwise natural gradient, 2 draws",
               "MonteCarloUnitwiseNaturalGradient", 2850, n_draws=2),
    _table_row("Monte Carlo quasi-diagonal natural gradient",
               "MonteCarloQuasiDiagonalNaturalGradient", 3950, 7.9, 2.3, 10.1, 2.5),
    _table_row("Monte Carlo quasi-diagonal natural gradient, 2 draws",
               "MonteCarloQuasiDiagonalNaturalGradient", 3950, n_draws=2),
    _table_row("unitwise outer product", "UnitwiseOuterProductGradient", 4050,
               24.7, 2.5, 28.5, 3.4),
)


# mean and deviation in bits of 20 runs at a tenth of the iterations, parallel links: what a quick
# run is checked against, by optimizer and number of draws
QUICK = {
    ("Backpropagation", 1): {"sigmoid": (59.6, 4.0), "tanh": (39.1, 1.8)},
    ("DiagonalGaussNewton", 1): {"sigmoid": (44.3, 3.3), "tanh": (20.5, 2.6)},
    ("AdaGrad", 1): {"sigmoid": (70.1, 4.3), "tanh": (35.3, 1.9)},
    ("UnitwiseNaturalGradient", 1): {"sigmoid": (10.4, 2.2), "tanh": (11.0, 2.3)},
    ("QuasiDiagonalNaturalGradient", 1): {"sigmoid": (21.0, 2.3), "tanh": (21.0, 1.9)},
    ("BackpropagatedMetricGradient", 1): {"sigmoid": (8.4, 2.2), "tanh": (8.7, 2.9)},
    ("QuasiDiagonalBackpropagatedMetricGradient", 1): {"sigmoid": (15.4, 2.8), "tanh": (16.1, 2.8)},
    ("MonteCarloUnitwiseNaturalGradient", 1): {"sigmoid": (54.8, 2.5), "tanh": (86.7, 3.8)},
    ("MonteCarloUnitwiseNaturalGradient", 2): {"sigmoid": (28.5, 3.1), "tanh": (34.5, 3.3)},
    ("MonteCarloQuasiDiagonalNaturalGradient", 1): {"sigmoid": (33.5, 3.9), "tanh": (42.2, 4.7)},
    ("MonteCarloQuasiDiagonalNaturalGradient", 2): {"sigmoid": (23.1, 3.4), "tanh": (27.6, 2.9)},
    ("UnitwiseOuterProductGradient", 1): {"sigmoid": (31.6, 2.3), "tanh": (35.5, 3.2)},
}


def method(name: str) -> Method:
    """The table's row of an optimizer's class name, or a new one: 10,000 iterations, as
    backpropagation has, or 10 of a full matrix (9.5 for the natural gradient in [O Table 1])."""
    for row in METHODS:
        if row.optimizer == name and row.n_draws == 1:
            return row
    if name not in optimizers.PRESETS:
        raise ValueError(f"unknown optimizer {name!r}; known: {', '.join(optimizers.PRESETS)}")
    full = optimizers.PRESETS[name]().reduction == "full"
    return Method(name, name, 10 if full else 10_000)


def links(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Edges: from each unit to 5 random ones towards the middle, and from 5 random ones after it;
    drawn with replacement and kept ("parallel"), or without."""
    replace = kind == "parallel"
    encoder = layer_edges(list(SIZES[:3]), None, N_LINKS, None, replace, rng)
    decoder = layer_edges(list(SIZES[2:]), N_LINKS, None, None, replace, rng)
    return np.concatenate([encoder, decoder + sum(SIZES[:2])])


def problem(seed: int, run: int, activation: str, kind: str = "parallel",
            ) -> tuple[Network, np.ndarray, np.ndarray]:
    """Network, inputs and targets of one run; both activations have the same strings, links and
    start: w = 4 w_tanh, w_0k = -sum_i w_ik / 2."""
    rng = np.random.default_rng([seed, run])
    strings = rng.integers(2, size=(N_STRINGS, SIZES[0]))
    net = Network(SIZES[0], links(rng, kind), activation=activation, interpretation="bernoulli",
                  outputs=np.arange(sum(SIZES[:-1]), sum(SIZES)), allow_parallel=True, rng=rng)
    inputs = strings if activation == "sigmoid" else 2 * strings - 1
    return net, inputs.astype(np.float64), strings.astype(np.float64)


def whole(history: History, steps: int) -> None:
    """`train` ends at Ctrl-C with what it has; here that is no result."""
    if len(history.loss) < steps:
        raise KeyboardInterrupt


@dataclass(frozen=True)
class Task:
    """One run: enough to compute it in another process."""

    method: Method
    activation: str
    links: str
    seed: int
    run: int
    iterations: int
    damping: float = DAMPING

    @property
    def key(self) -> str:
        """File name of its result."""
        damping = "" if self.damping == DAMPING else f"-{self.damping:g}"
        return (f"{self.method.key}{damping}-{self.activation}-{self.links}-{self.seed}"
                f"-{self.run}")

    def compute(self) -> np.ndarray:
        """(iterations + 1,) bits per sample before each attempt and at the end."""
        net, X, Y = problem(self.seed, self.run, self.activation, self.links)
        history = train(net, X, Y, self.method.make(self.damping), steps=self.iterations,
                        rng=np.random.default_rng([self.seed, self.run, 1]), n_threads=1,
                        progress=False)
        whole(history, self.iterations)
        return np.append(history.bits, net.loss(X, Y, n_threads=1) / np.log(2))
