"""Every kind of bad argument: the error's type, and one line that names argument and place."""

import subprocess
import sys

import networkx
import numpy as np
import pytest
import scipy.sparse

import fisherkern as fk

EDGES = [(0, 2), (1, 2), (2, 3), (1, 3)]
NAN, INF = np.nan, np.inf


def assert_names(error, *parts):
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def table(*cases):
    """Parameters (argument, error, parts of the message), each with an id."""
    return [pytest.param(*values, id=name) for name, *values in cases]


# --- construction ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "error", "parts"), table(
    ("n_inputs_zero", {"n_inputs": 0}, ValueError, ["n_inputs", "0"]),
    ("n_inputs_float", {"n_inputs": 2.0}, TypeError, ["n_inputs", "2.0"]),
    ("n_inputs_huge", {"n_inputs": 10**30}, ValueError, ["input"]),
    ("edges_none", {"edges": None}, TypeError, ["edges"]),
    ("edges_empty", {"edges": []}, ValueError, ["edges"]),
    ("edges_shape", {"edges": [0, 2]}, ValueError, ["edges", "(2,)"]),
    ("edges_ragged", {"edges": [(0, 2), (1,)]}, ValueError, ["edges"]),
    ("edges_float", {"edges": [(0, 2.0)]}, TypeError, ["edges", "float64"]),
    ("edges_negative", {"edges": [(0, 2), (-1, 2)]}, ValueError, ["edges[1, 0]", "-1"]),
    ("edges_too_large", {"edges": [(0, 2), (0, 2**31)]}, ValueError, ["edges[1, 1]", "2147483648"]),
    ("edges_too_large_unsigned", {"edges": np.array([(0, 2**63)], np.uint64)}, ValueError,
     ["edges[0, 1]", "9223372036854775808"]),
    ("edge_into_input", {"edges": [(0, 2), (2, 1)]}, ValueError, ["edges[1]", "input unit 1"]),
    ("edge_twice", {"edges": [(0, 2), (1, 2), (0, 2)]}, ValueError, ["edges[2]", "allow_parallel"]),
    ("self_loop", {"edges": [(0, 2), (2, 2)]}, ValueError, ["cycle", "2 -> 2"]),
    ("cycle", {"edges": [(0, 2), (2, 3), (3, 4), (4, 2)]}, ValueError, ["cycle", "3 -> 4 -> 2"]),
    ("unit_without_source", {"edges": [(0, 3)]}, ValueError, ["unit 2"]),
    ("unit_fed_by_lost_units", {"edges": [(0, 2), (4, 3), (1, 5)]}, ValueError, ["unit 4"]),
    ("outputs_empty", {"outputs": []}, ValueError, ["outputs"]),
    ("outputs_an_input", {"outputs": [3, 1]}, ValueError, ["outputs[1]", "1"]),
    ("outputs_out_of_range", {"outputs": [4]}, ValueError, ["outputs[0]", "4"]),
    ("outputs_negative", {"outputs": [-1]}, ValueError, ["outputs[0]", "-1"]),
    ("outputs_twice", {"outputs": [3, 2, 3]}, ValueError, ["outputs", "unit 3"]),
    ("outputs_float", {"outputs": [2.0]}, TypeError, ["outputs", "float64"]),
    ("outputs_boolean", {"outputs": [False, True]}, TypeError, ["outputs", "bool"]),
    ("activation_unknown", {"activation": "tahn"}, ValueError, ["activation", "'tahn'", "tanh"]),
    ("activation_number", {"activation": 3}, TypeError, ["activation", "3"]),
    ("activation_none", {"activation": None}, TypeError, ["activation", "None"]),
    ("activation_too_few", {"activation": ["tanh"]}, ValueError, ["activation", "2", "1"]),
    ("activation_of_unit", {"activation": ["tanh", "x"]}, ValueError, ["unit 3", "'x'"]),
    ("activation_of_input", {"activation": {1: "tanh"}}, ValueError, ["activation", "unit 1"]),
    ("activation_of_no_unit", {"activation": {"a": "tanh"}}, TypeError, ["activation", "'a'"]),
    ("interpretation", {"interpretation": "cross"}, ValueError, ["interpretation", "'cross'"]),
    ("bernoulli_relu", {"interpretation": "bernoulli", "activation": {3: "relu"}}, ValueError,
     ["unit 3", "relu"]),
    ("frozen_integers", {"frozen": [0, 1, 0, 1]}, TypeError, ["frozen", "int64"]),
    ("frozen_shape", {"frozen": [True, False]}, ValueError, ["frozen", "(4,)", "(2,)"]),
    ("frozen_ragged", {"frozen": [[True], [True, False]]}, ValueError, ["frozen"]),
    ("dtype_integer", {"dtype": int}, ValueError, ["dtype", "int"]),
    ("dtype_half", {"dtype": "float16"}, ValueError, ["dtype", "float16"]),
    ("dtype_unknown", {"dtype": "real"}, TypeError, ["dtype", "'real'"]),
    ("rng_string", {"rng": "0"}, TypeError, ["rng", "'0'"]),
    ("rng_float", {"rng": 1.5}, TypeError, ["rng", "1.5"]),
    ("rng_negative", {"rng": -1}, ValueError, ["rng", "-1"]),
    ("rng_legacy", {"rng": np.random.RandomState(0)}, TypeError, ["rng", "RandomState"]),
    ("leaky_slope_nan", {"leaky_slope": NAN}, ValueError, ["leaky_slope", "nan"]),
    ("leaky_slope_string", {"leaky_slope": "0.1"}, TypeError, ["leaky_slope", "'0.1'"]),
))
def test_network(changes, error, parts):
    arguments = {"n_inputs": 2, "edges": EDGES} | changes
    with pytest.raises(error) as caught:
        fk.Network(**arguments)
    assert_names(caught, *parts)


