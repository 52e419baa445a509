"""Directions against fisherkern.reference on random DAGs; settings and their errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    DTYPES,
    FORMS,
    assert_close,
    drawn,
    problems,
    random_problem,
    random_samples,
    reference_metric,
)

import fisherkern as fk
from fisherkern import optimizers, reference
from fisherkern.interpretations import INTERPRETATIONS

PRESETS = {  # kind, reduction
    "NaturalGradient": ("fisher", "full"),
    "UnitwiseNaturalGradient": ("fisher", "unitwise"),
    "QuasiDiagonalNaturalGradient": ("fisher", "quasi_diagonal"),
    "BackpropagatedMetricGradient": ("backpropagated", "unitwise"),
    "QuasiDiagonalBackpropagatedMetricGradient": ("backpropagated", "quasi_diagonal"),
    "DiagonalGaussNewton": ("backpropagated", "diagonal"),
    "OuterProductGradient": ("outer_product", "full"),
    "UnitwiseOuterProductGradient": ("outer_product", "unitwise"),
    "QuasiDiagonalOuterProductGradient": ("outer_product", "quasi_diagonal"),
    "MonteCarloNaturalGradient": ("monte_carlo", "full"),
    "MonteCarloUnitwiseNaturalGradient": ("monte_carlo", "unitwise"),
    "MonteCarloQuasiDiagonalNaturalGradient": ("monte_carlo", "quasi_diagonal"),
}
BASELINES = {
    "Backpropagation": lambda net, X, Y, G: G,
    "Momentum": lambda net, X, Y, G: G,
    "Adam": lambda net, X, Y, G: G / (np.abs(G) + 1e-8),
    "AdaGrad": lambda net, X, Y, G: reference.adagrad_direction(net, X, Y, 1e-4),
}
ALL = {name: getattr(optimizers, name)() for name in (*PRESETS, *BASELINES)} | {
    f"MetricGradient of {kind}, {reduction}": optimizers.MetricGradient(kind, reduction)
    for kind, reduction in FORMS if (kind, reduction) not in PRESETS.values()}


def test_presets_are_all_optimizers_of_the_package():
    assert sorted(optimizers.PRESETS) == sorted([*PRESETS, *BASELINES])


def direction_of(problem, form, **options):
    """The direction of a metric's optimizer, its targets given where they would be drawn."""
    return optimizers.MetricGradient(*form, **options).direction(
        *problem, **drawn(form[0], problem.net, problem.X))


def reference_direction(net, X, Y, kind, reduction, damping, noise=None):
    """By `range_direction` with the batch's ranges, or `direction`.

    `noise` (2, P) and (P, P) perturbs theta, for the metric and for the gradient apart, and the
    metric's entries.
    """
    theta, (shifts, factors) = net.theta.copy(), ((0, 0), 0) if noise is None else noise
    net.theta[:] = theta * (1 + shifts[0])
    G = -reference.gradient(net, X, Y)
    net.theta[:] = theta * (1 + shifts[1])
    A = reference_metric(net, X, Y, kind, reduction, True, **drawn(kind, net, X)) * (1 + factors)
    ranges = np.ptp(reference.activities(net, X), axis=0)
    net.theta[:] = theta
    if damping == "range":
        return reference.range_direction(net, A, G, reduction, ranges)
    A[net.frozen], A[:, net.frozen] = 0, 0
    return reference.direction(net, A, G, reduction, damping)


def in_float64(net):
    wide = fk.Network(net.n_inputs, net.edges, outputs=net.outputs, activation=net.activations,
                      interpretation=net.interpretation, allow_parallel=True, rng=0)
    wide.theta, wide.frozen = net.theta, net.frozen
    return wide


