"""Metric matrices against fisherkern.reference on random DAGs, and where they are singular."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    DTYPES,
    FORMS,
    KINDS,
    REDUCTIONS,
    TOLERANCE,
    assert_close,
    drawn,
    problems,
    random_draws,
    random_network,
    random_problem,
    random_samples,
    random_targets,
    reference_metric,
)

import fisherkern as fk
from fisherkern import reference

DAMPINGS = (0.0, 1e-4, 1e-2)
forms, dampings = map(st.sampled_from, (FORMS, DAMPINGS))


def metric(net, X, Y, kind, reduction, **options):
    return fk.metric(net, X, Y, kind=kind, reduction=reduction, **drawn(kind, net, X), **options)


def reference_dense(net, X, Y, kind, reduction, damping=0.0):
    A = reference_metric(net, X, Y, kind, reduction, **drawn(kind, net, X))
    if reduction == "quasi_diagonal":
        return reference.quasi_diagonal_matrix(net, A, damping)
    if reduction == "diagonal":
        A = np.diag(np.diag(A))
    return A + damping * np.diag(~net.frozen)


def block_sizes(net, dense):
    """Largest diagonal entry of each parameter's unit: what rounding in its row may come from. An
    entry between units may be as large as the root of both."""
    return np.repeat(np.maximum.reduceat(np.diag(dense), net.indptr[:-1]), np.diff(net.indptr))


# --- against the reference ------------------------------------------------------------------------


@given(problems(), forms, dampings)
def test_to_dense_vs_reference(problem, form, damping):
    net, X, Y = problem
    dense = metric(net, X, Y, *form).to_dense(damping)
    expected = reference_dense(net, X, Y, *form, damping)
    assert dense.dtype == net.dtype
    root = np.sqrt(block_sizes(net, expected))
    assert_close(dense, expected, net.dtype, scale=np.outer(root, root))
    np.testing.assert_array_equal(dense, dense.T)


@given(problems(), forms)
def test_diagonal_is_that_of_to_dense(problem, form):
    net, X, Y = problem
    A = metric(net, X, Y, *form)
    dense = A.to_dense()
    assert_close(A.diagonal(), np.diag(dense), net.dtype, scale=block_sizes(net, dense))


@given(problems(), st.sampled_from(KINDS))
def test_block_is_the_square_of_to_dense_by_unit_number(problem, kind):
    net, X, Y = problem
    A = metric(net, X, Y, kind, "unitwise")
    dense = A.to_dense()
    for block in reference.blocks(net):
        np.testing.assert_array_equal(A.block(block.unit), dense[block.span, block.span])


@given(problems(), forms, dampings, st.integers(0, 2**32 - 1))
def test_matvec_vs_reference_matrix(problem, form, damping, seed):
    net, X, Y = problem
    v = np.random.default_rng(seed).standard_normal(net.n_parameters).astype(net.dtype)
    product = metric(net, X, Y, *form).matvec(v, damping)
    dense = reference_dense(net, X, Y, *form, damping)
    assert product.dtype == net.dtype
    sizes = block_sizes(net, dense)
    reach = np.sqrt(sizes).sum() if form[1] == "full" else 10 * np.sqrt(sizes)
    assert_close(product, dense @ v, net.dtype, scale=np.sqrt(sizes) * reach)


@given(problems(), forms, dampings)
def test_solve_leaves_no_residual_in_reference_matrix(problem, form, damping):
    # backward error: no condition number enters. Undamped, what is dropped as singular has
    # eigenvalues of rounding size, and the gradient's part along them is their square root
    net, X, Y = problem
    G = -reference.gradient(net, X, Y).astype(net.dtype)
    delta = metric(net, X, Y, *form).solve(G, damping)
    assert delta.dtype == net.dtype
    assert not delta[net.frozen].any()
    dense = reference_dense(net, X, Y, *form, damping)
    length = np.repeat([np.abs(delta[start:stop]).max() for start, stop in
                        zip(net.indptr[:-1], net.indptr[1:], strict=True)], np.diff(net.indptr))
    sizes = block_sizes(net, dense)
    if form[1] == "full":
        length, sizes = length.max(), sizes.max()
    scale = sizes * length + np.abs(G).max()
    tolerance = TOLERANCE[net.dtype.name] if damping else np.sqrt(np.finfo(net.dtype).eps)
    assert_close(dense @ delta, G, scale=scale, tolerance=10 * tolerance)


@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_solve_vs_reference_direction(dtype, form, damping):
    rng = np.random.default_rng(3)
    net, X, Y = random_problem(rng, n_samples=130, dtype=dtype, activations=("tanh", "sigmoid"),
                               max_fan_in=3, parallel=False)
    g = rng.standard_normal(net.n_parameters).astype(dtype)
    A = reference_metric(net, X, Y, *form, **drawn(form[0], net, X))
    expected = reference.direction(net, A, g, form[1], damping)
    g[net.frozen] = 1e3  # has no part in it
    delta = metric(net, X, Y, *form).solve(g, damping)
    assert_close(delta, expected, tolerance={"float64": 1e-9, "float32": 2e-2}[dtype])


@given(problems(), forms)
def test_metric_of_any_thread_count_is_bitwise_the_same(problem, form):
    net, X, Y = problem
    one, three = (metric(net, X, Y, *form, n_threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.to_dense(), three.to_dense())
    G = net.gradient(X, Y)
    np.testing.assert_array_equal(one.solve(G), three.solve(G))


# --- singular blocks ------------------------------------------------------------------------------


def singular_problem(fault, dtype, n_samples=40):
    """Blocks that are singular exactly, in any order of summation."""
    rng = np.random.default_rng(7)
    edges = [(0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (3, 5), (4, 5), (2, 5)]
    edges += [(0, 3), (3, 5)] if fault == "parallel edges" else []
    names = {3: "relu", 4: "sigmoid", 5: "tanh"}
    net = fk.Network(3, edges, activation=names, dtype=dtype, allow_parallel=True, rng=rng)
    X = random_samples(rng, net, n_samples)
    if fault == "constant input":
        X[:, 0] = 2
    elif fault == "zero input":
        X[:, 2] = 0
    elif fault == "dead relu":
        net.theta[net.indptr[0]] = -100
    elif fault == "saturated unit":
        net.theta[net.indptr[1]] = 1000
    elif fault == "one sample":
        X = X[:1]
    return net, X, random_targets(rng, net, len(X))


FAULTS = ("constant input", "zero input", "dead relu", "saturated unit", "parallel edges",
          "one sample")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_singular_solve_vs_reference_minimum_norm(dtype, form, fault):
    net, X, Y = singular_problem(fault, dtype)
    A = metric(net, X, Y, *form)
    G = -net.gradient(X, Y)
    dense = reference_metric(net, X, Y, *form, **drawn(form[0], net, X))
    expected = reference.direction(net, dense, -reference.gradient(net, X, Y), form[1])
    np.testing.assert_equal(np.isfinite(A.to_dense()), True)
    assert_close(A.solve(G), expected, tolerance={"float64": 1e-9, "float32": 5e-3}[dtype])


@pytest.mark.parametrize("value", [0.1, 0.7, 3000.1, -1e5 / 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_quasi_diagonal_weight_of_a_constant_input_stays(dtype, value):
    # values that their mean may miss by a rounding, which depends on the number of samples
    for n_samples in range(3, 120, 4):
        rng = np.random.default_rng(n_samples)
        net = fk.Network(2, [(0, 2), (1, 2)], dtype=dtype, rng=rng)
        other = fk.Network(1, [(0, 1)], dtype=dtype, rng=rng)  # without that input
        net.theta[:], other.theta[:] = [0.1, 0, 0.5], [0.1, 0.5]
        X = np.column_stack([np.full(n_samples, value), rng.standard_normal(n_samples)])
        X, Y = X.astype(dtype), random_targets(rng, net, n_samples)
        delta, expected = (
            fk.metric(n, x, kind="backpropagated", reduction="quasi_diagonal")
            .solve(-n.gradient(x, Y)) for n, x in ((net, X), (other, X[:, 1:])))
        assert delta[1] == 0
        assert_close(delta[[0, 2]], expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_metric_that_is_zero_solves_to_zero(dtype, form):
    net, X, Y = singular_problem("dead relu", dtype)
    net.theta[net.indptr[2]] = 1000  # the output saturates: no derivative anywhere
    A = metric(net, X, Y, *form)
    assert not A.to_dense().any()
    assert not A.solve(np.ones(net.n_parameters)).any()


# --- far-from-centred inputs ----------------------------------------------------------------------


@pytest.mark.parametrize("damping", [0.0, 1e-2])
@pytest.mark.parametrize("mean", [3000.0, 1e5])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_quasi_diagonal_of_far_inputs_vs_float64(kind, mean, damping):
    rng = np.random.default_rng(1)
    nets = {dtype: fk.Network.layered([4, 3, 2], rng=2, dtype=dtype) for dtype in DTYPES}
    X = (mean + rng.standard_normal((200, 4))).astype("float32")
    net = nets["float32"]
    net.initialize("data", rng=3, X=X)
    nets["float64"].theta = net.theta
    Y = rng.standard_normal((200, 2)).astype("float32")
    # the gradients differ by the rounding of z ~ mean; the metrics may not lose more than that
    single, double = (metric(nets[dtype], X, Y, kind, "quasi_diagonal")
                      for dtype in ("float32", "float64"))
    G = -nets["float64"].gradient(X, Y)
    assert_close(single.diagonal(), double.diagonal(), tolerance=1e-3)
    steps = [fk.optimizers.MetricGradient(kind, "quasi_diagonal", damping=damping)
             .direction(nets[dtype], X, Y, **drawn(kind, nets[dtype], X))
             for dtype in ("float32", "float64")]
    weights = [np.delete(step, net.indptr[:-1]) for step in steps]
    assert_close(*weights, tolerance=1e-3 * mean / 3000)
    assert np.isfinite(single.solve(G, damping)).all()


# --- errors ---------------------------------------------------------------------------------------


@pytest.fixture
def small():
    rng = np.random.default_rng(0)
    net = random_network(rng, n_inputs=2, n_units=6, frozen=0)
    X = random_samples(rng, net, 9)
    return net, X, random_targets(rng, net, 9)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"kind": "hessian"}, ValueError, "unknown kind 'hessian'; known: fisher, backpropagated"),
    ({"reduction": "block"}, ValueError, "unknown reduction 'block'; known: full, unitwise"),
    ({"reduction": "full"}, ValueError, "no full form"),
    ({"kind": "outer_product"}, ValueError, "needs Y"),
    ({"kind": "monte_carlo", "n_draws": 0}, ValueError, "n_draws must be at least 1; got 0"),
    ({"kind": "monte_carlo", "n_draws": 2**31}, ValueError, "n_draws must be at most"),
    ({"kind": "monte_carlo", "rng": "seed"}, TypeError, "rng"),
    ({"kind": "monte_carlo", "draws": np.zeros((9, 2))}, ValueError,
     r"draws must have shape \(n_samples, n_draws, 3\); got \(9, 2\)"),
    ({"kind": "monte_carlo", "draws": np.zeros((8, 2, 3))}, ValueError, "draws has 8 rows"),
    ({"kind": "monte_carlo", "draws": np.zeros((9, 0, 3))}, ValueError, "draws has no draw"),
    ({"kind": "monte_carlo", "draws": np.full((9, 1, 3), np.nan)}, ValueError,
     r"draws\[0, 0, 0\] = nan"),
    ({"kind": "fisher", "draws": np.zeros((9, 1, 3))}, ValueError, "kind 'fisher' has none"),
    ({"n_threads": 0}, ValueError, "n_threads"),
    ({"n_threads": 1.5}, TypeError, "n_threads"),
])
def test_metric_errors_name_the_argument(small, options, error, message):
    with pytest.raises(error, match=message):
        fk.metric(small[0], small[1], **{"kind": "backpropagated"} | options)


@pytest.mark.parametrize(("interpretation", "value"), [
    ("softmax", 3), ("softmax", -1), ("softmax", 0.5), ("spherical", 3), ("bernoulli", 1.5)])
def test_draws_that_are_no_targets_name_their_place(interpretation, value):
    rng = np.random.default_rng(0)
    net, X, Y = random_problem(rng, interpretation=interpretation, n_samples=9)
    draws = random_draws(rng, net, 9).astype(float)
    draws[4, 1] = value
    with pytest.raises(ValueError, match=r"draws\[4, 1.* = "):
        fk.metric(net, X, kind="monte_carlo", draws=draws)
    with pytest.raises(ValueError, match=r"draws\[4, 1.* = "):
        fk.optimizers.MonteCarloNaturalGradient().direction(net, X, Y, draws=draws)


def test_drawn_class_of_probability_zero_names_sample_and_output():
    net = fk.Network.layered([2, 2], activation="relu", interpretation="spherical", rng=0)
    net.theta[:] = [1, 0, 0, -1, 0, 0]
    with pytest.raises(ValueError, match=r"sample 3 .* output 1"):
        fk.metric(net, np.zeros((5, 2)), kind="monte_carlo", draws=[[0], [0], [0], [1], [0]])
    for seed in range(20):  # is never drawn
        fk.metric(net, np.zeros((5, 2)), kind="monte_carlo", n_draws=5, rng=seed)


def test_full_matrix_that_no_memory_holds_is_an_error_at_once():
    net = fk.Network.layered([1000, 1000], rng=0)
    X = np.zeros((1, 1000))
    with pytest.raises(MemoryError, match=r"1001000 parameters needs .* GiB"):
        fk.metric(net, X, reduction="full")
    with pytest.raises(MemoryError, match="choose unitwise"):
        fk.train(net, X, X, fk.optimizers.NaturalGradient(), steps=1)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_drawn_metric_is_reproducible_and_anew_with_each_seed(small, reduction):
    net, X, _ = small
    one, same, other = (fk.metric(net, X, kind="monte_carlo", reduction=reduction, n_draws=2,
                                  rng=seed).to_dense() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)


def test_metric_errors_name_the_sample(small):
    net, X, Y = small
    X[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"X\[7, 1\]"):
        fk.metric(net, X, kind="backpropagated")
    with pytest.raises(ValueError, match="Y has 8 rows and X has 9"):
        fk.metric(net, np.zeros_like(X), Y[:8], kind="outer_product")


@pytest.mark.parametrize("reduction", REDUCTIONS[1:])
@pytest.mark.parametrize("damping", [-1e-3, np.nan, np.inf, "range", None])
def test_damping_must_be_a_finite_number_of_at_least_zero(small, reduction, damping):
    net, X, _ = small
    A = fk.metric(net, X, kind="backpropagated", reduction=reduction)
    g = np.ones(net.n_parameters)
    for call in (lambda: A.solve(g, damping), lambda: A.matvec(g, damping),
                 lambda: A.to_dense(damping)):
        with pytest.raises((ValueError, TypeError), match="damping"):
            call()


def test_vectors_must_have_one_finite_entry_per_parameter(small):
    net, X, _ = small
    A = fk.metric(net, X, kind="backpropagated")
    with pytest.raises(ValueError, match="g must have shape"):
        A.solve(np.ones(net.n_parameters + 1))
    with pytest.raises(ValueError, match="v must have shape"):
        A.matvec(np.ones((net.n_parameters, 1)))
    with pytest.raises(ValueError, match=r"g\[2\]"):
        A.solve(np.where(np.arange(net.n_parameters) == 2, np.inf, 1.0))


@pytest.mark.parametrize("unit", [-1, 0, 1, 6])
def test_only_units_with_parameters_have_a_block(small, unit):
    with pytest.raises(ValueError, match=f"unit {unit} has no block"):
        fk.metric(small[0], small[1], kind="backpropagated").block(unit)


def test_metric_is_of_the_parameters_and_frozen_flags_at_its_making(small):
    net, X, _ = small
    A = fk.metric(net, X, kind="backpropagated", reduction="quasi_diagonal")
    dense = A.to_dense()
    net.theta[:], net.frozen[:] = 0, True
    np.testing.assert_array_equal(A.to_dense(), dense)
    assert repr(A) == f"<QuasiDiagonalMetric {net.n_parameters} parameters, float64>"
