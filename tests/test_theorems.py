"""Theorems of [O] on random DAGs: mixed units, outputs that feed units, singular blocks."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import (
    assert_close,
    keep_outputs_from_zero,
    problems,
    random_edges,
    random_targets,
)
from theorem_nets import (
    ALIVE,
    FORMS,
    SIGMOIDAL,
    drawn,
    forms,
    interpretations,
    kinds,
    metric_steps,
    probabilities,
    random_problem,
    reparametrized,
    sample_gradients,
    seeds,
    twins,
    worst_condition,
)

import fisherkern as fk
from fisherkern import optimizers, reference
from fisherkern.interpretations import BERNOULLI_ACTIVATIONS, INTERPRETATIONS
from fisherkern.metrics import KINDS, REDUCTIONS

# --- Proposition 15 -------------------------------------------------------------------------------


@given(seeds, interpretations)
def test_prop_15_every_sample_gains_the_same_where_gradients_are_independent(seed,
                                                                             interpretation):
    net, X, Y = random_problem(np.random.default_rng(seed), interpretation, n_samples=5)
    S = sample_gradients(net, X, Y)
    condition = np.linalg.cond(S)  # of 5 samples and some 30 parameters
    assume(condition < 1e5)
    gains = -S @ metric_steps("full", "outer_product").direction(net, X, Y)
    assert_close(gains, np.ones(5), tolerance=1e-12 + 1e-14 * condition**2)


@given(problems(dtype="float64", n_samples=33), seeds)
def test_prop_15_gains_of_the_outer_product_step_are_the_most_even(problem, seed):
    net, X, Y = problem
    S = sample_gradients(net, X, Y)
    G = -S.mean(axis=0)
    delta = metric_steps("full", "outer_product").direction(net, X, Y)
    total = G @ delta
    assume(total > 1e-6)
    least = np.var(S @ delta)
    rng = np.random.default_rng(seed)
    directions = [G, metric_steps("unitwise", "outer_product", 1e-3).direction(net, X, Y),
                  *(delta + scale * np.abs(delta).max() * rng.standard_normal(len(G))
                    for scale in (1e-3, 1e-2, 1e-1, 1))]
    for other in directions:
        assume(G @ other != 0)
        assert np.var(S @ other * total / (G @ other)) >= least * (1 - 1e-6) - 1e-12


def test_prop_15_does_not_hold_for_the_unitwise_outer_product_nor_other_metrics():
    net, X, Y = random_problem(np.random.default_rng(1), "bernoulli", n_samples=12)
    S = sample_gradients(net, X, Y)
    for optimizer in (metric_steps("unitwise", "outer_product"), metric_steps("full", "fisher"),
                      optimizers.Backpropagation()):
        gains = -S @ optimizer.direction(net, X, Y)
        assert gains.std() > 0.3 * gains.mean()


# --- Propositions 24 and 25 -----------------------------------------------------------------------


@given(seeds, interpretations, forms("full", "unitwise", "quasi_diagonal"))
def test_prop_24_length_of_a_step_does_not_depend_on_the_parametrization(seed, interpretation,
                                                                         form):
    rng = np.random.default_rng(seed)
    net, X, Y = random_problem(rng, interpretation, n_samples=33)
    other, X2, mapped = reparametrized(net, X, rng)
    options = {"kind": form[0], "reduction": form[1]} | drawn(net, X, form[0], rng)
    v = rng.standard_normal(net.n_parameters) * ~net.frozen
    one = v @ fk.metric(net, X, Y, **options).matvec(v)
    two = mapped(v) @ fk.metric(other, X2, Y, **options).matvec(mapped(v))
    assert_close(two, one)


def test_prop_24_does_not_hold_for_the_diagonal_nor_where_it_is_damped():
    rng = np.random.default_rng(0)
    net, X, Y = random_problem(rng, "bernoulli")
    other, X2, mapped = reparametrized(net, X, rng)
    v = rng.standard_normal(net.n_parameters) * ~net.frozen
    for kind, reduction, damping in [*((kind, "diagonal", 0.0) for kind in KINDS),
                                     ("fisher", "unitwise", 0.1)]:
        options = {"kind": kind, "reduction": reduction} | drawn(net, X, kind, rng)
        one = v @ fk.metric(net, X, Y, **options).matvec(v, damping)
        two = mapped(v) @ fk.metric(other, X2, Y, **options).matvec(mapped(v), damping)
        assert abs(two - one) > 0.1 * one


@given(problems(dtype="float64"), kinds, st.sampled_from([0.0, 1e-4, 1e-1]), seeds)
def test_prop_25_quasi_diagonal_step_is_the_inverse_of_its_own_matrix(problem, kind, damping,
                                                                      seed):
    net, X, Y = problem
    rng = np.random.default_rng(seed)
    g = rng.standard_normal(net.n_parameters)
    options = {"kind": kind} | drawn(net, X, kind, rng)
    A = fk.metric(net, X, Y, reduction="quasi_diagonal", **options)
    whole = fk.metric(net, X, Y, reduction="unitwise", **options)
    delta, product = A.solve(g, damping), A.matvec(A.solve(g, damping), damping)
    dense = A.to_dense(damping)
    for _, span, sources, _ in reference.blocks(net):
        free = np.flatnonzero(~net.frozen[span]) + span.start
        if len(sources) == 1 and not net.frozen[span.start]:
            assert_close(dense[span, span], whole.to_dense(damping)[span, span], tolerance=1e-12)
        B = dense[np.ix_(free, free)]
        if not B.any() or np.linalg.cond(B) > 1e8:
            continue
        tolerance = 1e-13 * (1e3 + np.linalg.cond(B))
        assert_close(delta[free], np.linalg.solve(B, g[free]), tolerance=tolerance)
        assert_close(product[free], g[free], tolerance=tolerance)
        if len(sources) == 1 and not net.frozen[span.start]:
            assert_close(delta[free], whole.solve(g, damping)[free], tolerance=tolerance)


def test_prop_25_quasi_diagonal_and_unitwise_steps_differ_with_two_inputs():
    net, X, Y = random_problem(np.random.default_rng(3), "bernoulli")
    for kind in KINDS:
        draws = drawn(net, X, kind, np.random.default_rng(4))
        one, two = (metric_steps(reduction, kind).direction(net, X, Y, **draws)
                    for reduction in ("quasi_diagonal", "unitwise"))
        for _, span, sources, _ in reference.blocks(net):
            if len(sources) > 1 and two[span].any() and not net.frozen[span].any():
                assert np.abs(one - two)[span].max() > 1e-3 * np.abs(two[span]).max()


# --- Proposition 27 -------------------------------------------------------------------------------


def all_targets(net, X):
    """(probabilities (n_samples,), targets) of every target that the outputs can mean.

    A target's probability is exp(-loss), which keeps its digits however sure the outputs are; that
    of the model, 1 - p, does not. For square the 2 n points a +- sqrt(n) e_o, which have the
    normal's mean and covariance: the outer product of gradients is quadratic in the target.
    """
    n, outputs = net.n_outputs, net.forward(X)
    if net.interpretation == "square":
        for o, sign in product(range(n), (1, -1)):
            yield np.full(len(X), 0.5 / n), outputs + sign * np.sqrt(n) * np.eye(n)[o]
        return
    targets = range(n)
    if net.interpretation == "bernoulli":
        targets = np.array(list(product((0.0, 1.0), repeat=n)))
    for y in targets:
        Y = np.array([y] * len(X))
        yield np.exp([-net.loss(x[None], t[None]) for x, t in zip(X, Y, strict=True)]), Y


def enumerated_fisher(net, X):
    """Mean outer product of the gradients over samples and all targets, (P, P)."""
    F, total = np.zeros((net.n_parameters,) * 2), 0.0
    for weights, targets in all_targets(net, X):
        S = sample_gradients(net, X, targets)
        F += S.T @ (S * weights[:, None]) / len(X)
        total += weights
    assert_close(total, np.ones(len(X)), tolerance=1e-13)
    return F


@given(problems(dtype="float64", n_samples=4), st.sampled_from(["full", "unitwise"]))
def test_prop_27_fisher_matrix_vs_enumeration_of_all_targets(problem, reduction):
    net, X, _ = problem
    expected = enumerated_fisher(net, X)
    A = fk.metric(net, X, kind="fisher", reduction=reduction)
    if reduction == "unitwise":
        for unit, span, _, _ in reference.blocks(net):
            block = expected[span, span]
            assert_close(A.block(unit), block, scale=np.abs(block).max(initial=0.0))
    else:
        sizes = np.sqrt(np.diag(expected))
        assert_close(A.to_dense(), expected, scale=np.outer(sizes, sizes))
    assert_close(A.diagonal(), np.diag(expected))


@given(problems(dtype="float64", n_samples=4))
def test_prop_27_natural_gradient_step_solves_the_enumerated_matrix(problem):
    net, X, Y = problem
    damped = enumerated_fisher(net, X) + np.diag(np.where(net.frozen, 1, 1e-2))
    delta = metric_steps("full", "fisher", 1e-2).direction(net, X, Y)
    expected = np.linalg.solve(damped, -net.gradient(X, Y))
    assert_close(delta, expected, tolerance=1e-14 * (1e3 + np.linalg.cond(damped)))


@given(problems(dtype="float64", n_samples=4, classes=True),
       st.sampled_from(["outer_product", "monte_carlo"]), st.sampled_from(["full", "unitwise"]),
       seeds)
def test_def_14_outer_products_are_those_of_the_samples_gradients(problem, kind, reduction, seed):
    net, X, Y = problem
    draws = drawn(net, X, kind, np.random.default_rng(seed))
    targets = np.moveaxis(draws["draws"], 1, 0) if draws else [Y]
    S = np.concatenate([sample_gradients(net, X, y) for y in targets])
    expected = S.T @ S / len(S)
    if reduction == "unitwise":
        units = np.repeat(np.arange(len(net.indptr) - 1), np.diff(net.indptr))
        expected *= units[:, None] == units
    dense = fk.metric(net, X, Y, kind=kind, reduction=reduction, **draws).to_dense()
    sizes = np.sqrt(np.diag(expected))
    assert_close(dense, expected, scale=np.outer(sizes, sizes), tolerance=1e-12)


@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
def test_prop_27_does_not_hold_for_the_other_kinds(interpretation):
    net, X, Y = random_problem(np.random.default_rng(4), interpretation, n_samples=5)
    F = enumerated_fisher(net, X)
    for kind in ("outer_product", "backpropagated"):
        A = fk.metric(net, X, Y, kind=kind)
        assert max(np.abs(A.block(unit) - F[span, span]).max() / F[span, span].max()
                   for unit, span, _, _ in reference.blocks(net) if F[span, span].any()) > 0.1


@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
def test_prop_27_mean_monte_carlo_matrix_is_the_fisher_matrix(interpretation):
    rng = np.random.default_rng(5)
    net, X, Y = random_problem(rng, interpretation, n_samples=5)
    net.theta[...] *= 0.5  # no output so sure that its other targets are hardly drawn
    if interpretation == "spherical":
        keep_outputs_from_zero(rng, net, X)
    estimates = np.array([fk.metric(net, X, kind="monte_carlo", reduction="full", n_draws=50,
                                    rng=rng).to_dense() for _ in range(200)])
    error = estimates.std(axis=0) / np.sqrt(len(estimates))
    fisher = fk.metric(net, X, kind="fisher", reduction="full").to_dense()
    assert error.max() < 0.03 * fisher.max()
    assert np.all(np.abs(estimates.mean(axis=0) - fisher) <= 5 * error + 1e-14)
    other = fk.metric(net, X, Y, kind="outer_product", reduction="full").to_dense()
    assert np.any(np.abs(other - fisher) > 50 * error + 1e-14)


@pytest.mark.parametrize("interpretation", ["bernoulli", "softmax", "spherical"])
def test_monte_carlo_draws_targets_as_often_as_they_are_probable(interpretation):
    # one output of every Bernoulli activation; a unit's b takes two values, so that the mean of
    # its square tells how often its target was drawn
    bernoulli = interpretation == "bernoulli"
    net = fk.Network(1, [(0, k) for k in range(1, 5)], interpretation=interpretation, rng=0,
                     activation=list(BERNOULLI_ACTIVATIONS) if bernoulli else "identity")
    X, n = np.full((20000, 1), 0.5), 20000
    for seed in range(3):
        net.theta[...] = np.random.default_rng(seed).uniform(-1, 1, net.n_parameters)
        outputs = net.forward(X[:1])[0]
        p = {"bernoulli": probabilities(net, outputs[None])[0],
             "softmax": np.exp(outputs) / np.exp(outputs).sum(),
             "spherical": outputs**2 / (outputs**2).sum()}[interpretation]
        A = fk.metric(net, X, kind="monte_carlo", rng=seed)
        for o, unit in enumerate(net.outputs):
            bias = net.indptr[unit - 1]
            targets = np.eye(4)[[o, o - 1]]  # drawn and not
            yes, no = (net.gradient(X[:1], y[None])[bias]**2 for y in targets)
            frequency = (A.block(unit)[0, 0] - no) / (yes - no)
            assert abs(frequency - p[o]) < 4.5 * np.sqrt(p[o] * (1 - p[o]) / n)


def test_monte_carlo_draws_square_targets_with_unit_variance_about_the_activity():
    net = fk.Network(1, [(0, 1), (0, 2)], activation="identity", rng=0)
    net.theta[...] = [3, 0, -5, 1]  # activities far from 0, which a wrong mean would show
    n = 20000
    dense = fk.metric(net, np.ones((n, 1)), kind="monte_carlo", reduction="full",
                      rng=1).to_dense()
    assert_close(dense[[0, 2], [0, 2]], np.ones(2), tolerance=4.5 * np.sqrt(2 / n))
    assert abs(dense[0, 2]) < 4.5 / np.sqrt(n)


# --- Proposition 28 -------------------------------------------------------------------------------


def assert_small_steps_lower_the_loss(net, X, Y, delta, slope):
    loss, theta, fall = net.loss(X, Y), net.theta.copy(), 0.0
    for halvings in range(40):
        net.theta[...] = theta + 2.0**-halvings * delta
        fall = loss - net.loss(X, Y)
        if fall > 0.3 * 2.0**-halvings * slope:  # Armijo's condition, which the slope promises
            return
    pytest.fail(f"no step lowers the loss; the last changes it by {-fall}")


@given(problems(dtype="float64", n_samples=64), forms(*REDUCTIONS),
       st.sampled_from(["range", 1e-3, 0.0]), seeds)
def test_prop_28_small_steps_lower_the_loss(problem, form, damping, seed):
    net, X, Y = problem
    draws = drawn(net, X, form[0], np.random.default_rng(seed))
    delta = metric_steps(form[1], form[0], damping).direction(net, X, Y, **draws)
    slope = -delta @ net.gradient(X, Y)
    assert slope >= 0
    assume(slope > 1e-6 and np.abs(delta).max() < 1e6)
    assert_small_steps_lower_the_loss(net, X, Y, delta, slope)


@pytest.mark.parametrize("damping", ["range", 0.0])
@pytest.mark.parametrize(("kind", "reduction"), FORMS)
@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
def test_prop_28_holds_where_blocks_are_singular(interpretation, kind, reduction, damping):
    rng = np.random.default_rng(1)
    net, X, Y = twins(rng, interpretation)
    delta = metric_steps(reduction, kind, damping).direction(net, X, Y, **drawn(net, X, kind, rng))
    slope = -delta @ net.gradient(X, Y)
    assert slope > 1e-3
    assert np.abs(delta).max() < 1e4
    assert_small_steps_lower_the_loss(net, X, Y, delta, slope)


# --- Proposition 32 -------------------------------------------------------------------------------


def modulus(net, X, Y, kind):
    """Weight c_k of each sample, from the library's passes alone."""
    if kind == "fisher":
        return net.fisher_modulus(X, reduced=True)
    return net.backpropagated_modulus(X, reduced=True)


