"""Theorems of [O] and the invariances of the defaults, on random DAGs."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import assert_close, problems, random_edges, random_targets

import fisherkern as fk
from fisherkern import optimizers, reference

# a(z) = A sigmoid(G z) + B
SIGMOIDAL = {"sigmoid": (1.0, 0.0, 1.0), "tanh": (2.0, -1.0, 2.0),
             "lecun_tanh": (2 * 1.7159, -1.7159, 4 / 3)}
INVARIANT = ("unitwise", "quasi_diagonal")
seeds = st.integers(0, 2**32 - 1)


def random_problem(rng, interpretation, activations=(*SIGMOIDAL, "softplus", "leaky_relu")):
    """Mixed units of which none dies, outputs that feed units, some frozen weights."""
    n_inputs, n_units = 3, 11
    edges = random_edges(rng, n_inputs, n_units, parallel=False)
    outputs = n_inputs + rng.permutation(n_units - n_inputs)[:3]
    names = rng.choice(activations, n_units - n_inputs)
    if interpretation == "bernoulli":
        names[outputs - n_inputs] = rng.choice(list(SIGMOIDAL), 3)
    net = fk.Network(n_inputs, edges, outputs=outputs, activation=names.tolist(),
                     interpretation=interpretation, rng=rng)
    net.theta[...] = rng.standard_normal(net.n_parameters)
    net.frozen = rng.random(net.n_parameters) < 0.1
    net.frozen[net.indptr[:-1]] = False  # a frozen bias is not invariant
    X = rng.standard_normal((300, n_inputs))
    return net, X, random_targets(rng, net, 300)


def reparametrized(net, X, rng):
    """The same function by other units: [O section 2.3], (alpha, beta, gamma) per unit.

    a' = alpha a + beta and z' = z / gamma, so w' = w / (gamma alpha_i) and
    w'_0 = (w_0 - sum_i w_i beta_i / alpha_i) / gamma: the errata's formula, from the other side.
    Sigmoidal units become others, leaky_relu ones are scaled, inputs scaled and shifted.
    """
    alpha, beta, gamma = np.ones(net.n_units), np.zeros(net.n_units), np.ones(net.n_units)
    alpha[:net.n_inputs] = rng.uniform(0.3, 3, net.n_inputs)
    beta[:net.n_inputs] = rng.standard_normal(net.n_inputs)
    names = list(net.activations)
    for index, name in enumerate(names):
        unit = index + net.n_inputs
        if net.interpretation != "bernoulli" and unit in net.outputs:
            continue  # its activity is what is predicted
        if name in SIGMOIDAL:
            names[index] = str(rng.choice(list(SIGMOIDAL)))
            (A, B, G), (A2, B2, G2) = SIGMOIDAL[name], SIGMOIDAL[names[index]]
            alpha[unit], gamma[unit] = A2 / A, G2 / G
            beta[unit] = B2 - alpha[unit] * B
        elif name == "leaky_relu":
            alpha[unit] = rng.uniform(0.3, 3)
            gamma[unit] = 1 / alpha[unit]
    other = fk.Network(net.n_inputs, net.edges, outputs=net.outputs, activation=names, rng=0,
                       interpretation=net.interpretation)
    for unit, span, sources, _ in reference.blocks(net):
        w0, w = net.theta[span][0], net.theta[span][1:]
        other.theta[span] = np.r_[w0 - w @ (beta[sources] / alpha[sources]),
                                  w / alpha[sources]] / gamma[unit]
    other.frozen = net.frozen
    return other, X * alpha[:net.n_inputs] + beta[:net.n_inputs]


def worst_condition(net, X, Y, kind="backpropagated"):
    """Largest condition number of the units' matrices, but of those that no output depends on."""
    A, worst = reference.unitwise_metric(net, X, kind, Y), 1.0
    for block in reference.blocks(net):
        free = np.flatnonzero(~net.frozen[block.span]) + block.span.start
        B = A[np.ix_(free, free)]
        if B.any():
            worst = max(worst, np.linalg.cond(B))
    return worst


def step(net, X, Y, optimizer, rate=0.1):
    """Outputs after one step on a copy."""
    moved = net.copy()
    moved.theta[...] += rate * optimizer.direction(net, X, Y)
    return moved.forward(X)


def probabilities(net, outputs):
    """Sigmoidal outputs as probabilities, whatever the unit."""
    if net.interpretation != "bernoulli":
        return outputs
    A, B, _ = np.array([SIGMOIDAL[net.activations[k - net.n_inputs]] for k in net.outputs]).T
    return (outputs - B) / A


def metric_steps(reduction, kind="backpropagated", damping=0.0):
    return optimizers.MetricGradient(kind, reduction, damping=damping)