def assert_direction(actual, net, X, Y, kind, reduction, damping):
    """Equal to the reference but for a thousand roundings of what it is made of; their effect is
    that of perturbations that are larger by far, scaled back."""
    assert actual.shape == net.theta.shape
    assert actual.dtype == net.dtype
    assert not actual[net.frozen].any()
    wide, P, rng = in_float64(net), net.n_parameters, np.random.default_rng(0)
    expected = reference_direction(wide, X, Y, kind, reduction, damping)
    size, unit = {"float64": (1e-10, 2.0**-53), "float32": (1e-5, 2.0**-24)}[net.dtype.name]
    moved = []
    for _ in range(3):
        factors = np.triu(rng.standard_normal((P, P)))
        noise = size * rng.standard_normal((2, P)), size * (factors + factors.T)
        moved.append(reference_direction(wide, X, Y, kind, reduction, damping, noise))
    spread = np.abs(np.array(moved) - expected).max() / size
    tolerance = 1000 * unit * (spread + np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


# --- against the reference ------------------------------------------------------------------------


@given(problems(n_samples=65), st.sampled_from(FORMS),
       st.sampled_from(["range", 1e-4, 1e-2, 1.0]))
def test_metric_gradient_vs_reference(problem, form, damping):
    direction = direction_of(problem, form, damping=damping)
    assert_direction(direction, *problem, *form, damping)


@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_undamped_metric_gradient_vs_reference(form, dtype, interpretation):
    rng = np.random.default_rng(6)
    problem = random_problem(rng, interpretation=interpretation, dtype=dtype, n_samples=200,
                             activations=("tanh", "sigmoid", "lecun_tanh"), max_fan_in=3,
                             parallel=False)
    direction = direction_of(problem, form, damping=0.0)
    assert_direction(direction, *problem, *form, 0.0)


@given(problems(), st.sampled_from(FORMS))
def test_damped_direction_is_that_of_the_metric(problem, form):
    net, X, Y = problem
    A = fk.metric(net, X, Y, kind=form[0], reduction=form[1], **drawn(form[0], net, X))
    direction = direction_of(problem, form, damping=1e-3)
    solved = A.solve(-net.gradient(X, Y), 1e-3)
    assert_close(direction, solved, tolerance={"float64": 1e-10, "float32": 5e-3}[net.dtype.name])


@given(problems(), st.sampled_from(sorted(BASELINES)))
def test_baseline_vs_reference_first_step(problem, name):
    net, X, Y = problem
    gradients = -reference.sample_gradients(net, X, Y)
    G = gradients.mean(axis=0)
    direction = getattr(optimizers, name)().direction(net, X, Y)
    assert not direction[net.frozen].any()
    rounding = {"float64": 1e-12, "float32": 1e-4}[net.dtype.name]
    slack = rounding * np.abs(gradients).max()
    if name == "Adam":  # a gradient of rounding size has any sign
        clear = np.abs(G) > slack / rounding * 1e-2
        direction, G = direction[clear], G[clear]
        slack = max(slack, 1e-3 if net.dtype == np.float32 else 1e-9)
    elif name == "AdaGrad":
        slack /= np.sqrt(1e-4)
    np.testing.assert_allclose(direction, BASELINES[name](net, X, Y, G), rtol=rounding, atol=slack)


def test_range_direction_ignores_constant_inputs_and_stays_finite():
    rng = np.random.default_rng(0)
    for form in FORMS:
        problem = random_problem(rng, n_units=9, frozen=0)
        net, X, _ = problem
        X[:, 0] = 0.1
        direction = direction_of(problem, form)
        weights = np.delete(direction, net.indptr[:-1])
        assert not weights[net.edges[:, 0] == 0].any()
        assert_direction(direction, *problem, *form, "range")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_direction_of_one_sample_is_finite(form, dtype):
    problem = random_problem(np.random.default_rng(1), n_samples=1, dtype=dtype)
    for damping in ("range", 0.0, 1e-4):
        assert np.isfinite(direction_of(problem, form, damping=damping)).all()


# --- a direction is a function of its arguments ---------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_direction_changes_nothing_and_is_bitwise_the_same_again(name):
    optimizer = ALL[name]
    problem = random_problem(np.random.default_rng(2), n_samples=130, n_units=12)
    net, X, Y = problem
    before = [net.theta.copy(), net.frozen.copy(), X.copy(), Y.copy(), dict(vars(optimizer))]
    for array in (X, Y):
        array.flags.writeable = False
    first = optimizer.direction(net, X, Y, rng=5)
    for n_threads in (1, 2, 3):
        again = optimizer.direction(net, X, Y, n_threads=n_threads, rng=5)
        np.testing.assert_array_equal(again, first)
    strided = optimizer.direction(net, np.asfortranarray(X), np.repeat(Y, 2, axis=0)[::2], rng=5)
    np.testing.assert_array_equal(strided, first)
    for old, new in zip(before, [net.theta, net.frozen, X, Y, vars(optimizer)], strict=True):
        np.testing.assert_equal(new, old)
    if name.startswith("Q"):
        net.theta[:] = 0
        assert np.any(optimizer.direction(net, X, Y) != first)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_the_composition_bitwise(name):
    problem = random_problem(np.random.default_rng(3))
    preset = getattr(optimizers, name)(damping=1e-3, learning_rate=0.5)
    composed = optimizers.MetricGradient(*PRESETS[name], damping=1e-3, learning_rate=0.5)
    assert vars(preset) == vars(composed)
    np.testing.assert_array_equal(preset.direction(*problem, rng=1),
                                  composed.direction(*problem, rng=1))


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
def test_all_frozen_moves_nothing(optimizer):
    net, X, Y = random_problem(np.random.default_rng(4))
    net.frozen = True
    assert not optimizer.direction(net, X, Y).any()


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda o: o.MetricGradient("fischer", "unitwise"), ValueError, "unknown kind 'fischer'"),
    (lambda o: o.MetricGradient("outer_product", "unit"), ValueError, "unknown reduction 'unit'"),
    (lambda o: o.MetricGradient("backpropagated", "full"), ValueError, "no full form"),
    (lambda o: o.DiagonalGaussNewton(damping="auto"), ValueError, "damping must be 'range'"),
    (lambda o: o.DiagonalGaussNewton(damping=-1e-9), ValueError, "damping must be at least 0"),
    (lambda o: o.DiagonalGaussNewton(damping=np.nan), ValueError, "damping"),
    (lambda o: o.DiagonalGaussNewton(damping=None), TypeError, "damping"),
    (lambda o: o.AdaGrad(damping=-1), ValueError, "damping"),
    (lambda o: o.DiagonalGaussNewton(metric_every=2**70), ValueError, "metric_every must be at"),
    (lambda o: o.AdaGrad(damping="range"), TypeError, "damping"),
    (lambda o: o.Momentum(momentum=1), ValueError, "momentum must be below 1"),
    (lambda o: o.Momentum(momentum=-0.1), ValueError, "momentum"),
    (lambda o: o.Adam(beta1=1), ValueError, "beta1"),
    (lambda o: o.Adam(beta2=-1), ValueError, "beta2"),
    (lambda o: o.Adam(damping=0), ValueError, "damping must be above 0"),
    (lambda o: o.Adam(beta2="0.9"), TypeError, "beta2"),
])
def test_bad_settings_name_the_argument(make, error, message):
    net, X, Y = random_problem(np.random.default_rng(0))
    with pytest.raises(error, match=message):
        make(optimizers).direction(net, X, Y)


