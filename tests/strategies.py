"""Random networks on sparse DAGs with matching data, and the comparison that all tests use.

`random_network` and `random_problem` build from a numpy Generator; `networks` and `problems` are
Hypothesis strategies over them. A problem's parameters, X and Y are exact in the network's dtype,
so that fisherkern.reference, which works in float64, sees the very same numbers.
"""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import fisherkern as fk
from fisherkern import reference
from fisherkern.interpretations import ACTIVATIONS, BERNOULLI_ACTIVATIONS, INTERPRETATIONS

DTYPES = ("float64", "float32")
# one sample, around the tile widths 16, 32 and 64, and more than one tile
SAMPLE_COUNTS = (1, 15, 16, 17, 33, 64, 65, 130)
SMOOTH_ACTIVATIONS = tuple(name for name in ACTIVATIONS if "relu" not in name)
ODD_ACTIVATIONS = ("identity", "tanh", "erf", "lecun_tanh")
KINDS = ("fisher", "backpropagated", "outer_product", "monte_carlo")
REDUCTIONS = ("full", "unitwise", "quasi_diagonal", "diagonal")
FORMS = [(kind, reduction) for kind in KINDS for reduction in REDUCTIONS
         if (kind, reduction) != ("backpropagated", "full")]
TOLERANCE = {"float64": 1e-10, "float32": 2e-4}


class Problem(NamedTuple):
    """A network and samples; Y is soft targets, or class indices (n_samples,)."""

    net: fk.Network
    X: np.ndarray
    Y: np.ndarray


def random_edges(rng, n_inputs, n_units, max_fan_in=4, parallel=True):
    """Shuffled edges of a DAG whose non-input units are numbered at random.

    Every unit has a source among the inputs and the units before it, so all are reached.
    """
    order = np.concatenate([np.arange(n_inputs), n_inputs + rng.permutation(n_units - n_inputs)])
    edges = []
    for place in range(n_inputs, n_units):
        fan_in = int(rng.integers(1, min(max_fan_in, place) + 1))
        sources = order[rng.choice(place, fan_in, replace=False)]
        edges += [(source, order[place]) for source in sources]
    edges = np.array(edges, np.int64)
    if parallel:
        edges = np.concatenate([edges, edges[rng.random(len(edges)) < 0.2]])
    return rng.permutation(edges)


def random_network(rng, *, interpretation="square", dtype="float64", n_inputs=3, n_units=10,
                   n_outputs=3, activations=ACTIVATIONS, max_fan_in=4, parallel=True,
                   frozen=0.2, scale=1.0):
    """A network whose outputs are any non-input units, in any order.

    Parameters
    ----------
    rng : numpy.random.Generator
    activations : sequence of str
        Each unit takes one at random; Bernoulli outputs only those of BERNOULLI_ACTIVATIONS.
    frozen : float
        Probability of each parameter, biases too.
    scale : float
        Factor of the parameters, which are moderate at 1.
    """
    edges = random_edges(rng, n_inputs, n_units, max_fan_in, parallel)
    n_outputs = min(n_outputs, n_units - n_inputs)
    outputs = n_inputs + rng.permutation(n_units - n_inputs)[:n_outputs]
    names = rng.choice(activations, n_units - n_inputs)
    if interpretation == "bernoulli":
        bounded = [name for name in activations if name in BERNOULLI_ACTIVATIONS]
        names[outputs - n_inputs] = rng.choice(bounded or BERNOULLI_ACTIVATIONS, n_outputs)
    net = fk.Network(n_inputs, edges, outputs=outputs, activation=names.tolist(), dtype=dtype,
                     interpretation=interpretation, allow_parallel=True, rng=rng)
    fan_in = np.diff(net.indptr) - 1
    deviations = np.repeat(scale / np.sqrt(fan_in), fan_in + 1)
    net.theta[...] = deviations * rng.standard_normal(net.n_parameters)
    net.frozen = rng.random(net.n_parameters) < frozen
    return net


def random_samples(rng, net, n_samples):
    """(n_samples, n_inputs) normal samples of the network's dtype."""
    return rng.standard_normal((n_samples, net.n_inputs)).astype(net.dtype)


def random_targets(rng, net, n_samples, classes=False):
    """Targets of the network's dtype, or class indices; probabilities of 0 and 1 among them."""
    shape = (n_samples, net.n_outputs)
    if net.interpretation == "square":
        return rng.standard_normal(shape).astype(net.dtype)
    if net.interpretation == "bernoulli":
        soft = rng.random(shape)
        return np.where(rng.random(shape) < 0.5, np.round(soft), soft).astype(net.dtype)
    if classes:
        return rng.integers(net.n_outputs, size=n_samples)
    weights = rng.random(shape) * (rng.random(shape) < 0.7)
    weights[np.arange(n_samples), rng.integers(net.n_outputs, size=n_samples)] += 0.1
    return (weights / weights.sum(axis=1, keepdims=True)).astype(net.dtype)