def best_fits(net, X, Y, kind):
    """(P,) least-squares fits of the values b by the incoming activities, of least norm."""
    a = net.activities(X)
    b = -sample_gradients(net, X, Y)[:, net.indptr[:-1]]  # of z: the biases' gradients
    fits = np.zeros(net.n_parameters)
    for index, (unit, span, sources, _) in enumerate(reference.blocks(net)):
        c = b[:, index]**2 if kind == "outer_product" else modulus(net, X, Y, kind)[:, unit]
        used, free = c > 0, ~net.frozen[span]
        root = np.sqrt(c[used])
        rows = root[:, None] * np.column_stack([np.ones(used.sum()), a[used][:, sources]])[:, free]
        fits[np.flatnonzero(free) + span.start] = np.linalg.lstsq(rows, b[used, index] / root)[0]
    return fits


fitted = st.sampled_from(["fisher", "backpropagated", "outer_product"])


@given(seeds, interpretations, fitted)
def test_prop_32_unitwise_step_is_a_weighted_least_squares_fit(seed, interpretation, kind):
    net, X, Y = random_problem(np.random.default_rng(seed), interpretation)
    assume(worst_condition(net, X, Y, kind, "unitwise") < 1e6)
    delta = metric_steps("unitwise", kind).direction(net, X, Y)
    fits = best_fits(net, X, Y, kind)
    for _, span, _, _ in reference.blocks(net):
        assert_close(delta[span], fits[span], tolerance=1e-8)


