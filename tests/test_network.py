"""Definition, parameters, constructors, copies and initialization of networks."""

import copy
import pickle
from collections import Counter

import networkx
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, assert_close, networks, random_network, random_samples

import fisherkern as fk
from fisherkern import reference
from fisherkern.interpretations import ACTIVATIONS

# descending numbers, an output (4) that feeds unit 2, and the pair (1, 4) twice
EDGES = [(0, 4), (4, 2), (1, 4), (3, 2), (1, 4), (1, 3)]


def small(**options):
    return fk.Network(2, EDGES, allow_parallel=True, **{"rng": 0} | options)


def pairs(net):
    return Counter(map(tuple, net.edges.tolist()))


# --- definition -----------------------------------------------------------------------------------


def test_sizes():
    net = small(outputs=[4, 2])
    sizes = net.n_units, net.n_inputs, net.n_edges, net.n_outputs, net.n_parameters
    assert sizes == (5, 2, 6, 2, 9)
    assert net.outputs.tolist() == [4, 2]


def test_default_outputs_are_the_units_without_outgoing_edges_ascending():
    assert small().outputs.tolist() == [2]
    net = fk.Network(2, [(0, 5), (5, 3), (0, 4), (1, 2), (5, 6)])
    assert net.outputs.tolist() == [2, 3, 4, 6]


def test_theta_is_unit_blocks_bias_first_sources_ascending():
    net = small()
    assert net.indptr.tolist() == [0, 3, 5, 9]
    assert net.edges.tolist() == [[3, 2], [4, 2], [1, 3], [0, 4], [1, 4], [1, 4]]
    net.theta = np.arange(9)
    assert net.biases.tolist() == [0, 3, 5]
    assert net.weights.tolist() == [1, 2, 4, 6, 7, 8]


def test_parallel_edges_keep_the_given_order():
    matrix = scipy.sparse.coo_array(([5.0, 7.0, 6.0], ([0, 1, 0], [2, 2, 2])), shape=(3, 3))
    net = fk.Network.from_scipy(matrix, allow_parallel=True)
    assert net.weights.tolist() == [5, 6, 7]
    matrix.coords[0][:], matrix.data[:] = [1, 0, 0], [7, 6, 5]
    assert fk.Network.from_scipy(matrix, allow_parallel=True).weights.tolist() == [6, 5, 7]


def test_frozen_is_given_per_edge_and_kept_in_theta_order():
    net = small(frozen=[True, False, False, False, True, False])  # (0, 4), the second (1, 4)
    assert net.frozen.tolist() == [False] * 6 + [True, False, True]


def test_edges_weights_and_biases_are_copies():
    net = small()
    before = net.theta.copy()
    for copied in (net.edges, net.weights, net.biases):
        copied[...] = 7
    np.testing.assert_array_equal(net.theta, before)
    assert (net.edges != 7).all()


@pytest.mark.parametrize("activation", [
    ["relu", "tanh", "sigmoid"], ("relu", "tanh", "sigmoid"), np.array(["relu", "tanh", "sigmoid"]),
    {2: "relu", 4: "sigmoid"}, {np.int64(4): "sigmoid", 2: "relu"}])
def test_activation_by_sequence_or_mapping(activation):
    assert tuple(small(activation=activation).activations) == ("relu", "tanh", "sigmoid")


@pytest.mark.parametrize("edges", [np.array(EDGES, np.int32), np.array(EDGES, np.uint16),
                                   np.asfortranarray(EDGES), tuple(EDGES)])
def test_edges_of_any_integer_array(edges):
    net = fk.Network(2, edges, allow_parallel=True, rng=0)
    np.testing.assert_array_equal(net.edges, small().edges)


@given(networks())
def test_forward_follows_edges_weights_and_biases(net):
    X = random_samples(np.random.default_rng(0), net, 3)
    a = np.zeros((3, net.n_units))
    a[:, :net.n_inputs] = X
    weights = scipy.sparse.coo_array((net.weights, net.edges.T), shape=2 * (net.n_units,)).todense()
    for _ in range(net.n_units):  # each round settles at least one more level
        z = a @ weights
        for k, (name, bias) in enumerate(zip(net.activations, net.biases, strict=True)):
            unit = net.n_inputs + k
            a[:, unit] = reference.activate(name, z[:, unit] + bias)
    assert_close(net.forward(X), a[:, net.outputs], net.dtype,
                 scale=np.abs(a).max(axis=1, keepdims=True))


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_theta_is_live(dtype):
    net = small(dtype=dtype)
    X, theta = np.ones((4, 2)), net.theta
    before = net.forward(X)
    theta[...] = 0
    assert not net.forward(X).any()
    assert before.any()
    theta[0] = 0.5
    assert_close(net.forward(X), np.full((4, 1), np.tanh(0.5)), dtype)


