"""Both initialization schemes [O section 4] and the one that adapts to data."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, assert_close, random_network

import fisherkern as fk
from fisherkern import reference
from fisherkern.interpretations import ACTIVATIONS

# descending numbers, an output (4) that feeds unit 2, and the pair (1, 4) twice
EDGES = [(0, 4), (4, 2), (1, 4), (3, 2), (1, 4), (1, 3)]


def small(**options):
    return fk.Network(2, EDGES, allow_parallel=True, **{"rng": 0} | options)


# --- ollivier ---------------------------------------------------------------------------------


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


# --- data -------------------------------------------------------------------------------------


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


@given(st.integers(0, 2**32 - 1))
def test_data_scheme_takes_sparse_samples_as_dense_ones(seed):
    rng = np.random.default_rng(seed)
    net, X = data_network(rng, frozen=0.2), rng.standard_normal((100, 4))
    X[rng.random(X.shape) < 0.6] = 0
    sparse = net.copy().initialize("data", rng=1, X=scipy.sparse.csr_array(X)).theta
    assert_close(sparse, net.initialize("data", rng=1, X=X).theta, tolerance=1e-9)


def test_data_scheme_knows_the_ranges_of_all_sparse_samples():
    X = np.zeros((3000, 3))
    X[:, 0] = np.arange(3000) % 2
    X[7, 1] = 1e3
    net = fk.Network.layered([3, 8, 1], rng=0)
    net.initialize("data", rng=0, X=scipy.sparse.csr_array(X))
    first = net.edges[:, 1] < 11
    weight = [np.abs(net.weights[first & (net.edges[:, 0] == i)]).mean() for i in range(3)]
    assert weight[2] == 0
    assert 0.2e-3 < weight[1] / weight[0] < 5e-3


def test_data_scheme_leaves_sparse_samples_sparse():
    X = scipy.sparse.csr_array(scipy.sparse.random(600, 50000, 1e-3, random_state=0))
    net = fk.Network(50000, np.column_stack([np.arange(50000), np.full(50000, 50000)]), rng=0)
    tracemalloc.start()
    net.initialize("data", rng=0, X=X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6 < 500 * 50000 * 8


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


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_new_network_is_initialized_by_ollivier(activation):
    new = fk.Network(2, EDGES, allow_parallel=True, activation=activation, rng=5)
    again = small(activation=activation, rng=0).initialize("ollivier", rng=5)
    np.testing.assert_array_equal(new.theta, again.theta)
