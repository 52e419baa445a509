"""The metric from a part of each batch, or every few steps."""

import numpy as np
import pytest
from strategies import assert_close, random_problem

import fisherkern as fk

PARTIAL = [("backpropagated", "quasi_diagonal"), ("backpropagated", "unitwise"),
           ("fisher", "quasi_diagonal"), ("outer_product", "diagonal"), ("fisher", "full")]


def partial_problem(seed=5):
    return random_problem(np.random.default_rng(seed), n_samples=256, frozen=0, parallel=False,
                          activations=("tanh", "sigmoid"), dtype="float64")


@pytest.mark.parametrize("form", PARTIAL)
def test_metric_fraction_takes_the_metric_of_the_first_samples(form):
    net, X, Y = partial_problem()
    # 64 samples, whatever the width of a tile
    optimizer = fk.optimizers.MetricGradient(*form, damping=1e-2, metric_fraction=0.25)
    A = fk.metric(net, X[:64], Y[:64], kind=form[0], reduction=form[1])
    expected = A.solve(-net.gradient(X, Y), 1e-2)
    assert_close(optimizer.direction(net, X, Y), expected, tolerance=1e-9)


@pytest.mark.parametrize(("fraction", "every"), [(1.0, 3), (0.25, 2)])
@pytest.mark.parametrize("form", PARTIAL)
def test_metric_every_keeps_the_metric_between_its_updates(form, fraction, every):
    net, X, Y = partial_problem(6)
    twin, n = net.copy(), int(fraction * 256)
    optimizer = fk.optimizers.MetricGradient(*form, damping=1e-2, learning_rate=0.1,
                                             metric_fraction=fraction, metric_every=every)
    for step in range(5):
        if step % every == 0:
            A = fk.metric(twin, X[:n], Y[:n], kind=form[0], reduction=form[1])
        twin.theta += 0.1 * A.solve(-twin.gradient(X, Y), 1e-2)
    fk.train(net, X, Y, optimizer, steps=5, step_size="constant")
    assert_close(net.theta, twin.theta, tolerance=1e-9)


def test_metric_every_under_the_adaptive_control_counts_directions():
    net, X, Y = partial_problem(7)
    plain, kept = (fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient(
        damping=1e-3, learning_rate=3.0, metric_every=every) for every in (1, 4))
    twin = net.copy()
    history = fk.train(net, X, Y, kept, steps=60)
    fk.train(twin, X, Y, plain, steps=60)
    assert not np.array_equal(net.theta, twin.theta)
    assert not all(history.accepted)
    assert net.loss(X, Y) < history.loss[0]


@pytest.mark.parametrize(("options", "message"), [
    ({"metric_fraction": 0}, "metric_fraction"), ({"metric_fraction": 1.5}, "metric_fraction"),
    ({"metric_every": 0}, "metric_every"), ({"metric_every": 2.5}, "metric_every"),
])
def test_bad_share_of_the_metric_is_named(options, message):
    net, X, Y = partial_problem()
    optimizer = fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient(**options)
    with pytest.raises((ValueError, TypeError), match=message):
        fk.train(net, X, Y, optimizer, steps=1)