def test_unit_number_beyond_the_edges_is_found_without_arrays_of_that_size():
    # two thousand million units cannot all be joined by one edge; 4 GiB would not hold them
    code = ("import resource, fisherkern as fk\n"
            "resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\n"
            "try: fk.Network(1, [(0, 2_000_000_000)])\n"
            "except BaseException as error: print(type(error).__name__, error)\n")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.startswith("ValueError unit 1 "), run.stdout + run.stderr


def sparse(weights, rows, columns, n):
    return scipy.sparse.coo_array((weights, (rows, columns)), shape=(n, n))


def digraph(weight):
    graph = networkx.DiGraph()
    graph.add_edge("a", "b", weight=weight)
    return graph


@pytest.mark.parametrize(("build", "error", "parts"), table(
    ("one_layer", lambda net: net.layered([5]), ValueError, ["sizes", "[5]"]),
    ("empty_layer", lambda net: net.layered([5, 0]), ValueError, ["sizes[1]", "0"]),
    ("float_layer", lambda net: net.layered([5, 2.0]), TypeError, ["sizes[1]", "2.0"]),
    ("sizes_number", lambda net: net.layered(5), TypeError, ["sizes", "5"]),
    ("two_densities", lambda net: net.layered([5, 2], fan_in=1, density=1), ValueError,
     ["fan_in", "density"]),
    ("fan_in_zero", lambda net: net.layered([5, 2, 2], fan_in=[1, 0]), ValueError,
     ["fan_in[1]", "0"]),
    ("fan_in_per_gap", lambda net: net.layered([5, 2], fan_in=[1, 2]), ValueError,
     ["fan_in", "(1)", "2"]),
    ("fan_out_float", lambda net: net.layered([5, 2], fan_out=1.5), TypeError, ["fan_out", "1.5"]),
    ("density_zero", lambda net: net.layered([5, 2], density=0), ValueError, ["density", "0"]),
    ("density_above_one", lambda net: net.layered([5, 2], density=2), ValueError,
     ["density", "2"]),
    ("width", lambda net: net.residual(0, 1, alpha=1, sigma_v=1), ValueError, ["width", "0"]),
    ("alpha", lambda net: net.residual(2, 1, alpha=NAN, sigma_v=1), ValueError, ["alpha", "nan"]),
    ("sigma", lambda net: net.residual(2, 1, alpha=1, sigma_v=-1), ValueError, ["sigma_v", "-1"]),
    ("dense_matrix", lambda net: net.from_scipy(np.eye(2)), TypeError, ["matrix", "ndarray"]),
    ("one_dimensional", lambda net: net.from_scipy(scipy.sparse.coo_array(np.ones(2))),
     ValueError, ["matrix", "(2,)"]),
    ("oblong_matrix", lambda net: net.from_scipy(scipy.sparse.coo_array((2, 3))), ValueError,
     ["matrix", "(2, 3)"]),
    ("matrix_without_inputs", lambda net: net.from_scipy(sparse([1.0], [1], [0], 2)), ValueError,
     ["matrix", "column 0"]),
    ("nan_in_matrix", lambda net: net.from_scipy(sparse([1, NAN], [0, 1], [2, 2], 3)), ValueError,
     ["matrix", "[1]", "nan"]),
    ("matrix_overflows",
     lambda net: net.from_scipy(sparse([1e300], [0], [1], 2), dtype="float32"), ValueError,
     ["matrix", "[0]", "float32"]),
    ("isolated_last_row", lambda net: net.from_scipy(sparse([1.0], [0], [1], 4)), ValueError,
     ["unit 2"]),
    ("undirected", lambda net: net.from_networkx(networkx.Graph([(0, 1)])), ValueError,
     ["graph", "directed"]),
    ("no_graph", lambda net: net.from_networkx(5), TypeError, ["graph", "int"]),
    ("missing_input", lambda net: net.from_networkx(digraph(1.0), inputs=["q"]), ValueError,
     ["inputs", "'q'"]),
    ("input_twice", lambda net: net.from_networkx(digraph(1.0), inputs=["a", "a"]), ValueError,
     ["inputs", "'a'"]),
    ("nan_weight", lambda net: net.from_networkx(digraph(NAN)), ValueError, ["weight", "nan"]),
    ("word_weight", lambda net: net.from_networkx(digraph("heavy")), TypeError, ["weight"]),
))
def test_constructors(build, error, parts):
    with pytest.raises(error) as caught:
        build(fk.Network)
    assert_names(caught, *parts)


