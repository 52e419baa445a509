"""How a table of data is fitted without settings: sizes, steps, the place on the prior's path, and
how many networks (ours: docs/methods.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._validation import boolean, finite_number, positive_integer
from .callbacks import Event
from .history import History
from .network import Network
from .optimizers import Optimizer, QuasiDiagonalBackpropagatedMetricGradient
from .samples import Samples, dense_rows
from .stream import Stream
from .topology import layer_edges
from .training import train

# samples from which a held-out share says enough about a place
_MANY_SAMPLES = 1000
_HELD_OUT, _FEWEST_HELD = 0.15, 20
# networks whose outputs are averaged
_FOLDS, _REFITS = 5, 3
# of the default batches, in multiples of the kernels' narrowest rows; from so many samples on,
# batches and steps grow alike
_BATCH, _ROW, _FEW_SAMPLES = 32, 16, 6400
_LEAST_STEPS, _EPOCHS = 1500, 20
# from which on networks are larger, and on sources are dealt out: so many edges to each input
_MANY_INPUTS, _WIDE, _FAN_OUT = 200, 2048, 4
# that initialization looks at
_SCALE_SAMPLES, _FEWEST_SCALED = 500, 2


def auto_layers(n_inputs: int) -> tuple[tuple[int, ...], int]:
    """Hidden layer sizes, and the fan-in of their units."""
    return ((256, 128), 32) if n_inputs > _MANY_INPUTS else ((128, 64), 16)


def dealt_layers(n_inputs: int, hidden: Sequence[int], fan_in: int, n_outputs: int,
                 activation: str, interpretation: str, rng: np.random.Generator) -> Network:
    """Like `sparse_layers`, but that every input has edges: it is dealt to so many units of the
    first layer, more seldom where that is the same one again."""
    decks = [rng.permutation(n_inputs) for _ in range(_FAN_OUT)]
    first = np.unique(np.concatenate([np.column_stack([
        deck, n_inputs + np.arange(n_inputs) % hidden[0]]) for deck in decks]), axis=0)
    upper = layer_edges([*hidden, n_outputs], [fan_in] * (len(hidden) - 1) + [hidden[-1]], None,
                        None, False, rng) + n_inputs
    n = n_inputs + sum(hidden)
    return Network(n_inputs, np.concatenate([first, upper]), interpretation=interpretation,
                   activation=_activations(hidden, n_outputs, activation, interpretation),
                   outputs=np.arange(n, n + n_outputs), dtype=np.float32, rng=rng)


def sparse_layers(n_inputs: int, hidden: Sequence[int], fan_in: Any, n_outputs: int,
                  activation: str, interpretation: str, rng: np.random.Generator,
                  dtype: Any = np.float32) -> Network:
    """Hidden layers of sparse units and a dense output layer, as the interpretation takes it."""
    sizes = [n_inputs, *hidden, n_outputs]
    below = sizes[:-2] if fan_in is None else np.broadcast_to(fan_in, len(hidden)).tolist()
    return Network.layered(sizes, fan_in=[*below, sizes[-2]], interpretation=interpretation,
                           activation=_activations(hidden, n_outputs, activation, interpretation),
                           dtype=dtype, rng=rng)


def _activations(hidden: Sequence[int], n_outputs: int, activation: str,
                 interpretation: str) -> list[str]:
    """Of hidden units, and what the interpretation takes of outputs."""
    output = "sigmoid" if interpretation == "bernoulli" else "identity"
    return [activation] * sum(hidden) + [output] * n_outputs


def scaled(net: Network, samples: Samples, rng: np.random.Generator) -> Network:
    """The network with parameters drawn for the units of these samples, if they tell them."""
    n = samples.X.shape[0]
    if n < _FEWEST_SCALED:
        return net.initialize("ollivier", rng=rng)
    if samples.is_sparse and samples.X.shape[1] > _WIDE:
        return net.initialize("data", rng=rng, X=samples.X)
    rows = np.sort(rng.choice(n, min(n, _SCALE_SAMPLES), replace=False))
    return net.initialize("data", rng=rng, X=dense_rows(samples.X, rows))


@dataclass(frozen=True)
class Settings:
    """Settings of a fit, all known."""

    # network number i, to start from on these samples
    make: Callable[[int, Samples, np.random.Generator], Network]
    optimizer: Optimizer
    n_steps: int
    batch_size: int
    trust_radius: float
    prior: str | float | None
    averaging: bool
    selection: str  # holdout, folds or none
    validation_fraction: float
    n_networks: int
    n_threads: int | None
    progress: bool


def settings(given: Any, samples: Samples, output_layer: tuple[str, int],
             networks: list[Network] | None, one_epoch: bool) -> Settings:
    """The checked parameters of an estimator; those that are "auto", by the samples.

    Parameters
    ----------
    given : SparseNetClassifier or SparseNetRegressor
    samples : Samples
    output_layer : interpretation and number of outputs
    networks : those to go on from
    one_epoch : of training on parts of the samples
    """
    n = samples.Y.shape[0]  # different ones: what is repeated takes no more work
    batch_size = positive_integer(_auto(given.batch_size, _auto_batch(n)), "batch_size")
    optimizer = _optimizer(given)
    can_have_prior = optimizer.has_metric and optimizer.damping == "range"
    automatic = "path" if can_have_prior else None
    prior = None if given.prior is None else _auto(given.prior, automatic)
    radius = _auto(given.trust_radius,
                   (1e-4 if prior == "path" else 3e-4) * max(1.0, batch_size / _BATCH))
    selection, n_networks = _selection(given, samples, networks, one_epoch)
    return Settings(
        _maker(given, samples.X.shape[1], output_layer, networks), optimizer,
        _n_steps(given, n, batch_size), batch_size,
        finite_number(radius, "trust_radius", above=0), prior,
        boolean(_auto(given.averaging, True), "averaging"), selection,
        finite_number(_auto(given.validation_fraction, _HELD_OUT), "validation_fraction", above=0,
                      most=0.9),
        n_networks, given.n_threads, bool(given.verbose))


def _auto(value: Any, automatic: Any) -> Any:
    return automatic if _is_auto(value) else value


def _is_auto(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value == "auto")


def _optimizer(given: Any) -> Optimizer:
    if _is_auto(given.optimizer):
        return QuasiDiagonalBackpropagatedMetricGradient(damping=_auto(given.damping, "range"))
    if not isinstance(given.optimizer, Optimizer):
        raise TypeError("optimizer must be 'auto' or one of fisherkern.optimizers; got "
                        f"{given.optimizer!r}")
    if not _is_auto(given.damping):
        raise ValueError(f"damping = {given.damping!r} is of the 'auto' optimizer; "
                         f"{given.optimizer!r} has its own")
    return given.optimizer


def _auto_batch(n_samples: float) -> int:
    return _ROW * round(_BATCH / _ROW * max(1.0, (n_samples / _FEW_SAMPLES)**0.5))


def _epochs(epochs: int, n_samples: float, batch_size: int) -> int:
    return max(1, -int(-epochs * n_samples // batch_size))


def _n_steps(given: Any, n_samples: float, batch_size: int) -> int:
    if _is_auto(given.max_epochs) and _is_auto(given.max_steps):
        return max(_LEAST_STEPS, int(_EPOCHS * n_samples // batch_size))
    if _is_auto(given.max_epochs):
        return positive_integer(given.max_steps, "max_steps")
    if _is_auto(given.max_steps):
        return _epochs(positive_integer(given.max_epochs, "max_epochs"), n_samples, batch_size)
    raise ValueError(f"give one of max_steps and max_epochs; got {given.max_steps!r} and "
                     f"{given.max_epochs!r}")


def _selection(given: Any, samples: Samples, networks: list[Network] | None,
               one_epoch: bool) -> tuple[str, int]:
    """How the place is chosen, and for how many networks."""
    count = None if _is_auto(given.n_networks) else positive_integer(given.n_networks, "n_networks")
    if networks is not None:
        if count not in (None, len(networks)):
            raise ValueError(f"n_networks = {count}, but warm_start goes on with {len(networks)}")
        count = len(networks)
    n = samples.Y.shape[0]
    enough = n >= _MANY_SAMPLES or count == 1
    chosen = "none" if one_epoch else _auto(given.selection, "holdout" if enough else "folds")
    if chosen not in ("holdout", "folds", "none"):
        raise ValueError("selection must be 'auto', 'holdout', 'folds' or 'none'; got "
                         f"{chosen!r}")
    if chosen == "folds" and count == 1:
        raise ValueError("selection = 'folds' needs n_networks of at least 2; got 1")
    count = count or {"folds": _FOLDS, "holdout": _REFITS, "none": 1}[chosen]
    fewest = 2 * count if chosen == "folds" else _FEWEST_HELD  # that leave some to train on
    return chosen if n >= fewest else "none", count


def _maker(given: Any, n_inputs: int, output_layer: tuple[str, int],
           networks: list[Network] | None) -> Callable:
    """`Settings.make`."""
    if networks is not None:
        return lambda i, *_: networks[i].copy()
    interpretation, n_outputs = output_layer
    net = given.network
    if net is None:
        hidden, auto_fan_in = auto_layers(n_inputs)
        hidden = _auto(given.hidden_layer_sizes, hidden)
        hidden = [positive_integer(size, "hidden_layer_sizes")
                  for size in (hidden if np.iterable(hidden) else [hidden])]
        fan_in = None if given.fan_in is None else _auto(given.fan_in, auto_fan_in)
        if np.iterable(fan_in) and len(fan_in) != len(hidden):
            raise ValueError(f"fan_in must be one number, or one for each of the {len(hidden)} "
                             f"hidden layers; got {given.fan_in!r}")
        activation = _auto(given.activation, "relu")
        # as many edges as are dealt out are more than those units would draw
        wide = n_inputs > _WIDE and hidden and _FAN_OUT * n_inputs > auto_fan_in * hidden[0]
        automatic = given.fan_in is not None and _is_auto(given.fan_in)
        layers = dealt_layers if wide and automatic else sparse_layers
        return lambda _, samples, rng: scaled(
            layers(n_inputs, hidden, fan_in, n_outputs, activation, interpretation, rng),
            samples, rng)
    if (net.n_inputs, net.n_outputs, net.interpretation) != (n_inputs, n_outputs, interpretation):
        raise ValueError(f"network must have {n_inputs} inputs and {n_outputs} {interpretation} "
                         f"outputs; got {net!r}")
    if given.warm_start:
        return lambda *_: net.copy()
    return lambda _, samples, rng: scaled(net.copy(), samples, rng)


def stream(settings: Settings, samples: Samples, rng: np.random.Generator) -> list[Stream]:
    """What goes on training, part by part, from networks that are drawn for the first one."""
    made = [settings.make(i, samples, np.random.default_rng(rng.integers(2**63)))
            for i in range(settings.n_networks)]
    return [Stream(net, settings.optimizer, settings.batch_size, settings.trust_radius,
                   settings.prior is not None, settings.n_threads) for net in made]


@dataclass(frozen=True)
class Fit:
    """Trained networks, whose outputs are to be averaged, and the runs that led to them."""

    networks: list[Network]
    histories: list[History]
    place: int  # steps after which they were taken


def fit(settings: Settings, samples: Samples, strata: np.ndarray, rng: np.random.Generator) -> Fit:
    """Train by the settings; `strata` numbers the groups that held-out samples are to represent."""
    seeds = [int(seed) for seed in rng.integers(2**63, size=settings.n_networks)]
    if settings.selection == "none":
        return _fit_all(settings, samples, seeds)
    way = _fit_holdout if settings.selection == "holdout" else _fit_folds
    return way(settings, samples, strata, seeds, rng)


def _fit_all(settings: Settings, samples: Samples, seeds: list[int],
             place: int | None = None) -> Fit:
    """Networks trained on all samples, to the end or to a place."""
    networks, histories = [], []
    for i, seed in enumerate(seeds):
        net, history = _run(settings, samples, i, seed, selection=place)
        networks.append(net)
        histories.append(history)
    return Fit(networks, histories, place or settings.n_steps)


def _fit_holdout(settings: Settings, samples: Samples, strata: np.ndarray, seeds: list[int],
                 rng: np.random.Generator) -> Fit:
    """The place where a held-out share is told best; then networks trained on all up to there."""
    share = settings.validation_fraction
    held = held_out(strata, share, rng)
    if not 0 < held.sum() < held.size:
        raise ValueError(f"validation_fraction = {share} holds out {held.sum()} of {held.size} "
                         "samples")
    _, history = _run(settings, samples.take(~held), 0, seeds[0], samples.take(held),
                      selection="best")
    chosen = _fit_all(settings, samples, seeds, history.selected)
    return Fit(chosen.networks, [history, *chosen.histories], chosen.place)


def _fit_folds(settings: Settings, samples: Samples, strata: np.ndarray, seeds: list[int],
               rng: np.random.Generator) -> Fit:
    """One network for each fold that is left out, and the place that is best for all of them."""
    fold = _ranks(strata, rng) % settings.n_networks
    networks, histories, kept = [], [], []
    pooled: dict[int, float] = {}
    for i, seed in enumerate(seeds):
        places: dict[int, np.ndarray] = {}
        held = samples.take(fold == i)
        net, history = _run(settings, samples.take(fold != i), i, seed, held, selection="best",
                            callbacks=[_Keep(places)])
        for step, loss in history.validation:
            pooled[step] = pooled.get(step, 0.0) + held.total * loss
        networks.append(net)
        histories.append(history)
        kept.append(places)
    place = min(pooled, key=pooled.__getitem__)
    for net, places in zip(networks, kept, strict=True):
        net.theta = places[place]
    return Fit(networks, histories, place)


def _run(settings: Settings, samples: Samples, i: int, seed: int, held: Samples | None = None,
         **options: Any) -> tuple[Network, History]:
    rng = np.random.default_rng(seed)
    net = settings.make(i, samples, rng)
    validation = None if held is None else (held.X, held.Y, held.weights)
    history = train(
        net, samples.X, samples.Y, settings.optimizer, steps=settings.n_steps,
        batch_size=min(settings.batch_size, int(samples.total)),
        trust_radius=settings.trust_radius, prior=settings.prior, averaging=settings.averaging,
        sample_weight=samples.weights, validation=validation, progress=settings.progress, rng=rng,
        n_threads=settings.n_threads, **options)
    if history.stopped == "interrupted":
        raise KeyboardInterrupt
    return net, history


class _Keep:
    """Callback that keeps the parameters of every place."""

    on_validation = True

    def __init__(self, places: dict[int, np.ndarray]) -> None:
        self._places = places

    def __call__(self, event: Event) -> None:
        self._places[event.step] = event.parameters


def held_out(strata: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Which samples make up a share that represents every stratum."""
    ranks = _ranks(strata, rng)
    return np.floor((ranks + 1) * share) > np.floor(ranks * share)


def _ranks(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A number for each sample such that neighbours in number are of the same stratum."""
    order = rng.permutation(strata.size)
    ranks = np.empty(strata.size, np.int64)
    ranks[order[np.argsort(strata[order], kind="stable")]] = np.arange(strata.size)
    return ranks
