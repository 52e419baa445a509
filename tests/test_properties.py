"""The invariances of the defaults: units and origins of features (mathematics.md section 10)."""

import numpy as np
import pytest
from strategies import assert_close

import fisherkern as fk
from fisherkern import optimizers

INVARIANT = ("unitwise", "quasi_diagonal")


def metric_steps(reduction):
    return optimizers.MetricGradient("backpropagated", reduction, damping="range")


def trained(X, Y, optimizer, interpretation, dtype="float64", **options):
    """Predictions after scheme "data" and training, from the same seeds."""
    net = fk.Network.layered(
        [X.shape[1], 12, 8, 3], fan_in=3, rng=5, interpretation=interpretation, dtype=dtype,
        activation=["relu"] * 12 + ["tanh"] * 8 + ["identity"] * 3)
    net.initialize("data", rng=6, X=X)
    fk.train(net, X, Y, optimizer, rng=7, **options)
    return net.forward(X)


def features(seed=3):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.standard_normal((200, 3)), rng.integers(0, 2, 200),
                         rng.exponential(size=200), np.ones(200)])
    return X, rng


TRAINING = [{"epochs": 4, "batch_size": 25}, {"steps": 15, "step_size": "trust_region"},
            {"steps": 15}, {"epochs": 1, "online": True}]


@pytest.mark.parametrize("options", TRAINING, ids=["mini", "whole", "adaptive", "online"])
@pytest.mark.parametrize("reduction", INVARIANT)
@pytest.mark.parametrize("interpretation", ["softmax", "square"])
def test_training_is_invariant_under_scaled_and_shifted_features(interpretation, reduction,
                                                                 options):
    X, rng = features()
    Y = rng.standard_normal((200, 3)) if interpretation == "square" else rng.integers(0, 3, 200)
    scaled = X * 10 ** rng.uniform(-3, 3, 6)
    shifted = scaled + scaled.std(axis=0) * rng.uniform(-5, 5, 6)
    optimizer = metric_steps(reduction)
    assert_close(trained(shifted, Y, optimizer, interpretation, **options),
                 trained(X, Y, optimizer, interpretation, **options), tolerance=1e-7)


@pytest.mark.parametrize("options", TRAINING, ids=["mini", "whole", "adaptive", "online"])
@pytest.mark.parametrize("reduction", [*INVARIANT, "diagonal"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_training_is_bitwise_the_same_for_features_times_powers_of_two(dtype, reduction, options):
    X, rng = features(4)
    X = X.astype(dtype)
    Y = rng.integers(0, 3, 200)
    optimizer = metric_steps(reduction)
    scales = 2.0 ** np.array([8, -9, 3, -1, 0, 5])
    np.testing.assert_array_equal(trained(X * scales, Y, optimizer, "softmax", dtype, **options),
                                  trained(X, Y, optimizer, "softmax", dtype, **options))