def test_isolated_node_that_is_no_input():
    graph = digraph(1.0)
    graph.add_node("alone")
    with pytest.raises(ValueError, match=r"alone|unit 2"):
        fk.Network.from_networkx(graph, inputs=["a"])


# --- parameters -----------------------------------------------------------------------------------


def network(interpretation="square", dtype="float64", outputs=(3, 2)):
    activation = "sigmoid" if interpretation == "bernoulli" else "tanh"
    return fk.Network(2, EDGES, outputs=outputs, interpretation=interpretation, dtype=dtype,
                      activation=activation, rng=0)


def unchanged(net, before):
    return all(np.array_equal(now, then) for now, then in
               zip(net._state()[1].values(), before._state()[1].values(), strict=True))


def spoiled(shape, place, value, dtype=float):
    array = np.full(shape, 0.5).astype(dtype)
    array[place] = value
    return array


@pytest.mark.parametrize(("attribute", "value", "error", "parts"), table(
    ("theta_shape", "theta", np.zeros(5), ValueError, ["theta", "(6,)", "(5,)"]),
    ("theta_scalar", "theta", 1.0, ValueError, ["theta", "(6,)", "()"]),
    ("theta_nan", "theta", spoiled(6, 4, NAN), ValueError, ["theta[4]", "nan"]),
    ("theta_inf", "theta", spoiled(6, 4, -INF), ValueError, ["theta[4]", "-inf"]),
    ("theta_overflow", "theta", spoiled(6, 4, 1e39), ValueError, ["theta[4]", "1e+39", "float32"]),
    ("theta_words", "theta", ["a"] * 6, TypeError, ["theta"]),
    ("theta_none", "theta", None, TypeError, ["theta", "object"]),
    ("frozen_shape", "frozen", np.zeros(5, bool), ValueError, ["frozen", "(6,)", "(5,)"]),
    ("frozen_integers", "frozen", np.zeros(6, int), TypeError, ["frozen", "int64"]),
    ("frozen_ragged", "frozen", [[True], [True, False]], ValueError, ["frozen"]),
))
def test_assignment(attribute, value, error, parts):
    net = network(dtype="float32")
    before = net.copy()
    with pytest.raises(error) as caught:
        setattr(net, attribute, value)
    assert_names(caught, *parts)
    assert unchanged(net, before)


