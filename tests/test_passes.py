"""Forward and backward passes against fisherkern.reference on random DAGs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    DTYPES,
    SAMPLE_COUNTS,
    SMOOTH_ACTIVATIONS,
    TOLERANCE,
    assert_close,
    problems,
    random_problem,
)

import fisherkern as fk
from fisherkern import reference
from fisherkern.interpretations import ACTIVATIONS, BERNOULLI_ACTIVATIONS, INTERPRETATIONS

PASSES = {
    "activities": lambda net, X, Y: net.activities(X),
    "forward": lambda net, X, Y: net.forward(X),
    "losses": lambda net, X, Y: net.losses(X, Y),
    "loss": lambda net, X, Y: net.loss(X, Y),
    "gradient": lambda net, X, Y: net.gradient(X, Y),
    "backpropagated_modulus": lambda net, X, Y: net.backpropagated_modulus(X),
    "reduced_modulus": lambda net, X, Y: net.backpropagated_modulus(X, reduced=True),
    "transfer_rates": lambda net, X, Y: net.transfer_rates(X),
    "fisher_modulus": lambda net, X, Y: net.fisher_modulus(X),
    "reduced_fisher_modulus": lambda net, X, Y: net.fisher_modulus(X, reduced=True),
}


def gradient_scale(net, X, Y):
    """Largest entry of the mean |sample gradient|: what may cancel in the mean."""
    return np.abs(reference.sample_gradients(net, X, Y)).mean(axis=0).max()


def loss_scale(net, X, Y):
    """Losses are sums over outputs of terms as large as the activities."""
    return 1 + np.abs(reference.activities(net, X)[:, net.outputs]).max(axis=1) ** 2


# --- against the reference ------------------------------------------------------------------------


@given(problems())
def test_activities_vs_reference(problem):
    net, X, _ = problem
    assert_close(net.activities(X), reference.activities(net, X), net.dtype)


@given(problems())
def test_forward_is_the_outputs_columns_of_activities(problem):
    net, X, _ = problem
    np.testing.assert_array_equal(net.forward(X), net.activities(X)[:, net.outputs])


@given(problems())
def test_losses_vs_reference(problem):
    net, X, Y = problem
    losses = net.losses(X, Y)
    assert losses.dtype == np.float64
    assert_close(losses, reference.losses(net, X, Y), net.dtype, scale=loss_scale(net, X, Y))


@given(problems())
def test_loss_is_the_mean_of_losses(problem):
    net, X, Y = problem
    assert net.loss(X, Y) == pytest.approx(net.losses(X, Y).mean(), rel=1e-13)


@given(problems())
def test_gradient_vs_reference(problem):
    net, X, Y = problem
    expected = reference.gradient(net, X, Y)
    assert_close(net.gradient(X, Y), expected, net.dtype, scale=gradient_scale(net, X, Y))


@given(problems())
def test_frozen_entries_of_gradient_are_exact_zeros(problem):
    net, X, Y = problem
    assert not net.gradient(X, Y)[net.frozen].any()


@given(problems(), st.booleans())
def test_backpropagated_modulus_vs_reference(problem, reduced):
    net, X, _ = problem
    expected = reference.backpropagated_modulus(net, X, reduced)
    assert_close(net.backpropagated_modulus(X, reduced), expected, net.dtype)


@given(problems(), st.booleans())
def test_fisher_modulus_vs_reference(problem, reduced):
    net, X, _ = problem
    expected = reference.fisher_modulus(net, X, reduced)
    assert_close(net.fisher_modulus(X, reduced), expected, net.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_moduli_of_spherical_outputs_that_are_all_zero_vs_reference(dtype):
    net = fk.Network.layered([2, 3, 2], activation="relu", interpretation="spherical", rng=0,
                             dtype=dtype)
    net.theta[net.indptr[3:5]] = -100
    X = np.random.default_rng(0).standard_normal((20, 2))
    for reduced, outputs in ((False, np.inf), (True, 0)):
        for name in ("fisher_modulus", "backpropagated_modulus"):
            modulus = getattr(net, name)(X, reduced)
            np.testing.assert_array_equal(modulus, getattr(reference, name)(net, X, reduced))
            assert np.all(modulus[:, net.outputs] == outputs)


@given(problems())
def test_transfer_rates_vs_reference(problem):
    net, X, _ = problem
    expected = reference.transfer_rates(net, X)
    rates = net.transfer_rates(X)
    assert rates.dtype == net.dtype
    assert_close(rates, expected, net.dtype, scale=np.abs(expected).max(axis=(1, 2), keepdims=True))


@given(problems(dtype="float64", activations=SMOOTH_ACTIVATIONS))
def test_transfer_rates_of_inputs_vs_finite_differences(problem):
    net, X, _ = problem
    rates, h = net.transfer_rates(X), 1e-4
    for i in range(net.n_inputs):
        e = h * np.eye(net.n_inputs)[i]
        slopes = (8 * (net.forward(X + e) - net.forward(X - e))
                  - (net.forward(X + 2 * e) - net.forward(X - 2 * e))) / (12 * h)
        assert_close(slopes, rates[:, i], scale=1, tolerance=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_activation_vs_reference(activation, dtype):
    # one activation at a time, in more than one tile: a slope read from the wrong row shows
    net, X, Y = random_problem(np.random.default_rng(0), activations=(activation,), dtype=dtype,
                               n_samples=130, n_units=12, frozen=0)
    assert_close(net.activities(X), reference.activities(net, X), dtype)
    assert_close(net.gradient(X, Y), reference.gradient(net, X, Y), dtype,
                 scale=gradient_scale(net, X, Y))
    assert_close(net.backpropagated_modulus(X, reduced=True),
                 reference.backpropagated_modulus(net, X, reduced=True), dtype)


@pytest.mark.parametrize("n_samples", SAMPLE_COUNTS)
@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
def test_whole_batch_is_its_samples_one_by_one(interpretation, n_samples):
    net, X, Y = random_problem(np.random.default_rng(n_samples), n_samples=n_samples,
                               interpretation=interpretation)
    alone = [(net.forward(X[t:t + 1])[0], net.losses(X[t:t + 1], Y[t:t + 1])[0],
              net.gradient(X[t:t + 1], Y[t:t + 1])) for t in range(n_samples)]
    forward, losses, gradients = map(np.array, zip(*alone, strict=True))
    assert_close(net.forward(X), forward, tolerance=1e-14)
    assert_close(net.losses(X, Y), losses, tolerance=1e-14)
    assert_close(net.gradient(X, Y), gradients.mean(axis=0), tolerance=1e-12,
                 scale=np.abs(gradients).max())


@given(problems(dtype="float64", activations=SMOOTH_ACTIVATIONS), st.integers(0, 2**32 - 1))
def test_gradient_vs_finite_differences(problem, seed):
    net, X, Y = problem
    theta, h = net.theta.copy(), 1e-4
    direction = np.random.default_rng(seed).standard_normal(net.n_parameters)
    direction = np.where(net.frozen, 0, direction / np.linalg.norm(direction))

    def loss(step):
        net.theta = theta + step * direction
        return net.loss(X, Y)

    slope = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
    net.theta = theta
    scale = 1 + loss(0) + gradient_scale(net, X, Y)
    assert slope == pytest.approx(net.gradient(X, Y) @ direction, abs=1e-7 * scale)


# --- what may come as X and Y ---------------------------------------------------------------------

LAYOUTS = {
    "read_only": lambda A: _read_only(A.copy()),
    "fortran": np.asfortranarray,
    "strided": lambda A: np.repeat(A, 2, axis=0)[::2],
    "reversed": lambda A: A[::-1].copy()[::-1],
    "column_of_a_wider_array": lambda A: np.stack([A, A], axis=-1)[..., 1],
    "big_endian": lambda A: A.astype(A.dtype.newbyteorder(">")),
    "list": lambda A: A.tolist(),
}


def _read_only(A):
    A.flags.writeable = False
    return A


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
def test_layout_of_inputs_does_not_matter(interpretation, layout, dtype):
    change = LAYOUTS[layout]
    for classes in (False, True):
        net, X, Y = random_problem(np.random.default_rng(1), interpretation=interpretation,
                                   dtype=dtype, n_samples=65, classes=classes)
        for name, compute in PASSES.items():
            np.testing.assert_array_equal(compute(net, change(X), change(Y)), compute(net, X, Y),
                                          err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["int64", "uint8", "int8", "bool", "float16", "float32",
                                  "longdouble"])
def test_other_dtypes_are_converted(kind, dtype):
    rng = np.random.default_rng(2)
    net, _, _ = random_problem(rng, interpretation="bernoulli", dtype=dtype)
    X, Y = rng.integers(2, size=(33, net.n_inputs)), rng.integers(2, size=(33, net.n_outputs))
    for name, compute in PASSES.items():
        np.testing.assert_array_equal(
            compute(net, X.astype(kind), Y.astype(kind)),
            compute(net, X.astype(dtype), Y.astype(dtype)), err_msg=name)


def test_inputs_are_not_changed():
    net, X, Y = random_problem(np.random.default_rng(3))
    before = X.copy(), Y.copy(), net.theta.copy()
    for compute in PASSES.values():
        compute(net, X, Y)
    for kept, given_array in zip(before, (X, Y, net.theta), strict=True):
        np.testing.assert_array_equal(kept, given_array)


@pytest.mark.parametrize("interpretation", ["square", "bernoulli"])
def test_single_output_takes_flat_targets(interpretation):
    net, X, Y = random_problem(np.random.default_rng(4), n_outputs=1,
                               interpretation=interpretation)
    np.testing.assert_array_equal(net.losses(X, Y[:, 0]), net.losses(X, Y))
    np.testing.assert_array_equal(net.gradient(X, Y[:, 0]), net.gradient(X, Y))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["int32", "uint8", "float64"])
@pytest.mark.parametrize("interpretation", ["softmax", "spherical"])
def test_class_indices_equal_one_hot(interpretation, kind, dtype):
    net, X, Y = random_problem(np.random.default_rng(5), n_samples=130, classes=True, dtype=dtype,
                               interpretation=interpretation)
    one_hot = np.eye(net.n_outputs)[Y]
    np.testing.assert_array_equal(net.losses(X, Y.astype(kind)), net.losses(X, one_hot))
    np.testing.assert_array_equal(net.gradient(X, Y.astype(kind)), net.gradient(X, one_hot))


def test_frozen_weights_still_act():
    net, X, Y = random_problem(np.random.default_rng(6), frozen=0)
    outputs, gradient = net.forward(X), net.gradient(X, Y)
    net.frozen = np.arange(net.n_parameters) % 2 == 0
    np.testing.assert_array_equal(net.forward(X), outputs)
    np.testing.assert_array_equal(net.gradient(X, Y), np.where(net.frozen, 0, gradient))


# --- saturated units ------------------------------------------------------------------------------

# pre-activations that both dtypes hold exactly, up to +-1e4
EXTREMES = np.array([0.5, 1, 3, 6, 9, 20, 40, 100, 1000, 1e4])
EXTREMES = np.concatenate([-EXTREMES[::-1], EXTREMES])


def tower(activation, interpretation, outputs, dtype):
    """Input 0 -> unit 1 -> outputs 2, 3, 4 with exact weights, so that z are exact."""
    net = fk.Network(1, [(0, 1), (1, 2), (1, 3), (1, 4)], dtype=dtype, rng=0,
                     activation=[activation, *outputs], interpretation=interpretation)
    net.theta = [0, 1, 0, 1, 0, -0.5, 0.25, 0.25]
    return net


def agree(net, X, Y):
    """Losses, each sample's gradient and both moduli against the reference; nothing is NaN.

    Slopes such as 1 - a^2 are good to rounding of 1, so errors scale with what they multiply.
    """
    dtype = net.dtype
    a = np.abs(reference.activities(net, X))
    rate = 1 + a[:, net.outputs].max(axis=1, keepdims=True)
    if net.interpretation == "spherical":
        rate = 2 / a[:, net.outputs].max(axis=1, keepdims=True)
    assert_close(net.losses(X, Y), reference.losses(net, X, Y), dtype,
                 scale=TOLERANCE["float32"])
    gradients = np.array([net.gradient(x[None], y[None]) for x, y in zip(X, Y, strict=True)])
    assert_close(gradients, reference.sample_gradients(net, X, Y), dtype,
                 scale=rate * np.maximum(1, a.max(axis=1, keepdims=True)))
    assert_close(net.backpropagated_modulus(X, reduced=True),
                 reference.backpropagated_modulus(net, X, reduced=True), dtype,
                 scale=np.maximum(1, rate**2))
    assert not np.isnan(net.backpropagated_modulus(X)).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
def test_saturated_hidden_units_vs_reference(interpretation, activation, dtype):
    last = "tanh" if interpretation == "bernoulli" else "identity"
    net = tower(activation, interpretation, [last] * 3, dtype)
    net.theta[2] = 0.125  # no output is 0
    X = EXTREMES[:, None]
    a = np.abs(reference.activities(net, X)[:, net.outputs])
    agree(net, X, np.eye(3)[a.argmax(axis=1)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("interpretation", ["square", "softmax", "spherical"])
def test_saturated_outputs_vs_reference(interpretation, activation, dtype):
    net = tower("identity", interpretation, [activation] * 3, dtype)
    X = EXTREMES[:, None]
    a = np.abs(reference.activities(net, X)[:, net.outputs])
    agree(net, X, np.eye(3)[a.argmax(axis=1)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", BERNOULLI_ACTIVATIONS)
@pytest.mark.parametrize("z", [-1e4, -1000, 1000, 1e4])
def test_slope_of_a_fully_saturated_unit_is_zero(z, activation, dtype):
    # a slope of rounding size, times a raw feature of 1e4, would be no small gradient
    net = tower(activation, "square", ["identity"] * 3, dtype)
    assert not net.gradient([[z]], [[0.5, 2, -1]])[:2].any()
    assert not net.backpropagated_modulus([[z]], reduced=True)[:, 1].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", BERNOULLI_ACTIVATIONS)
def test_saturated_bernoulli_output_to_relative_accuracy(activation, dtype):
    # 1 - p from p would lose every digit; the reduced quantities keep them down to underflow
    net = fk.Network(1, [(0, 1)], activation=activation, interpretation="bernoulli", dtype=dtype)
    net.theta = [0, 1]
    X, smallest = EXTREMES[:, None], 4 * np.finfo(dtype).tiny
    for y in (0, 0.25, 1):
        Y = np.full(len(X), y)
        agree(net, X, Y)
        values = [net.gradient(x[None], [y])[0] for x in X]
        expected = reference.sample_gradients(net, X, Y)[:, 0]
        assert_close(values, expected, dtype, scale=smallest / TOLERANCE[dtype])
    modulus = net.backpropagated_modulus(X, reduced=True)
    expected = reference.backpropagated_modulus(net, X, reduced=True)
    assert_close(modulus, expected, dtype, scale=smallest / TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturated_softmax_to_relative_accuracy(dtype):
    net = fk.Network(1, [(0, 1), (0, 2)], activation="identity", interpretation="softmax",
                     dtype=dtype)
    net.theta = [0, 1, 0, -1]
    X, smallest = EXTREMES[:, None], 4 * np.finfo(dtype).tiny
    Y = (X[:, 0] < 0).astype(int)
    values = [net.gradient(x[None], y[None]) for x, y in zip(X, Y, strict=True)]
    expected = reference.sample_gradients(net, X, Y)
    assert_close(values, expected, dtype, scale=smallest * 1e4 / TOLERANCE[dtype])
    assert_close(net.backpropagated_modulus(X, reduced=True),
                 reference.backpropagated_modulus(net, X, reduced=True), dtype,
                 scale=smallest / TOLERANCE[dtype])


@given(problems(activations=BERNOULLI_ACTIVATIONS, scale=1e4))
def test_saturated_random_networks_hold_no_nan(problem):
    net, X, Y = problem
    a = net.activities(X)[:, net.outputs]
    if net.interpretation == "spherical" and (a == 0).any():
        return
    for name, compute in PASSES.items():
        assert not np.isnan(compute(net, X, Y)).any(), name
    assert np.isfinite(net.gradient(X, Y)).all()
    assert np.isfinite(net.losses(X, Y)).all()
    assert np.isfinite(net.backpropagated_modulus(X, reduced=True)).all()


# --- spherical outputs of zero --------------------------------------------------------------------


@pytest.fixture
def zero_at_output_two():
    """Sample 17 of 20 makes output 2 zero, all others are positive."""
    net = fk.Network(1, [(0, 1), (0, 2), (0, 3)], activation="relu", interpretation="spherical")
    net.theta = [1, 0, 2, 0, 0, 1]
    X = np.ones((20, 1))
    X[17] = -1
    return net, X


def test_spherical_zero_target_loses_infinity(zero_at_output_two):
    net, X = zero_at_output_two
    losses = net.losses(X, np.full(20, 2))
    assert losses[17] == np.inf
    assert np.isfinite(np.delete(losses, 17)).all()
    assert net.loss(X, np.full(20, 2)) == np.inf


def test_spherical_zero_target_gradient_names_sample_and_output(zero_at_output_two):
    net, X = zero_at_output_two
    with pytest.raises(ValueError, match=r"\b17\b.*\b2\b"):
        net.gradient(X, np.full(20, 2))


def test_spherical_zero_output_without_target_vs_reference(zero_at_output_two):
    net, X = zero_at_output_two
    Y = np.tile([0.25, 0.75, 0], (20, 1))
    assert_close(net.losses(X, Y), reference.losses(net, X, Y))
    assert_close(net.gradient(X, Y), reference.gradient(net, X, Y))


@pytest.mark.parametrize("dtype", DTYPES)
def test_spherical_squares_do_not_underflow(dtype):
    net = fk.Network(1, [(0, 1), (0, 2)], activation="identity", interpretation="spherical",
                     dtype=dtype)
    net.theta = [0, 3, 0, 4]
    X = np.array([[np.finfo(dtype).tiny * 8]])
    assert_close(net.losses(X, [0]), [-np.log(9 / 25)], dtype)