# --- Proposition 30 -------------------------------------------------------------------------------


@given(seeds, st.sampled_from(["bernoulli", "square", "softmax"]), st.sampled_from(INVARIANT),
       st.sampled_from(["backpropagated", "outer_product"]), st.sampled_from([0.0, "range"]))
def test_prop_30_step_is_invariant_under_reparametrization(seed, interpretation, reduction, kind,
                                                           damping):
    rng = np.random.default_rng(seed)
    net, X, Y = random_problem(rng, interpretation)
    other, X2 = reparametrized(net, X, rng)
    condition = max(worst_condition(net, X, Y, kind), worst_condition(other, X2, Y, kind))
    assume(condition < 1e7)
    before = probabilities(net, net.forward(X))
    assert_close(probabilities(other, other.forward(X2)), before, scale=1, tolerance=1e-12)
    optimizer = metric_steps(reduction, kind, damping)
    one = probabilities(net, step(net, X, Y, optimizer))
    two = probabilities(other, step(other, X2, Y, optimizer))
    assert_close(two, one, scale=1 + np.abs(one - before).max(),
                 tolerance=1e-11 + 1e-14 * condition)


def test_prop_30_does_not_hold_for_backpropagation_nor_the_diagonal():
    rng = np.random.default_rng(0)
    net, X, Y = random_problem(rng, "bernoulli")
    other, X2 = reparametrized(net, X, rng)
    before = probabilities(net, net.forward(X))
    for optimizer in (optimizers.Backpropagation(), metric_steps("diagonal"),
                      metric_steps("unitwise", damping=0.1)):
        one = probabilities(net, step(net, X, Y, optimizer))
        two = probabilities(other, step(other, X2, Y, optimizer))
        assert np.abs(one - two).max() > 0.05 * np.abs(one - before).max()


# --- Proposition 31 -------------------------------------------------------------------------------


def mixed_features(net, X, rng):
    """The same function of x' = M x + c; every unit above an input must see all of them."""
    M = np.linalg.qr(rng.standard_normal((net.n_inputs, net.n_inputs)))[0]
    M, c = M * rng.uniform(0.5, 2, net.n_inputs), rng.standard_normal(net.n_inputs)
    other = net.copy()
    for _, span, sources, _ in reference.blocks(net):
        block, seen = other.theta[span], np.flatnonzero(sources < net.n_inputs)
        if seen.size:
            assert seen.size == net.n_inputs
            block[1 + seen] = np.linalg.solve(M.T, block[1 + seen])
            block[0] -= block[1 + seen] @ c
    return other, X @ M.T + c


def dense_inputs(rng, interpretation):
    """A DAG in which a unit has all inputs as sources or none."""
    edges = random_edges(rng, 3, 9, parallel=False)
    first = np.unique(edges[edges[:, 0] < 3, 1])
    edges = np.concatenate([edges[edges[:, 0] >= 3],
                            [(i, k) for i in range(3) for k in first]])
    net = fk.Network(3, edges, interpretation=interpretation, rng=rng)
    net.theta[...] = 0.7 * rng.standard_normal(net.n_parameters)
    X = rng.standard_normal((300, 3))
    return net, X, random_targets(rng, net, 300)


@given(seeds, st.sampled_from(["square", "bernoulli"]))
def test_prop_31_unitwise_step_is_invariant_under_recombined_inputs(seed, interpretation):
    rng = np.random.default_rng(seed)
    net, X, Y = dense_inputs(rng, interpretation)
    other, mixed = mixed_features(net, X, rng)
    condition = max(worst_condition(net, X, Y), worst_condition(other, mixed, Y))
    assume(condition < 1e7)
    assert_close(other.forward(mixed), net.forward(X), scale=1, tolerance=1e-12)
    optimizer = metric_steps("unitwise")
    one, two = step(net, X, Y, optimizer), step(other, mixed, Y, optimizer)
    assert_close(two, one, scale=1 + np.abs(one - net.forward(X)).max(),
                 tolerance=1e-11 + 1e-14 * condition)


def test_prop_31_does_not_hold_for_the_other_reductions():
    rng = np.random.default_rng(2)
    net, X, Y = dense_inputs(rng, "bernoulli")
    other, mixed = mixed_features(net, X, rng)
    for optimizer in (optimizers.Backpropagation(), metric_steps("quasi_diagonal"),
                      metric_steps("diagonal")):
        one, two = step(net, X, Y, optimizer), step(other, mixed, Y, optimizer)
        assert np.abs(one - two).max() > 0.02 * np.abs(one - net.forward(X)).max()