@pytest.mark.parametrize(("arguments", "error", "parts"), table(
    ("scheme", {"scheme": "xavier"}, ValueError, ["scheme", "'xavier'"]),
    ("rng", {"rng": "0"}, TypeError, ["rng", "'0'"]),
    ("no_X", {"scheme": "data"}, ValueError, ["X"]),
    ("X_nan", {"scheme": "data", "X": spoiled((20, 2), (17, 1), NAN)}, ValueError, ["X[17, 1]"]),
    ("X_width", {"scheme": "data", "X": np.ones((20, 3))}, ValueError, ["X", "(20, 3)"]),
))
def test_initialize(arguments, error, parts):
    net = network()
    before = net.copy()
    with pytest.raises(error) as caught:
        net.initialize(**arguments)
    assert_names(caught, *parts)
    assert unchanged(net, before)


# --- samples and targets --------------------------------------------------------------------------

METHODS = {
    "activities": lambda net, X, Y, **options: net.activities(X, **options),
    "forward": lambda net, X, Y, **options: net.forward(X, **options),
    "losses": lambda net, X, Y, **options: net.losses(X, Y, **options),
    "loss": lambda net, X, Y, **options: net.loss(X, Y, **options),
    "gradient": lambda net, X, Y, **options: net.gradient(X, Y, **options),
    "modulus": lambda net, X, Y, **options: net.backpropagated_modulus(X, **options),
}
GOOD = np.full((20, 2), 0.5)

X_CASES = table(
    ("flat", np.ones(2), ValueError, ["X", "(n_samples, 2)", "(2,)"]),
    ("width", np.ones((20, 3)), ValueError, ["X", "(n_samples, 2)", "(20, 3)"]),
    ("three_axes", np.ones((20, 2, 1)), ValueError, ["X", "(20, 2, 1)"]),
    ("empty", np.ones((0, 2)), ValueError, ["X", "(0, 2)"]),
    ("ragged", [[1, 2], [3]], ValueError, ["X", "rectangular"]),
    ("nan", spoiled((20, 2), (17, 1), NAN), ValueError, ["X[17, 1]", "nan"]),
    ("inf", spoiled((20, 2), (17, 0), -INF), ValueError, ["X[17, 0]", "-inf"]),
    ("overflow", spoiled((20, 2), (17, 0), 1e39), ValueError, ["X[17, 0]", "1e+39", "float32"]),
    ("masked", np.ma.masked_greater(spoiled((20, 2), (17, 1), 9), 5), ValueError,
     ["X[17, 1]", "masked"]),
    ("object", GOOD.astype(object), TypeError, ["X", "object"]),
    ("words", [["a", "b"]], TypeError, ["X", "<U1"]),
    ("complex", GOOD.astype(complex), TypeError, ["X", "complex"]),
    ("dates", GOOD.astype("datetime64[s]"), TypeError, ["X", "datetime64"]),
    ("none", None, TypeError, ["X", "object"]),
    ("sparse", scipy.sparse.csr_array(GOOD), TypeError, ["X"]),
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("X", "error", "parts"), X_CASES)
def test_X(X, error, parts, method):
    net = network(dtype="float32")
    before = net.copy()
    with pytest.raises(error) as caught:
        METHODS[method](net, X, GOOD)
    assert_names(caught, *parts)
    assert unchanged(net, before)