def test_theta_assignment_keeps_its_array():
    net = small()
    theta = net.theta
    net.theta = np.arange(9, dtype=np.float32)
    net.theta *= 2
    assert net.theta is theta
    assert theta.tolist() == list(range(0, 18, 2))


def test_frozen_is_live_and_assignable():
    net = small()
    X, Y, flags = np.ones((4, 2)), np.ones(4), net.frozen
    net.frozen = [k % 2 == 0 for k in range(9)]
    assert flags is net.frozen
    assert not net.gradient(X, Y)[::2].any()
    flags[...] = False
    assert net.gradient(X, Y)[0] != 0
    net.frozen = True
    assert not net.gradient(X, Y).any()


COPIES = {
    "copy": lambda net: net.copy(),
    "copy.copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize("way", COPIES)
@given(net=networks())
def test_copies_equal_and_are_independent(way, net):
    X = random_samples(np.random.default_rng(0), net, 17)
    other = COPIES[way](net)
    assert repr(other) == repr(net)
    for name in ("theta", "frozen", "indptr", "edges", "outputs"):
        np.testing.assert_array_equal(getattr(other, name), getattr(net, name), strict=True)
    assert other.activations == net.activations
    outputs = net.forward(X)
    np.testing.assert_array_equal(other.forward(X), outputs)
    other.theta[...], other.frozen = 0, True
    np.testing.assert_array_equal(net.forward(X), outputs)


def test_copy_keeps_leaky_slope():
    net = fk.Network(1, [(0, 1)], activation="leaky_relu", leaky_slope=0.5)
    net.theta = [0, 1]
    assert net.copy().forward([[-4.0]]) == -2


@given(networks())
def test_repr_is_one_informative_line(net):
    text = repr(net)
    assert "\n" not in text
    for part in (net.n_inputs, net.n_edges, net.n_parameters, net.interpretation, net.dtype):
        assert str(part) in text


# --- constructors ---------------------------------------------------------------------------------


def fan(net, column, units):
    return np.bincount(net.edges[:, column], minlength=net.n_units)[units].tolist()


def test_layered_is_dense_by_default():
    net = fk.Network.layered([2, 3, 1])
    assert pairs(net) == Counter([(i, k) for i in (0, 1) for k in (2, 3, 4)]
                                 + [(i, 5) for i in (2, 3, 4)])
    assert net.outputs.tolist() == [5]


def test_layered_fan_in_draws_distinct_sources():
    net = fk.Network.layered([9, 8, 7], fan_in=[5, 3], rng=0)
    assert fan(net, 1, range(9, 24)) == [5] * 8 + [3] * 7
    assert max(pairs(net).values()) == 1


def test_layered_fan_out_draws_distinct_targets():
    net = fk.Network.layered([9, 4, 4], fan_out=[3, 2], rng=0)
    assert fan(net, 0, range(13)) == [3] * 9 + [2] * 4
    assert max(pairs(net).values()) == 1


def test_layered_with_replacement_keeps_parallel_edges():
    net = fk.Network.layered([3, 20], fan_in=5, replace=True, rng=0)
    assert fan(net, 1, range(3, 23)) == [5] * 20
    assert max(pairs(net).values()) > 1


def test_layered_density():
    net = fk.Network.layered([100, 100], density=0.1, rng=0)
    assert net.n_edges == pytest.approx(1000, abs=5 * 30)


@pytest.mark.parametrize("options", [{"fan_out": 1}, {"density": 0.01},
                                     {"fan_out": 1, "replace": True}])
def test_layered_gives_lonely_units_one_input(options):
    net = fk.Network.layered([2, 30, 3], rng=0, **options)
    assert min(fan(net, 1, range(2, 35))) == 1
    lonely = [k for k in range(2, 32) if fan(net, 1, [k]) == [1]]
    assert len({source for source, target in net.edges.tolist() if target in lonely}) == 2


def test_layered_outputs_are_the_last_layer_alone():
    net = fk.Network.layered([3, 6, 4], fan_in=1, rng=0)  # some hidden units feed nothing
    assert net.outputs.tolist() == [9, 10, 11, 12]


def test_layered_rng_decides_edges_and_parameters():
    first, second = (fk.Network.layered([5, 6, 2], fan_in=2, rng=3) for _ in range(2))
    np.testing.assert_array_equal(first.edges, second.edges)
    np.testing.assert_array_equal(first.theta, second.theta)
    other = fk.Network.layered([5, 6, 2], fan_in=2, rng=4)
    assert not np.array_equal(first.edges, other.edges)


def test_residual_vs_recursion_by_hand():
    width, depth, alpha = 4, 3, 0.75
    net = fk.Network.residual(width, depth, alpha=alpha, sigma_v=1, sigma_b=0.5, rng=0)
    matrix = scipy.sparse.coo_array((net.weights, net.edges.T), shape=2 * (net.n_units,)).todense()
    x = np.random.default_rng(1).standard_normal((6, width))
    outputs = net.forward(x)
    for block in range(depth):
        start = 2 * width * block
        here, hidden, above = (slice(start + i * width, start + (i + 1) * width) for i in range(3))
        bias = net.biases[hidden.start - width:hidden.stop - width]
        x = np.maximum(x @ matrix[here, hidden] + bias, 0) @ matrix[hidden, above] + alpha * x
    assert_close(outputs, x)


def test_residual_freezes_its_skip_edges_alone():
    net = fk.Network.residual(4, 3, alpha=0.75, sigma_v=1, rng=0)
    assert net.frozen.sum() == 3 * 4
    assert (net.theta[net.frozen] == 0.75).all()


def test_residual_variances():
    width = 120
    net = fk.Network.residual(width, 1, alpha=1, sigma_v=3, sigma_w=2, sigma_b=0.5, rng=0)
    free = net.weights[net.weights != 1]
    into_hidden, into_linear = free[:width**2], free[width**2:]
    assert into_hidden.std() * width**0.5 == pytest.approx(2, rel=0.03)
    assert into_linear.std() * width**0.5 == pytest.approx(3, rel=0.03)
    assert net.biases[:width].std() == pytest.approx(0.5, rel=0.25)
    assert not net.biases[width:].any()


@pytest.mark.parametrize("form", ["coo_array", "csr_array", "csc_array", "csr_matrix"])
def test_from_scipy_vs_forward_by_hand(form):
    entries = ([0.5, -1, 2, 0, 1.5], ([0, 1, 1, 2, 4], [2, 2, 4, 3, 3]))
    matrix = getattr(scipy.sparse, form)(scipy.sparse.coo_array(entries, shape=(5, 5)))
    net = fk.Network.from_scipy(matrix)
    x, y = X = np.random.default_rng(0).standard_normal((2, 6))
    assert (net.n_inputs, net.n_edges, net.n_units) == (2, 5, 5)  # the stored zero is an edge
    assert_close(net.forward(X.T)[:, 0], np.tanh(1.5 * np.tanh(2 * y)))
    assert_close(net.activities(X.T)[:, 2], np.tanh(0.5 * x - y))
    assert not net.biases.any()


def test_from_scipy_n_inputs_overrides_the_leading_units():
    matrix = scipy.sparse.coo_array(([1.0, 1.0], ([0, 1], [2, 2])), shape=(3, 3))
    assert fk.Network.from_scipy(matrix, n_inputs=1 + 1).n_inputs == 2
    with pytest.raises(ValueError, match="unit 1"):
        fk.Network.from_scipy(matrix, n_inputs=1)


def test_from_networkx_vs_forward_by_hand():
    graph = networkx.DiGraph()
    graph.add_weighted_edges_from([("a", "h", 2.0), ("h", "y", -1.0), ("b", "y", 0.5)])
    net = fk.Network.from_networkx(graph)  # inputs a, b, then h, y
    a, b = X = np.random.default_rng(0).standard_normal((2, 6))
    assert_close(net.forward(X.T)[:, 0], np.tanh(-np.tanh(2 * a) + 0.5 * b))
    assert not net.biases.any()


def test_from_networkx_inputs_in_the_order_given():
    graph = networkx.DiGraph([("a", "y"), ("b", "y"), ("b", "z")])
    net = fk.Network.from_networkx(graph, inputs=["b", "a"])
    assert pairs(net) == Counter([(0, 2), (0, 3), (1, 2)])


def test_from_networkx_multigraph_has_parallel_edges():
    net = fk.Network.from_networkx(networkx.MultiDiGraph([(0, 1), (0, 1)]))
    assert net.n_edges == 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_new_network_is_initialized_by_ollivier(activation):
    new = fk.Network(2, EDGES, allow_parallel=True, activation=activation, rng=5)
    again = small(activation=activation, rng=0).initialize("ollivier", rng=5)
    np.testing.assert_array_equal(new.theta, again.theta)


# --- initialization: ollivier ---------------------------------------------------------------------


def data_network(rng, **options):
    return random_network(rng, **{"n_inputs": 4, "n_units": 16, "frozen": 0} | options)


@given(st.integers(0, 2**32 - 1))
def test_sigmoid_network_corresponds_to_the_tanh_network(seed):
    tanh, sigmoid = (fk.Network.layered([7, 6, 5, 4], fan_in=3, replace=True, rng=seed,
                                        activation=name) for name in ("tanh", "sigmoid"))
    X = np.where(np.random.default_rng(seed).random((9, 7)) < 0.5, -1, 1)
    assert_close(sigmoid.activities((1 + X) / 2), (1 + tanh.activities(X)) / 2)


@pytest.mark.parametrize(("activation", "gain"), [
    ("tanh", 1), ("identity", 1), ("erf", 1), ("lecun_tanh", 1), ("sigmoid", 4),
    *((name, 2**0.5) for name in ("relu", "leaky_relu", "softplus", "silu", "gelu"))])
def test_ollivier_deviations(activation, gain):
    net = fk.Network.layered([50, 200], fan_in=25, activation=activation, rng=0)
    assert net.weights.std() * 5 == pytest.approx(gain, rel=0.05)
    if activation != "sigmoid":
        assert not net.biases.any()


def test_ollivier_counts_parallel_edges():
    net = fk.Network.layered([2, 500], fan_in=16, replace=True, rng=0)
    assert net.weights.std() == pytest.approx(1 / 4, rel=0.05)


@pytest.mark.parametrize("scheme", ["ollivier", "data"])
def test_initialize_keeps_frozen_entries_and_draws_the_others(scheme):
    rng = np.random.default_rng(0)
    net, X = data_network(rng, frozen=0.4), rng.standard_normal((30, 4))
    before, theta = net.theta.copy(), net.theta
    assert net.initialize(scheme, rng=1, X=X) is net
    assert net.theta is theta
    np.testing.assert_array_equal(theta[net.frozen], before[net.frozen])
    weights = np.delete(np.arange(net.n_parameters), net.indptr[:-1])
    weights = weights[~net.frozen[weights]]
    assert (theta[weights] != before[weights]).all()


@pytest.mark.parametrize("scheme", ["ollivier", "data"])
def test_initialize_depends_on_rng_alone(scheme):
    rng = np.random.default_rng(0)
    net, X = data_network(rng), rng.standard_normal((30, 4))
    drawn = [net.initialize(scheme, rng=seed, X=X).theta.copy()
             for seed in (1, np.random.default_rng(1), 2, None)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    assert (drawn[2] != drawn[3]).any()


# --- initialization: data -------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.sampled_from(DTYPES))
def test_data_scheme_scales_preactivations(seed, dtype):
    rng = np.random.default_rng(seed)
    net, X = data_network(rng, dtype=dtype), rng.standard_normal((80, 4)).astype(dtype)
    mean, deviation = reference.data_scale(net.initialize("data", rng=rng, X=X), X)
    moving = np.array([reference.activities(net, X)[:, sources].std(axis=0).max() > 0
                       for _, _, sources, _ in reference.blocks(net)])
    is_output = np.isin(np.arange(net.n_inputs, net.n_units), net.outputs)
    assert_close(mean, np.zeros(12), dtype, scale=1)
    assert_close(deviation, np.where(is_output, 0.3, 1) * moving, dtype, scale=1)


@given(st.integers(0, 2**32 - 1))
def test_data_weights_follow_the_ranges(seed):
    # within a unit, w_ik range(a_i) is 4 N(0, 1) up to one common factor
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((50, 6)) * 10.0 ** rng.integers(-3, 4, 6)
    net = fk.Network(6, [(i, 6) for i in range(6)], activation="identity")
    net.initialize("data", rng=7, X=X)
    noise = np.random.default_rng(7).standard_normal(6)
    ratio = net.weights * np.ptp(X, axis=0) / noise
    assert_close(ratio, np.full(6, ratio[0]))


def test_data_scheme_gives_constant_features_weight_zero():
    net = fk.Network.layered([5, 8, 2], rng=0)
    X = np.random.default_rng(0).standard_normal((40, 5))
    X[:, 1], X[:, 3] = 1e6, 1e6 + 0.1 * X[:, 3] / np.ptp(X[:, 3])  # below 1e-6 of its size
    net.initialize("data", rng=0, X=X)
    first = net.edges[:, 1] < 13
    constant = np.isin(net.edges[:, 0], [1, 3])
    assert not net.weights[first & constant].any()
    assert net.weights[~(first & constant)].all()


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=st.integers(0, 2**32 - 1))
def test_data_scheme_is_exactly_invariant_to_powers_of_two(dtype, seed):
    rng = np.random.default_rng(seed)
    net, X = data_network(rng, dtype=dtype), rng.standard_normal((30, 4)).astype(dtype)
    scales = 2.0 ** rng.integers(-20, 21, 4)
    plain = net.copy().initialize("data", rng=1, X=X).activities(X)
    scaled = net.copy().initialize("data", rng=1, X=X * scales).activities(X * scales)
    np.testing.assert_array_equal(scaled[:, 4:], plain[:, 4:])


@given(st.integers(0, 2**32 - 1))
def test_data_scheme_is_invariant_to_scale_and_shift(seed):
    rng = np.random.default_rng(seed)
    net, X = data_network(rng), rng.standard_normal((30, 4))
    moved = (X + rng.uniform(-5, 5, 4)) * 10 ** rng.uniform(-3, 3, 4)
    plain = net.copy().initialize("data", rng=1, X=X).activities(X)
    other = net.copy().initialize("data", rng=1, X=moved).activities(moved)
    assert_close(other[:, 4:], plain[:, 4:], tolerance=1e-9)


def test_data_scheme_centres_around_frozen_weights():
    net = fk.Network(2, [(0, 2), (1, 2)], activation="identity", frozen=[True, False])
    net.theta = [0, 3, 1]
    X = np.random.default_rng(0).standard_normal((50, 2)) + 5
    net.initialize("data", rng=0, X=X)
    assert net.weights[0] == 3
    assert net.forward(X).mean() == pytest.approx(0, abs=1e-12)


def test_data_scheme_looks_at_500_samples_at_most():
    net = fk.Network.layered([3, 4, 2], rng=0)
    X = np.random.default_rng(0).standard_normal((5000, 3))
    mean, deviation = reference.data_scale(net.initialize("data", rng=0, X=X), X)
    assert np.abs(mean).max() > 1e-6  # not of all rows
    assert np.abs(mean).max() < 0.3
    assert_close(deviation, [1, 1, 1, 1, 0.3, 0.3], tolerance=0.2)


@pytest.mark.parametrize("X", [np.ones((1, 3)), np.full((20, 3), 7.0), np.zeros((5, 3))])
def test_data_scheme_without_variation_gives_zeros(X):
    net = fk.Network.layered([3, 4, 2], rng=0).initialize("data", rng=0, X=X)
    assert not net.weights.any()
    assert np.isfinite(net.theta).all()


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_data_scheme_with_features_of_extreme_units(scale):
    X = np.random.default_rng(0).uniform(-1, 1, (40, 3)) * scale
    net = fk.Network.layered([3, 4, 2], rng=0).initialize("data", rng=0, X=X)
    assert np.isfinite(net.theta).all()
    assert reference.data_scale(net, X)[1] == pytest.approx([1, 1, 1, 1, 0.3, 0.3])
