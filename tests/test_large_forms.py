"""Forms of a pass that larger networks take, here on small ones.

Shared tiles: threads share each tile, level by level, and training keeps its running metric and
direction in the arrays of the batch. By sources: sums are taken in the backward pass.
"""

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
def limits(**values):
    """Other sizes at which a pass takes another form."""
    before = {name: getattr(_pass, name) for name in values}
    for name, value in values.items():
        setattr(_pass, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(_pass, name, value)


def shared_tiles():
    return limits(SLOT_BUDGET=0, LEVEL_WORK=0)


def by_sources():
    return limits(SOURCE_ROWS=0, SOURCE_ROW=0)


FORMS = pytest.mark.parametrize("form", [shared_tiles, by_sources])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
@FORMS
def test_results_are_those_of_the_usual_form_for_any_number_of_threads(form, interpretation, dtype,
                                                                       method):
    net, X, Y = large_problem(interpretation, dtype)
    expected = METHODS[method](net, X, Y, 1)
    with form():
        alone = METHODS[method](net, X, Y, 1)
        for n_threads in (2, 3, 5):
            np.testing.assert_array_equal(METHODS[method](net, X, Y, n_threads), alone, strict=True)
    assert_close(alone, expected, dtype)


@given(problems(), st.sampled_from(["fisher", "monte_carlo", "backpropagated", "outer_product"]),
       st.sampled_from(["diagonal", "quasi_diagonal", "unitwise"]),
       st.sampled_from([shared_tiles, by_sources]))
def test_metrics_vs_reference(problem, kind, reduction, form):
    net, X, Y = problem
    draws = drawn(kind, net, X)
    with form():
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
@FORMS
def test_training_equals_that_of_the_usual_form(form, optimizer, interpretation, options):
    theta, losses = trained(optimizer, options, interpretation=interpretation)
    with form():
        other, other_losses = trained(optimizer, options, interpretation=interpretation)
        again, _ = trained(optimizer, options, 3, interpretation)
    np.testing.assert_array_equal(again, other)
    assert np.abs(theta - large_problem(interpretation)[0].theta).max() > 1e-4
    assert_close(other, theta, tolerance=1e-8)
    assert_close(other_losses, losses, tolerance=1e-8)


@FORMS
def test_training_with_prior_average_and_frozen_weights(form):
    options = {"batch_size": 100, "epochs": 3, "prior": "path", "averaging": True}
    theta, _ = trained("quasi-diagonal", options)
    with form():
        other, _ = trained("quasi-diagonal", options)
        np.testing.assert_array_equal(trained("quasi-diagonal", options, 3)[0], other)
    assert_close(other, theta, tolerance=1e-8)


@pytest.mark.parametrize("form", [nullcontext, shared_tiles, by_sources])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_asked_for_ahead_change_nothing(monkeypatch, dtype, form):
    plain, X, Y = large_problem("softmax", dtype)
    monkeypatch.setattr(_network, "WIDE_LEVEL", 0)
    ahead, _, _ = large_problem("softmax", dtype)
    with form():
        for kind in ("backpropagated", "outer_product"):
            one, two = (fk.metric(net, X, Y, kind=kind, reduction="quasi_diagonal", n_threads=3)
                        .to_dense() for net in (plain, ahead))
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(plain.gradient(X, Y), ahead.gradient(X, Y))


@pytest.mark.parametrize(("width", "reduction", "form"), [
    (60, "none", "own"), (4000, "none", "by source"), (4000, "quasi_diagonal", "by source"),
    (4000, "unitwise", "own"), (300_000, "none", "shared"), (300_000, "quasi_diagonal", "shared"),
    (300_000, "unitwise", "own")])
def test_forms_by_the_size_of_the_network(width, reduction, form):
    net = fk.Network.layered([40, width, width, 7], fan_in=[5, 5, 7], dtype="float32", rng=0,
                             replace=True, interpretation="softmax", activation="tanh")
    X = np.zeros((64, 40), np.float32)
    batch = net._pass("statistics", X, np.zeros(64, np.int64), 1, "values_modulus", reduction)
    assert batch.form == form


@pytest.mark.parametrize(("n_samples", "reduction", "form"), [
    (32, "none", "own"), (64, "none", "own"), (128, "none", "by source"),
    (128, "quasi_diagonal", "own")])
def test_forms_of_a_network_of_middle_size(n_samples, reduction, form):
    net = fk.Network.layered([784, 1000, 1000, 10], fan_in=5, dtype="float32", rng=0)
    X, Y = np.zeros((n_samples, 784), np.float32), np.zeros((n_samples, 10), np.float32)
    signals = "values" if reduction == "none" else "values_modulus"
    assert net._pass("statistics", X, Y, 1, signals, reduction).form == form


@pytest.mark.parametrize("scale", [1, 1e25])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_by_sources_are_those_by_targets_bit_for_bit(dtype, scale):
    # squares of the larger features are beyond float32, and so are some entries of the metric; dead
    # units, whose entries are 0, must stay so
    rng = np.random.default_rng(0)
    net = fk.Network.layered([20, 30, 5], fan_in=7, dtype=dtype, rng=rng, interpretation="softmax",
                             activation=["relu"] * 30 + ["identity"] * 5)
    X = (scale * rng.standard_normal((100, 20))).astype(dtype)
    net.initialize("data", rng=rng, X=X)
    net.theta[net.indptr[:10]] = -100  # units that no sample reaches
    batches = []
    for form in (nullcontext, by_sources):
        with form():
            batch = net._pass("statistics", X, np.zeros(100, np.int64), 1, "values_modulus",
                              "quasi_diagonal")
            batch.run()
            batches.append(batch.sums())
    for one, two in zip(*(sums[:3] for sums in batches), strict=True):
        assert not np.isnan(one).any()
        np.testing.assert_array_equal(one, two)
    assert (batches[0].diagonal == 0).sum() >= 10 * 8


@pytest.mark.parametrize("n_samples", [10, 20, 40, 1200])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_by_sources_are_those_by_targets_bit_for_bit(dtype, n_samples):
    # rows of every width, many tiles in a slot, 0 to 7 and more outgoing edges, outputs that feed
    # units and units that feed none
    rng = np.random.default_rng(0)
    edges = [(i, k) for k in range(8, 48) for i in rng.choice(k, min(k, 1 + k % 9), replace=False)]
    net = fk.Network(8, edges, outputs=[12, 20, 21, *range(36, 48)], dtype=dtype, rng=rng,
                     activation=[("tanh", "relu", "identity", "silu")[k % 4] for k in range(40)],
                     interpretation="square")
    fan_out = np.bincount(net.edges[:, 0], minlength=net.n_units)
    assert set(range(8)) <= set(fan_out)
    assert fan_out[net.outputs].max() > 3
    net.theta[...] = rng.standard_normal(net.n_parameters) / 2
    X, Y = (rng.standard_normal((n_samples, n)).astype(dtype) for n in (8, 15))
    gradients = []
    for form in (nullcontext, by_sources):
        with form():
            batch = net._pass("statistics", X, Y, 1, "values", "none")
            batch.run()
            gradients.append(batch.sums().gradient)
            assert batch.form == ("own" if form is nullcontext else "by source")
    assert (gradients[0] != 0).mean() > 0.6
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize(("form", "name"), [(shared_tiles, "shared"), (by_sources, "by source")])
def test_small_networks_take_the_form_that_is_asked_for(form, name):
    net, X, Y = large_problem()
    with form():
        for reduction in ("none", "diagonal", "quasi_diagonal"):
            assert net._pass("statistics", X, Y, 1, "values_modulus", reduction).form == name


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
    for form in (shared_tiles, by_sources):
        with form():
            for n_threads in (1, 3):
                assert_close(net.gradient(X, Y, n_threads=n_threads), expected)
