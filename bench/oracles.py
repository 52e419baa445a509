"""What every contender must compute before it is timed, cached by workload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

import fisherkern as fk
from fisherkern import reference

from .layers import filled
from .loop import CURVATURE, CURVATURE_DAMPING, SEED, TRUST_RADIUS, made, stepper
from .workloads import WORKLOADS, Workload

# norms of errors over norms: float64 against the reference, float32 against a float64 pass
TOLERANCE = {"float64": 1e-10, "float32": 2e-3}
# largest error of a peer over the largest entry, both in the network's precision
PEER_TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
DENSE = ", dense"


@cache
def workload(name: str) -> Workload:
    """By its name; with `DENSE` behind it, the dense network that computes the same."""
    return filled(workload(name.removesuffix(DENSE))) if name.endswith(DENSE) else \
        WORKLOADS[name]()


@cache
def in_double(name: str) -> Workload:
    """The workload in float64."""
    net, X, Y = workload(name)
    double = fk.Network(net.n_inputs, net.edges, outputs=net.outputs, activation=net.activations,
                        interpretation=net.interpretation, allow_parallel=True)
    double.theta = net.theta
    return double, X.astype(np.float64), Y


@cache
def outputs(name: str) -> np.ndarray:
    net, X, _ = in_double(name)
    if name == "W1":
        return reference.activities(net, X)[:, net.outputs]
    return net.forward(X)


@cache
def gradient(name: str) -> np.ndarray:
    source = reference.gradient if name == "W1" else fk.Network.gradient
    return source(*in_double(name))


@cache
def step(name: str, optimizer: str) -> np.ndarray:
    """What one step at learning rate 1 adds to theta."""
    net, X, Y = in_double(name)
    make, mini_batches = made(optimizer)
    direction = _reference_direction if name == "W1" else type(make()).direction
    delta = direction(make(), net, X, Y, **_drawn(name, optimizer))
    if not mini_batches:
        return delta
    promise = -delta @ gradient(name)
    return delta * min(1, np.sqrt(2 * TRUST_RADIUS / promise), net.loss(X, Y) / promise)


def _drawn(name: str, optimizer: str) -> dict[str, np.ndarray]:
    """The classes that the first step of `loop.stepper` draws, as `direction` takes them."""
    net, X, _ = workload(name)
    if made(optimizer)[0]().kind != "monte_carlo":
        return {}
    numbers = np.random.default_rng(SEED).random((len(X), 1), net.dtype)
    return {"draws": reference.targets_from_random(net, X, numbers).argmax(axis=2)}


def adam_step(name: str, rate: float, damping: float = 1e-8) -> np.ndarray:
    """What Adam's first step adds to theta: its bias corrections cancel."""
    g = gradient(name)
    return -rate * g / (np.abs(g) + damping)


@cache
def metric(name: str, reduction: str) -> fk.metrics.Metric:
    """Fisher's, in float64."""
    net, X, _ = in_double(name)
    return fk.metric(net, X, kind="fisher", reduction=reduction)


def check_mean(name: str, traces: Sequence[float]) -> None:
    """Raise AssertionError unless traces from drawn targets have the exact one as their mean."""
    error = np.mean(traces) - metric(name, "diagonal").diagonal().sum()
    margin = 5 * np.std(traces, ddof=1) / np.sqrt(len(traces))
    assert abs(error) <= margin, f"{name}: off by {error:.1e} where {margin:.1e} is allowed"


def _reference_direction(opt, net, X, Y) -> np.ndarray:
    if isinstance(opt, fk.optimizers.Backpropagation):
        return -reference.gradient(net, X, Y)
    if isinstance(opt, fk.optimizers.Adam):
        return adam_step("W1", 1.0)
    if isinstance(opt, fk.optimizers.AdaGrad):
        return reference.adagrad_direction(net, X, Y, opt.damping)
    A = reference.unitwise_metric(net, X, opt.kind)
    G = -reference.gradient(net, X, Y)
    if opt.damping == "range":
        a = reference.activities(net, X)
        return reference.range_direction(net, A, G, opt.reduction, a.max(axis=0) - a.min(axis=0))
    return reference.direction(net, A, G, opt.reduction, opt.damping)


def check_step(name: str, optimizer: str, n_threads: int = 1) -> None:
    """Raise AssertionError unless a step inside the compiled loop adds to theta what it should."""
    net, X, Y = workload(name)
    moved = net.copy()
    stepper((moved, X, Y), optimizer, n_threads=n_threads, learning_rate=1.0)(1)
    delta = moved.theta.astype(np.float64) - net.theta
    kind, _, reduction = optimizer.partition(", ")
    if optimizer in CURVATURE and reduction == "unitwise":
        # units of a thousand links and 128 samples: float32 solves the equation to more digits
        # than its solution has
        A = fk.metric(*in_double(name)[:2], kind=kind, reduction=reduction,
                      **_drawn(name, optimizer))
        check(name, A.matvec(delta) + CURVATURE_DAMPING * delta, -gradient(name))
    else:
        check(name, delta, step(name, optimizer))


def check(name: str, values: np.ndarray, expected: np.ndarray, dtype: str | None = None) -> None:
    """Raise AssertionError where the relative error is above the tolerance of the dtype, which is
    the workload's unless given."""
    error = np.linalg.norm(values - expected) / np.linalg.norm(expected)
    limit = TOLERANCE[dtype or workload(name)[0].dtype.name]
    assert error <= limit, f"{name}: relative error {error:.1e}"


def check_peer(name: str, peer_class: Callable, **options) -> None:
    """Raise AssertionError unless a peer's gradient is the network's, before and after a step.

    Where a peer has another step than the gradient's, `first_step` of the workload's name and
    `checked_rate` tells what it adds to theta. Where that is taken from the peer's own metric, of
    drawn targets, `check_metric` has compared this one with fisherkern's. `checked_in_double`: the
    step is that of the same code in float64, where float32 keeps too few of its digits.
    """
    net, X, Y = workload(name)
    values, expected = peer_class(net, X, Y, **options).gradient(), gradient(name)
    error = np.abs(values - expected).max() / np.abs(expected).max()
    assert error <= PEER_TOLERANCE[net.dtype.name], f"{name}: relative error {error:.1e}"
    if hasattr(peer_class, "check_metric"):
        peer_class.check_metric(name, **options)
    rate = getattr(peer_class, "checked_rate", 1.0)
    moved, *data = in_double(name)
    in_doubles = getattr(peer_class, "checked_in_double", False)
    given = in_double(name) if in_doubles else (net, X, Y)
    moved, peer = moved.copy(), peer_class(*given, learning_rate=rate, **options)
    if hasattr(peer_class, "first_step"):
        moved.theta += peer.first_step(name, rate)
    else:
        moved.theta += rate * step(name, "backpropagation")
    peer.run(1)
    check(name, peer.gradient(), moved.gradient(*data), given[0].dtype.name)