@pytest.mark.parametrize("kind", ["fisher", "backpropagated", "outer_product"])
@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
def test_prop_32_singular_blocks_take_the_fit_of_least_norm(interpretation, kind):
    net, X, Y = twins(np.random.default_rng(3), interpretation)
    delta, fits = metric_steps("unitwise", kind).direction(net, X, Y), best_fits(net, X, Y, kind)
    for _, span, _, _ in reference.blocks(net):
        assert_close(delta[span], fits[span], tolerance=1e-8)


def test_prop_32_does_not_hold_for_the_quasi_diagonal_nor_other_weights():
    net, X, Y = random_problem(np.random.default_rng(3), "bernoulli")
    fits = best_fits(net, X, Y, "fisher")
    for optimizer in (metric_steps("quasi_diagonal", "fisher"), metric_steps("unitwise")):
        delta = optimizer.direction(net, X, Y)
        assert max(np.abs(delta - fits)[span].max() / np.abs(fits[span]).max()
                   for _, span, _, _ in reference.blocks(net) if fits[span].any()) > 0.05


# --- Remark 11 ------------------------------------------------------------------------------------


def output_layer(rng, interpretation, activations):
    """A random DAG whose sinks are outputs and one more unit is; the sinks' parameters."""
    edges = random_edges(rng, 3, 10, parallel=False)
    sinks = np.setdiff1d(edges[:, 1], edges[:, 0])
    fed = np.setdiff1d(edges[edges[:, 0] >= 3, 0], sinks)
    outputs = rng.permutation(np.r_[sinks, rng.choice(fed, min(len(fed), 1), replace=False)])
    names = rng.choice(ALIVE, 7)
    names[outputs - 3] = rng.choice(activations, len(outputs))
    net = fk.Network(3, edges, outputs=outputs, activation=names.tolist(), rng=rng,
                     interpretation=interpretation)
    net.theta[...] = 0.7 * rng.standard_normal(net.n_parameters)
    X = rng.standard_normal((40, 3))
    if interpretation == "spherical":
        keep_outputs_from_zero(rng, net, X)
    span = np.concatenate([np.arange(*net.indptr[k - 3:k - 1]) for k in sinks])
    return net, X, random_targets(rng, net, 40), np.ix_(span, span)