Y_CASES = table(
    ("flat", "square", np.ones(20), ValueError, ["Y", "(n_samples, 2)", "(20,)"]),
    ("width", "softmax", np.ones((20, 3)), ValueError, ["Y", "(n_samples, 2)", "(20, 3)"]),
    ("rows", "square", np.ones((19, 2)), ValueError, ["Y", "19", "20"]),
    ("class_rows", "softmax", np.zeros(19, int), ValueError, ["Y", "19", "20"]),
    ("ragged", "square", [[1, 2], [3]], ValueError, ["Y", "rectangular"]),
    ("nan", "square", spoiled((20, 2), (17, 1), NAN), ValueError, ["Y[17, 1]", "nan"]),
    ("class_nan", "softmax", spoiled(20, 17, NAN), ValueError, ["Y[17]", "nan"]),
    ("inf", "bernoulli", spoiled((20, 2), (17, 1), INF), ValueError, ["Y[17, 1]", "inf"]),
    ("overflow", "square", spoiled((20, 2), (17, 1), 1e39), ValueError, ["Y[17, 1]", "float32"]),
    ("masked", "square", np.ma.masked_greater(spoiled((20, 2), (17, 1), 9), 5), ValueError,
     ["Y[17, 1]", "masked"]),
    ("object", "square", GOOD.astype(object), TypeError, ["Y", "object"]),
    ("class_names", "softmax", ["a"] * 20, TypeError, ["Y", "<U1"]),
    ("none", "square", None, TypeError, ["Y", "object"]),
    ("bernoulli_above", "bernoulli", spoiled((20, 2), (17, 1), 1.5), ValueError,
     ["Y[17, 1]", "1.5"]),
    ("bernoulli_below", "bernoulli", spoiled((20, 2), (17, 1), -1), ValueError,
     ["Y[17, 1]", "-1"]),
    ("class_above", "softmax", spoiled(20, 17, 2, int), ValueError, ["Y[17]", "2", "0..1"]),
    ("class_below", "spherical", spoiled(20, 17, -1, int), ValueError, ["Y[17]", "-1"]),
    ("class_fraction", "softmax", spoiled(20, slice(17), 0), ValueError, ["Y[17]", "0.5"]),
    ("probabilities_sum", "softmax", spoiled((20, 2), (17, 1), 0.75), ValueError,
     ["Y[17]", "1.25"]),
    ("probabilities_zero", "spherical", spoiled((20, 2), 17, 0), ValueError, ["Y[17]", "0"]),
    ("probability_negative", "spherical", spoiled((20, 2), 17, [-0.5, 1.5]), ValueError,
     ["Y[17, 0]", "-0.5"]),
)


@pytest.mark.parametrize("method", ["losses", "loss", "gradient"])
@pytest.mark.parametrize(("interpretation", "Y", "error", "parts"), Y_CASES)
def test_Y(interpretation, Y, error, parts, method):
    net = network(interpretation, dtype="float32")
    before = net.copy()
    with pytest.raises(error) as caught:
        METHODS[method](net, GOOD, Y)
    assert_names(caught, *parts)
    assert unchanged(net, before)


@pytest.mark.parametrize("interpretation", ["square", "bernoulli"])
def test_place_in_flat_targets_has_one_index(interpretation):
    net = network(interpretation, outputs=[3])
    for value in (NAN, 3 if interpretation == "bernoulli" else INF):
        with pytest.raises(ValueError, match=r"^Y\[17\] = "):
            net.losses(GOOD, spoiled(20, 17, value))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_threads", "error", "parts"), table(
    ("zero", 0, ValueError, ["n_threads", "0"]),
    ("negative", -2, ValueError, ["n_threads", "-2"]),
    ("float", 2.0, TypeError, ["n_threads", "2.0"]),
    ("string", "2", TypeError, ["n_threads", "'2'"]),
))
def test_n_threads(n_threads, error, parts, method):
    with pytest.raises(error) as caught:
        METHODS[method](network(), GOOD, GOOD, n_threads=n_threads)
    assert_names(caught, *parts)


@pytest.mark.parametrize("n_threads", [2**31, 10**30])
def test_any_large_n_threads_means_all_that_find_work(n_threads):
    net = network()
    np.testing.assert_array_equal(net.forward(GOOD, n_threads=n_threads), net.forward(GOOD))