def random_draws(rng, net, n_samples, n_draws=2):
    """Targets as if drawn: class indices (n_samples, n_draws), or (n_samples, n_draws, n_outputs).
    """
    if net.interpretation in ("softmax", "spherical"):
        return rng.integers(net.n_outputs, size=(n_samples, n_draws))
    if net.interpretation == "bernoulli":
        return rng.integers(2, size=(n_samples, n_draws, net.n_outputs)).astype(net.dtype)
    return rng.standard_normal((n_samples, n_draws, net.n_outputs)).astype(net.dtype)


def drawn(kind, net, X):
    """Keyword arguments that fix the targets of a Monte Carlo metric; none for other kinds."""
    if kind != "monte_carlo":
        return {}
    return {"draws": random_draws(np.random.default_rng(0), net, len(X))}


def reference_metric(net, X, Y, kind, reduction, whole=False, **draws):
    """The undamped matrix from which `reference.direction` makes a direction."""
    form = reference.full_metric if reduction == "full" else reference.unitwise_metric
    return form(net, X, kind, Y, whole=whole, **draws)


def keep_outputs_from_zero(rng, net, X, margin=0.5):
    """Shift the outputs' biases until |z| >= margin on X: spherical losses divide by activities."""
    for block in reference.topological_blocks(net):
        if block.unit in net.outputs:
            z = reference.preactivations(net, X)[:, block.unit]
            shift = margin - z.min()
            if block.activation in ODD_ACTIVATIONS and rng.random() < 0.5:
                shift = -margin - z.max()
            net.theta[block.span.start] += shift


def random_problem(rng, *, n_samples=33, classes=False, **options):
    """A `random_network` with samples and targets."""
    net = random_network(rng, **options)
    X = random_samples(rng, net, n_samples)
    if net.interpretation == "spherical":
        keep_outputs_from_zero(rng, net, X)
    return Problem(net, X, random_targets(rng, net, n_samples, classes))


@st.composite
def _definitions(draw, **fixed) -> dict[str, Any]:
    n_inputs = draw(st.integers(1, 4), label="n_inputs")
    drawn = {
        "rng": np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed")),
        "n_inputs": n_inputs,
        "n_units": n_inputs + draw(st.integers(1, 12), label="n_hidden_and_output"),
        "n_outputs": draw(st.integers(1, 4), label="n_outputs"),
    }
    for name, values in (("interpretation", INTERPRETATIONS), ("dtype", DTYPES)):
        if name not in fixed:
            drawn[name] = draw(st.sampled_from(values), label=name)
    return drawn | fixed


@st.composite
def networks(draw, **fixed) -> fk.Network:
    """Networks of `random_network`; keyword arguments fix what is not to be drawn."""
    return random_network(**draw(_definitions(**fixed)))


@st.composite
def problems(draw, **fixed) -> Problem:
    """Problems of `random_problem`; keyword arguments fix what is not to be drawn."""
    drawn = draw(_definitions(**fixed))
    drawn.setdefault("n_samples", draw(st.sampled_from(SAMPLE_COUNTS), label="n_samples"))
    drawn.setdefault("classes", draw(st.booleans(), label="classes"))
    return random_problem(**drawn)


def assert_close(actual, expected, dtype="float64", *, scale=None, tolerance=None):
    """Within `tolerance` (by dtype) of each entry or of its `scale`, and infinite where expected
    or where the expected value is too large for `dtype`.

    `scale` defaults to the largest finite entry of each row (the last axis): that many units of
    rounding may come from terms that cancel.
    """
    tolerance = TOLERANCE[np.dtype(dtype).name] if tolerance is None else tolerance
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    most = np.finfo(dtype).max
    expected = np.where(np.abs(expected) > most, np.copysign(np.inf, expected), expected)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    sizes = np.abs(np.where(finite, expected, 0.0))
    if scale is None:
        scale = sizes.max(axis=-1, keepdims=True) if sizes.ndim else sizes
    excess = np.abs(np.where(finite, actual - np.where(finite, expected, 0), 0))
    excess = excess - tolerance * (sizes + scale)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    assert np.all(excess <= 0), f"at {worst}: {actual[worst]!r}, expected {expected[worst]!r}"