# --- units and origins of features (mathematics.md section 10) ------------------------------------


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
    optimizer = metric_steps(reduction, damping="range")
    assert_close(trained(shifted, Y, optimizer, interpretation, **options),
                 trained(X, Y, optimizer, interpretation, **options), tolerance=1e-7)


@pytest.mark.parametrize("options", TRAINING, ids=["mini", "whole", "adaptive", "online"])
@pytest.mark.parametrize("reduction", [*INVARIANT, "diagonal"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_training_is_bitwise_the_same_for_features_times_powers_of_two(dtype, reduction, options):
    X, rng = features(4)
    X = X.astype(dtype)
    Y = rng.integers(0, 3, 200)
    optimizer = metric_steps(reduction, damping="range")
    scales = 2.0 ** np.array([8, -9, 3, -1, 0, 5])
    np.testing.assert_array_equal(trained(X * scales, Y, optimizer, "softmax", dtype, **options),
                                  trained(X, Y, optimizer, "softmax", dtype, **options))


# --- other theorems -------------------------------------------------------------------------------


@given(problems(dtype="float64", n_samples=64), st.sampled_from(["backpropagated",
       "outer_product"]), st.sampled_from([*INVARIANT, "diagonal"]),
       st.sampled_from(["range", 1e-3, 0.0]))
def test_prop_28_small_steps_lower_the_loss(problem, kind, reduction, damping):
    net, X, Y = problem
    G = -net.gradient(X, Y)
    delta = metric_steps(reduction, kind, damping).direction(net, X, Y)
    slope, loss, theta = delta @ G, net.loss(X, Y), net.theta.copy()
    assert slope >= 0
    assume(slope > 1e-6 and np.abs(delta).max() < 1e6)
    fall = 0.0
    for halvings in range(40):
        net.theta[...] = theta + 2.0**-halvings * delta
        fall = loss - net.loss(X, Y)
        if fall > 0.3 * 2.0**-halvings * slope:  # Armijo's condition, which the slope promises
            break
    else:
        pytest.fail(f"no step lowers the loss; the last changes it by {-fall}")


@given(problems(dtype="float64"), st.sampled_from(["backpropagated", "outer_product"]),
       st.sampled_from([1e-4, 1e-1]), seeds)
def test_prop_25_quasi_diagonal_step_is_the_inverse_of_its_own_matrix(problem, kind, damping,
                                                                      seed):
    net, X, Y = problem
    g = np.random.default_rng(seed).standard_normal(net.n_parameters)
    A = fk.metric(net, X, Y, kind=kind, reduction="quasi_diagonal")
    free = ~net.frozen
    assume(free.any())
    dense = A.to_dense(damping) + np.diag(net.frozen)
    inverse = (np.linalg.inv(dense) @ g)[free]
    condition = np.linalg.cond(dense)
    assert_close(A.solve(g, damping)[free], inverse, tolerance=1e-13 * (1e3 + condition))
    assert_close(A.matvec(A.solve(g, damping), damping)[free], g[free],
                 tolerance=1e-13 * (1e3 + condition))


@given(seeds, st.sampled_from(["square", "bernoulli", "softmax"]))
def test_prop_32_unitwise_step_is_a_weighted_least_squares_fit(seed, interpretation):
    net, X, Y = random_problem(np.random.default_rng(seed), interpretation)
    assume(worst_condition(net, X, Y) < 1e6)
    delta = metric_steps("unitwise").direction(net, X, Y)
    a, m = net.activities(X), net.backpropagated_modulus(X, reduced=True)
    b = reference.backpropagated_values(net, X, Y)
    for unit, span, sources, _ in reference.blocks(net):
        free = ~net.frozen[span]
        used = m[:, unit] > 0
        if not used.any():
            assert not delta[span].any()
            continue
        root = np.sqrt(m[used, unit])
        rows = root[:, None] * np.column_stack([np.ones(used.sum()), a[used][:, sources]])[:, free]
        fit = np.linalg.lstsq(rows, b[used, unit] / root, rcond=None)[0]
        assert_close(delta[span][free], fit, tolerance=1e-7)


@given(problems(dtype="float64", interpretation="bernoulli"))
def test_remark_11_fisher_and_backpropagated_blocks_of_bernoulli_outputs_agree(problem):
    net, X, _ = problem
    A = fk.metric(net, X, kind="backpropagated")
    fisher = reference.unitwise_metric(net, X, "fisher")
    feeding = set(net.edges[:, 0].tolist())
    for unit, span, _, _ in reference.blocks(net):
        if unit in net.outputs and unit not in feeding:
            expected = fisher[span, span]
            assert_close(A.block(unit), expected, scale=np.abs(expected).max())
