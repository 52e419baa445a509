"""Definition, parameters, constructors and copies of networks."""

import copy
import pickle
from collections import Counter

import networkx
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from strategies import DTYPES, assert_close, networks, random_samples

import fisherkern as fk
from fisherkern import reference

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


@pytest.mark.parametrize("name", [
    "n_inputs", "n_units", "n_edges", "n_parameters", "dtype", "outputs", "interpretation",
    "activations", "indptr", "leaky_slope"])
def test_definition_cannot_be_assigned(name):
    net = small()
    with pytest.raises(AttributeError, match=name):
        setattr(net, name, getattr(net, name))