def test_bad_arguments_of_direction_name_it():
    net, X, Y = random_problem(np.random.default_rng(0))
    optimizer = optimizers.Backpropagation()
    with pytest.raises(ValueError, match="draws"):
        optimizer.direction(net, X, Y, draws=np.zeros((len(X), 1)))
    with pytest.raises(TypeError, match="rng"):
        optimizer.direction(net, X, Y, rng="seed")
    with pytest.raises(ValueError, match="n_threads"):
        optimizer.direction(net, X, Y, n_threads=-1)
    with pytest.raises(ValueError, match="Y has 3 rows"):
        optimizer.direction(net, X, Y[:3])


def test_unknown_setting_is_a_type_error():
    for cls in optimizers.PRESETS.values():
        with pytest.raises(TypeError):
            cls(learning_rat=1)


def test_spherical_target_of_probability_zero_names_sample_and_output():
    net = fk.Network.layered([2, 2], activation="relu", interpretation="spherical", rng=0)
    net.theta[:] = [1, 0, 0, -1, 0, 0]
    X = random_samples(np.random.default_rng(0), net, 5)
    for optimizer in ALL.values():
        with pytest.raises(ValueError, match=r"sample 3 .* output 1"):
            optimizer.direction(net, X, [0, 0, 0, 1, 0])


