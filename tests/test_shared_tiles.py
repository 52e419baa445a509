"""The largest networks' form of a pass: threads share each tile, level by level, and training keeps
its running metric and direction in the arrays of the batch. Here on small networks."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    DTYPES,
    assert_close,
    drawn,
    problems,
    random_targets,
    reference_metric,
)
from test_threads import METHODS, large_problem

import fisherkern as fk
from fisherkern import _network, _pass, optimizers, reference
from fisherkern.interpretations import INTERPRETATIONS


@contextmanager
def shared_tiles():
    """Any network is large."""
    limits = _pass.SLOT_BUDGET, _pass.LEVEL_WORK
    _pass.SLOT_BUDGET, _pass.LEVEL_WORK = 0, 0
    try:
        yield
    finally:
        _pass.SLOT_BUDGET, _pass.LEVEL_WORK = limits


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
def test_results_are_those_of_tiles_of_ones_own_for_any_number_of_threads(interpretation, dtype,
                                                                          method):
    net, X, Y = large_problem(interpretation, dtype)
    expected = METHODS[method](net, X, Y, 1)
    with shared_tiles():
        alone = METHODS[method](net, X, Y, 1)
        for n_threads in (2, 3, 5):
            np.testing.assert_array_equal(METHODS[method](net, X, Y, n_threads), alone, strict=True)
    assert_close(alone, expected, dtype)


@given(problems(), st.sampled_from(["fisher", "monte_carlo", "backpropagated", "outer_product"]),
       st.sampled_from(["diagonal", "quasi_diagonal", "unitwise"]))
def test_metrics_vs_reference(problem, kind, reduction):
    net, X, Y = problem
    draws = drawn(kind, net, X)
    with shared_tiles():
        gradient = net.gradient(X, Y)
        A = fk.metric(net, X, Y, kind=kind, reduction=reduction, **draws)
    assert_close(gradient, reference.gradient(net, X, Y), net.dtype)
    expected = reference_metric(net, X, Y, kind, reduction, **draws)
    assert_close(A.diagonal(), np.diag(expected), net.dtype)


RUNNING = {"metric_update_rate": 0.1}
OPTIMIZERS = {
    "gradient": lambda: optimizers.Backpropagation(0.05),
    "momentum": lambda: optimizers.Momentum(0.005),
    "adam": lambda: optimizers.Adam(0.01),
    "quasi-diagonal": lambda: optimizers.QuasiDiagonalBackpropagatedMetricGradient(**RUNNING),
    "absolute damping": lambda: optimizers.QuasiDiagonalBackpropagatedMetricGradient(
        damping=1e-2, **RUNNING),
    "every second": lambda: optimizers.QuasiDiagonalBackpropagatedMetricGradient(
        metric_every=2, **RUNNING),
    "a half": lambda: optimizers.QuasiDiagonalBackpropagatedMetricGradient(
        metric_fraction=0.5, **RUNNING),
    "diagonal": lambda: optimizers.DiagonalGaussNewton(**RUNNING),
    "ada-grad": lambda: optimizers.AdaGrad(0.05),
    "unitwise": lambda: optimizers.BackpropagatedMetricGradient(**RUNNING),
    "monte carlo": lambda: optimizers.MonteCarloQuasiDiagonalNaturalGradient(**RUNNING),
}


def trained(optimizer, options, n_threads=1, interpretation="softmax"):
    net, X, Y = large_problem(interpretation)
    history = fk.train(net, X, Y, OPTIMIZERS[optimizer](), rng=0, progress=False,
                       n_threads=n_threads, **options)
    return net.theta, history.loss


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("interpretation", ["softmax", "square"])  # without and with noise variance
@pytest.mark.parametrize("options", [{"batch_size": 100, "epochs": 3}, {"steps": 12},
                                     {"online": True, "steps": 40}], ids=str)
def test_training_equals_that_with_tiles_of_ones_own(optimizer, interpretation, options):
    theta, losses = trained(optimizer, options, interpretation=interpretation)
    with shared_tiles():
        other, other_losses = trained(optimizer, options, interpretation=interpretation)
        again, _ = trained(optimizer, options, 3, interpretation)
    np.testing.assert_array_equal(again, other)
    assert np.abs(theta - large_problem(interpretation)[0].theta).max() > 1e-4
    assert_close(other, theta, tolerance=1e-8)
    assert_close(other_losses, losses, tolerance=1e-8)


def test_training_with_prior_average_and_frozen_weights():
    options = {"batch_size": 100, "epochs": 3, "prior": "path", "averaging": True}
    theta, _ = trained("quasi-diagonal", options)
    with shared_tiles():
        other, _ = trained("quasi-diagonal", options)
        np.testing.assert_array_equal(trained("quasi-diagonal", options, 3)[0], other)
    assert_close(other, theta, tolerance=1e-8)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_asked_for_ahead_change_nothing(monkeypatch, dtype, shared):
    plain, X, Y = large_problem("softmax", dtype)
    monkeypatch.setattr(_network, "WIDE_LEVEL", 0)
    ahead, _, _ = large_problem("softmax", dtype)
    with shared_tiles() if shared else nullcontext():
        for kind in ("backpropagated", "outer_product"):
            one, two = (fk.metric(net, X, Y, kind=kind, reduction="quasi_diagonal", n_threads=3)
                        .to_dense() for net in (plain, ahead))
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(plain.gradient(X, Y), ahead.gradient(X, Y))


def test_parts_of_the_outgoing_weights_hold_a_unit_of_any_fan_out():
    # a unit with more outgoing edges than a part has, next to many with few
    rng = np.random.default_rng(0)
    n = 20_000
    edges = np.concatenate([[(0, 1), (0, 2)], [(1, k) for k in range(3, n + 3)],
                            [(2, k) for k in range(3, n + 3, 7)],
                            [(k, n + 3 + k % 5) for k in range(3, n + 3)]])
    net = fk.Network(1, edges, interpretation="softmax", activation="tanh", rng=0)
    net.theta[...] = rng.standard_normal(net.n_parameters) / 50
    X = rng.standard_normal((20, 1))
    Y = random_targets(rng, net, 20)
    expected = net.gradient(X, Y)
    with shared_tiles():
        for n_threads in (1, 3):
            assert_close(net.gradient(X, Y, n_threads=n_threads), expected)