def fisher_and_backpropagated(net, X):
    return (fk.metric(net, X, kind="fisher", reduction="full").to_dense(),
            fk.metric(net, X, kind="backpropagated").to_dense())


def hessian(net, X, Y, members, h=1e-5):
    """Of the mean loss, for some parameters, by central differences of the gradient."""
    columns = []
    for i in members:
        at, gradients = net.theta[i], []
        for net.theta[i] in (at + h, at - h):
            gradients.append(net.gradient(X, Y)[members])
        net.theta[i] = at
        columns.append((gradients[0] - gradients[1]) / (2 * h))
    return np.array(columns)


@given(seeds, st.sampled_from(["square", "bernoulli"]))
def test_remark_11_fisher_and_backpropagated_metrics_of_the_output_layer_agree(seed,
                                                                               interpretation):
    activations = BERNOULLI_ACTIVATIONS if interpretation == "bernoulli" else ALIVE
    net, X, _, layer = output_layer(np.random.default_rng(seed), interpretation, activations)
    fisher, backpropagated = fisher_and_backpropagated(net, X)
    assert_close(fisher[layer], backpropagated[layer], tolerance=1e-12)


@given(seeds, st.sampled_from(["softmax", "spherical"]))
def test_remark_11_holds_unit_by_unit_where_outputs_are_classes(seed, interpretation):
    net, X, _, _ = output_layer(np.random.default_rng(seed), interpretation, ALIVE)
    fisher, backpropagated = fisher_and_backpropagated(net, X)
    feeding = set(net.edges[:, 0].tolist())
    for unit, span, _, _ in reference.blocks(net):
        if unit not in feeding:
            assert_close(fisher[span, span], backpropagated[span, span], tolerance=1e-12)