def test_direction_that_overflows_is_an_error():
    net, X, Y = random_problem(np.random.default_rng(5), dtype="float32", activations=("identity",))
    net.theta[:] = 1e19
    for optimizer in (optimizers.Backpropagation(), optimizers.DiagonalGaussNewton()):
        with pytest.raises(FloatingPointError, match="not finite"):
            optimizer.direction(net, X, Y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [form for form in FORMS if form[0] != "monte_carlo"])
@pytest.mark.parametrize("damping", [1e-2, "range"])
def test_compiled_step_in_the_network_s_dtype_vs_reference(form, dtype, damping):
    net = fk.Network.layered([6, 9, 5], fan_in=[4, 9], interpretation="bernoulli", dtype=dtype,
                             rng=3)
    X = np.random.default_rng(4).normal(size=(150, 6))
    Y = np.random.default_rng(5).random((150, 5))
    start = net.theta.astype(np.float64)
    expected = reference_direction(in_float64(net), X, Y, *form, damping)
    optimizer = optimizers.MetricGradient(*form, damping=damping, learning_rate=1.0)
    fk.train(net, X, Y, optimizer, steps=1, step_size="constant")
    tolerance = 2e-3 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(net.theta - start, expected, rtol=tolerance,
                               atol=tolerance * np.abs(expected).max())


def test_repr_shows_the_settings():
    assert repr(optimizers.Adam(0.1)) == \
        "Adam(learning_rate=0.1, beta1=0.9, beta2=0.999, damping=1e-08)"
    assert repr(optimizers.Backpropagation()) == "Backpropagation(learning_rate=None)"
    shown = repr(optimizers.DiagonalGaussNewton(damping=0.5))
    assert shown.startswith("DiagonalGaussNewton(")
    assert "damping=0.5" in shown


def uneven_problem(dtype, frozen):
    """Units of every fan-in from 1 to 130 and one of 150: LAPACK solves the largest alone."""
    rng = np.random.default_rng(8)
    fan_ins = [*rng.permutation(np.arange(1, 131)), 150]
    targets = np.repeat(np.arange(len(fan_ins)) + 160, fan_ins)
    sources = np.concatenate([rng.choice(160, n, replace=False) for n in fan_ins])
    net = fk.Network(160, np.column_stack([sources, targets]), activation="tanh", dtype=dtype,
                     outputs=range(160, 160 + len(fan_ins)), interpretation="bernoulli", rng=rng)
    net.frozen = rng.random(net.n_parameters) < frozen
    X = random_samples(rng, net, 700)
    return net, X, rng.integers(2, size=(700, len(fan_ins))).astype(dtype)


@pytest.mark.parametrize("frozen", [0.0, 0.1])
@pytest.mark.parametrize("damping", [1e-2, "range"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_unit_blocks_of_every_size(dtype, damping, frozen):
    net, X, Y = uneven_problem(dtype, frozen)
    trained = net.copy()
    optimizer = optimizers.BackpropagatedMetricGradient(learning_rate=1.0, damping=damping)
    # a step of training runs in the network's dtype
    fk.train(trained, X, Y, optimizer, steps=1, step_size="constant")
    net = in_float64(net)
    actual = trained.theta.astype(np.float64) - net.theta
    A = reference.unitwise_metric(net, X, "backpropagated", Y, whole=damping == "range")
    G = -reference.gradient(net, X, Y)
    if damping == "range":
        expected = reference.range_direction(net, A, G, "unitwise", np.ptp(
            reference.activities(net, X), axis=0))
    else:
        expected = reference.direction(net, A, G, "unitwise", damping)
    assert_close(actual, expected, tolerance={"float64": 1e-9, "float32": 2e-4}[dtype])