@pytest.mark.parametrize("interpretation", ["softmax", "spherical"])
def test_remark_11_does_not_hold_for_classes_across_units(interpretation):
    net, X, _, layer = output_layer(np.random.default_rng(28), interpretation, ["sigmoid"])
    fisher, backpropagated = fisher_and_backpropagated(net, X)
    assert np.abs(fisher - backpropagated)[layer].max() > 0.1 * fisher[layer].max()


@pytest.mark.parametrize("interpretation", ["square", "bernoulli"])
def test_remark_11_does_not_hold_for_outputs_that_feed_units(interpretation):
    net, X, _, _ = output_layer(np.random.default_rng(19), interpretation, ["sigmoid"])
    fisher, backpropagated = fisher_and_backpropagated(net, X)
    feeding = set(net.edges[:, 0].tolist())
    span, = (span for unit, span, _, _ in reference.blocks(net)
             if unit in net.outputs and unit in feeding)
    difference = (fisher - backpropagated)[span, span]
    assert np.abs(difference).max() > 0.02 * fisher[span, span].max()


@given(seeds, st.sampled_from([("bernoulli", tuple(SIGMOIDAL)), ("square", ("identity",))]))
def test_remark_11_metrics_of_the_output_layer_are_the_hessian(seed, case):
    net, X, Y, layer = output_layer(np.random.default_rng(seed), *case)
    H = hessian(net, X, Y, layer[1][0])
    for metric in fisher_and_backpropagated(net, X):
        assert_close(metric[layer], H, scale=np.abs(H).max(), tolerance=1e-8)


@pytest.mark.parametrize(("case", "differing"), [
    (("bernoulli", ("erf",)), ("fisher", "backpropagated")),
    (("square", ("tanh",)), ("fisher", "backpropagated")),
    (("softmax", ("identity",)), ("backpropagated",)),  # Fisher's joint matrix is the Hessian
])
def test_remark_11_newton_does_not_hold_for_other_outputs(case, differing):
    net, X, Y, layer = output_layer(np.random.default_rng(2), *case)
    H = hessian(net, X, Y, layer[1][0])
    for kind, metric in zip(("fisher", "backpropagated"), fisher_and_backpropagated(net, X),
                            strict=True):
        apart = np.abs(metric[layer] - H).max() / np.abs(H).max()
        assert apart > 0.05 if kind in differing else apart < 1e-8
