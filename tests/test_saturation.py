"""Saturated units against the formulas in 400 digits: outputs, and units below them.

400 digits hold 1 - a down to the smallest double, so that the twin below is written straight from
the formulas. Outputs' pre-activations are the inputs themselves (weight 1, bias 0), hence exact;
targets lie away from the probabilities, so that y - a cancels by saturation alone. What a dtype
cannot hold is excepted in these ways only, `tiny` being its smallest normal number:

- a result below `tiny` may be anything up to `tiny`; in entries of gradients and metrics, so may
  b~_k and c_k before they are multiplied by activities;
- an unreduced modulus may be +inf where it exceeds 0.1 / `tiny`;
- the spherical model may take an activity, or a share a^2 / S in the unreduced modulus, of size
  `tiny` or less for 0: a target on such an output costs +inf, gradients raise ValueError, and the
  unreduced modulus is +inf where all outputs are 0.
"""

import functools

import numpy as np
import pytest
from mpmath import mp, mpf
from strategies import DTYPES

import fisherkern as fk
from fisherkern.interpretations import ACTIVATIONS, BERNOULLI_ACTIVATIONS
from fisherkern.metrics import KINDS
from fisherkern.optimizers import PRESETS
from fisherkern.reference import topological_blocks

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
DIGITS = 400
# exact in both dtypes; at 26.5, 43.625, 87.25, 354.125 and 708.25, e^(-z^2), e^(-2z) and e^-z are
# among the smallest normal numbers of either
SIZES = [float(np.float32(1e-3)), 0.5, 3, 6, 10, 20, 26.5, 30, 37, 43.625, 50, 87.25, 100, 300,
         354.125, 700, 708.25, 745, 1e3, 1e4]
Z = np.array([0.0, *SIZES, *np.negative(SIZES)])
FEW = np.outer([1, -1], [0.5, 3, 10, 37, 100, 700, 1e4]).ravel()
LECUN_SCALE = mpf(17159) / 10000


# --- the twin -------------------------------------------------------------------------------------


@functools.cache
def probability(name, z):
    """P(y = 1) of a Bernoulli output; that of y = 0 is at -z."""
    if name == "erf":
        return mp.erfc(-z) / 2
    return 1 / (1 + mp.exp(-{"sigmoid": 1, "tanh": 2, "lecun_tanh": mpf(4) / 3}[name] * z))


@functools.cache
def activate(name, z):
    """Activity and slope."""
    if name in BERNOULLI_ACTIVATIONS:
        p, q = probability(name, z), probability(name, -z)
        return {"sigmoid": (p, p * q),
                "tanh": (p - q, 4 * p * q),
                "lecun_tanh": (LECUN_SCALE * (p - q), LECUN_SCALE * 8 / 3 * p * q),
                "erf": (p - q, 2 / mp.sqrt(mp.pi) * mp.exp(-z * z))}[name]
    if name == "identity":
        return z, mpf(1)
    if name in ("relu", "leaky_relu"):
        below = mpf(name == "leaky_relu") / 100
        return (z, mpf(1)) if z > 0 else (below * z, below)
    if name == "gelu":
        p = mp.erfc(-z / mp.sqrt(2)) / 2
        return z * p, p + z * mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)
    p, q = probability("sigmoid", z), probability("sigmoid", -z)
    return (z * p, p * (1 + z * q)) if name == "silu" else (mp.log1p(mp.exp(z)), p)


def minus_log(p, q):
    """-ln p, with p + q = 1."""
    return -mp.log1p(-q) if q < p else -mp.log(p) if p else mp.inf


class Twin:
    """One sample in `DIGITS` digits; lists are by unit, or by output in Y's order."""

    def __init__(self, net, x):
        self.n_units = net.n_units
        self.kind, self.outputs = net.interpretation, net.outputs.tolist()
        self.a = [mpf(float(v)) for v in x] + [None] * (net.n_units - net.n_inputs)
        self.z, self.r = list(self.a), [mpf(1)] * net.n_units
        self.blocks = topological_blocks(net)
        self.children = [[] for _ in self.a]
        for k, span, sources, name in self.blocks:
            w = [mpf(float(v)) for v in net.theta[span]]
            self.z[k] = w[0] + sum(wi * self.a[i] for wi, i in zip(w[1:], sources, strict=True))
            self.a[k], self.r[k] = activate(name, self.z[k])
            for wi, i in zip(w[1:], sources, strict=True):
                self.children[i].append((k, wi))
        self.backward = [b.unit for b in self.blocks[::-1]] + list(range(net.n_inputs))
        self.at = [self.a[k] for k in self.outputs]
        self.square_sum = sum(a * a for a in self.at)
        if self.kind == "bernoulli":
            names = [net.activations[k - net.n_inputs] for k in self.outputs]
            pairs = list(zip(names, (self.z[k] for k in self.outputs), strict=True))
            self.p = [probability(name, z) for name, z in pairs]
            self.q = [probability(name, -z) for name, z in pairs]
            self.density = [{"sigmoid": mpf(1), "lecun_tanh": 1 / (2 * LECUN_SCALE)}.get(
                name, mpf(1) / 2) for name in names]
        elif self.kind == "softmax":
            powers = [mp.exp(a - max(self.at)) for a in self.at]
            self.p = [power / sum(powers) for power in powers]
            self.q = [sum(powers[:o] + powers[o + 1:]) / sum(powers) for o in range(len(powers))]
        else:
            self.p = [a * a / self.square_sum if a else mpf(0) for a in self.at]
            self.q = [1 - p for p in self.p]

    def loss(self, y):
        if self.kind == "square":
            return sum((yo - a) ** 2 for yo, a in zip(y, self.at, strict=True)) / 2
        both = self.kind == "bernoulli"
        return sum((yo * minus_log(p, q) if yo else 0)
                   + ((1 - yo) * minus_log(q, p) if both and yo < 1 else 0)
                   for yo, p, q in zip(y, self.p, self.q, strict=True))

    def values(self, y):
        """b~_k."""
        if self.kind == "square":
            direct = [yo - a for yo, a in zip(y, self.at, strict=True)]
        elif self.kind == "bernoulli":
            direct = [(yo / p - (1 - yo) / q) * d
                      for yo, p, q, d in zip(y, self.p, self.q, self.density, strict=True)]
        elif self.kind == "softmax":
            direct = [yo - p for yo, p in zip(y, self.p, strict=True)]
        else:
            direct = [2 * yo / a - 2 * a / self.square_sum if a else mpf(0)
                      for yo, a in zip(y, self.at, strict=True)]
        own, b = dict(zip(self.outputs, direct, strict=True)), {}
        for k in self.backward:
            b[k] = self.r[k] * (own.get(k, 0) + sum(w * b[j] for j, w in self.children[k]))
        return [b[k] for k in range(self.n_units)]

    def rates(self):
        """J_k^o."""
        J = {}
        for k in self.backward:
            J[k] = [mpf(k == unit) + sum(w * self.r[j] * J[j][o] for j, w in self.children[k])
                    for o, unit in enumerate(self.outputs)]
        return [J[k] for k in range(self.n_units)]

    def omega(self):
        n = range(len(self.outputs))
        if self.kind == "square":
            own = [mpf(1) for _ in n]
        elif self.kind == "bernoulli":
            own = [d * d / (p * q) for p, q, d in zip(self.p, self.q, self.density, strict=True)]
        elif self.kind == "softmax":
            return [[(o == e) * self.p[o] - self.p[o] * self.p[e] for e in n] for o in n]
        elif self.square_sum == 0:
            own = [mp.inf for _ in n]
        else:
            a, s = self.at, self.square_sum
            return [[4 / s * ((o == e) - a[o] * a[e] / s) for e in n] for o in n]
        return [[own[o] if o == e else mpf(0) for e in n] for o in n]

    def fisher(self):
        """Phi_k."""
        omega, n = self.omega(), range(len(self.outputs))
        return [sum(J[o] * omega[o][e] * J[e] for o in n for e in n if J[o] and J[e])
                for J in self.rates()]

    def modulus(self):
        """m_k."""
        omega, m = self.omega(), {}
        own = {k: omega[o][o] for o, k in enumerate(self.outputs)}
        for k in self.backward:
            m[k] = own.get(k, 0) + sum(w * w * self.r[j] ** 2 * m[j] for j, w in self.children[k])
        return [m[k] for k in range(self.n_units)]

    def reduced(self, modulus):
        return [r * r * m for r, m in zip(self.r, modulus, strict=True)]

    def entries(self, c, triangle=True):
        """a_i a_j c_k of each unit's lower triangle by rows, or a_i c_k; ascending units."""
        found = []
        for k, _, sources, _ in sorted(self.blocks):
            a = [mpf(1)] + [self.a[i] for i in sources]
            found += [a[i] * a[j] * c[k] for i in range(len(a)) for j in range(i + 1)] \
                if triangle else [ai * c[k] for ai in a]
        return found


# --- the networks ---------------------------------------------------------------------------------

OUTPUTS = {"square": ACTIVATIONS, "bernoulli": BERNOULLI_ACTIVATIONS,
           "softmax": ("identity", "sigmoid", "tanh"),
           "spherical": ("identity", "sigmoid", "tanh", "softplus")}
NAMES = {  # outputs on inputs; an output that feeds another; a hidden unit below two outputs
    "direct": [(i, name) for i in OUTPUTS for name in OUTPUTS[i]] + [("bernoulli", "mixed")],
    "chain": [(i, name) for i in OUTPUTS for name in OUTPUTS[i] if name in BERNOULLI_ACTIVATIONS],
    # far out, a spherical loss does not change with an unbounded unit: its terms cancel
    "tower": [(i, name) for i in OUTPUTS
              for name in (BERNOULLI_ACTIVATIONS if i == "spherical" else ACTIVATIONS)],
}
CASES = [(shape, *pair) for shape in NAMES for pair in NAMES[shape]]
CHAIN = {"edges": [(0, 1), (1, 2)], "outputs": [1, 2]}, [0, 1, 0.375, 0.5]
TOWER = {"edges": [(0, 1), (1, 2), (1, 3)], "outputs": [2, 3]}, [0, 1, 0.375, 0.5, 0.375, -0.25]
SINGLE = {"square": [[0], [1], [-1], [0.25], [0.875]], "bernoulli": [[0], [1], [0.25], [0.875]]}
PAIRS = [[0, 1], [1, 0], [0.3125, 0.6875]]
TRIPLES = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.3125, 0.125, 0.5625]]
each_case = pytest.mark.parametrize("case", CASES, ids="-".join)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def mixed_rows():
    """Three outputs' z: tiny radii and shares first, then mixed signs, all negative, and ties."""
    small = [[-745, -1e3, -372.5], [-50, -50, -1e4], [-700, 1e4, 1e3], [-700, -745, -350]]
    turns = np.roll(Z, 7), np.roll(Z, 18)
    return np.concatenate([small, np.stack([Z, -Z, turns[0]], 1),
                           -np.abs(np.stack([Z, *turns], 1))[::2],
                           np.stack([turns[1], Z, Z], 1)[::4]])


def build(case, dtype):
    """Network, samples, and the targets that each go with every sample."""
    shape, interpretation, activation = case
    rows, targets = Z[:, None], PAIRS
    if shape == "direct":
        names = ["sigmoid", "erf", "tanh"] if activation == "mixed" else [activation] * 3
        if activation != "mixed" and interpretation in SINGLE:
            names, targets = names[:1], SINGLE[interpretation]
        else:
            rows, targets = mixed_rows(), TRIPLES
        n = len(names)
        graph, theta = {"edges": [(o, n + o) for o in range(n)]}, [0, 1] * n
    else:
        last = "tanh" if interpretation == "bernoulli" else "identity"
        names = [activation, last, last] if shape == "tower" else [activation] * 2
        graph, theta = TOWER if shape == "tower" else CHAIN
        rows = FEW[:, None]
    net = fk.Network(rows.shape[1], activation=names, interpretation=interpretation, dtype=dtype,
                     rng=0, **graph)
    net.theta = theta
    return net, rows.astype(dtype), np.array(targets, dtype)


def some_draws(net, a):
    """Two targets of one sample whose output activities are a: as vectors, and as `draws`."""
    n = net.n_outputs
    if net.interpretation in SINGLE:
        vectors = np.array([np.zeros(n), np.ones(n)])
        return vectors, vectors[None]
    alive = [o for o in range(n) if net.interpretation == "softmax" or not vanishes(a[o])]
    classes = np.array((alive or [0])[:2])
    return np.eye(n)[classes], classes[None]


def vanishes(a, dtype="float64"):
    return np.abs(np.asarray(a, float)) < np.finfo(dtype).tiny


@functools.cache
def exact(case):
    """Every quantity of a case in float64, by sample, then by target; and `draws`."""
    net, X, targets = build(case, "float64")
    found = {}

    def put(name, values):
        found.setdefault(name, []).append(np.array(values, float))

    with mp.workdps(DIGITS):
        targets = [[mpf(float(v)) for v in y] for y in targets]
        ones = [mpf(1)] * net.n_units
        for x in X:
            twin = Twin(net, x)
            put("activities", twin.a)
            put("rates", twin.rates())
            for kind, modulus in (("fisher", twin.fisher()), ("backpropagated", twin.modulus())):
                reduced = [r * r * m for r, m in zip(twin.r, modulus, strict=True)]
                put(f"{kind} modulus", modulus)
                put(f"reduced {kind} modulus", reduced)
                put(f"{kind} metric", twin.entries(reduced))
            values = [twin.values(y) for y in targets]
            put("losses", [twin.loss(y) for y in targets])
            put("gradient", [[-g for g in twin.entries(b, triangle=False)] for b in values])
            put("outer_product metric", [twin.entries([v * v for v in b]) for b in values])
            vectors, draws = some_draws(net, twin.at)
            squares = [[v * v for v in twin.values(y.tolist())] for y in vectors]
            put("monte_carlo metric",
                twin.entries([sum(column) / len(squares) for column in zip(*squares, strict=True)]))
            found.setdefault("draws", []).append(draws)
            put("sources", twin.entries(ones, triangle=False))
            put("pairs of sources", twin.entries(ones))
            spherical = net.interpretation == "spherical"
            put("inverse radius", 1 / mp.sqrt(twin.square_sum) if spherical and twin.square_sum
                else mp.inf if spherical else 0)
    return {name: rows if name == "draws" else np.array(rows) for name, rows in found.items()}


def lost(case, dtype, unreduced=False):
    """What the spherical model loses of each sample's reduced moduli or values."""
    tiny, inverse = np.finfo(dtype).tiny, exact(case)["inverse radius"]
    with np.errstate(over="ignore"):
        return 16 * (tiny * inverse) * (inverse if unreduced else tiny * inverse)


def alive(case, targets, dtype):
    """(n_samples, n_targets): no target is on a spherical output that is 0."""
    net, *_ = build(case, dtype)
    dead = vanishes(exact(case)["activities"][:, net.outputs], dtype)
    return ~((targets[None] > 0) & dead[:, None] & (net.interpretation == "spherical")).any(axis=2)


def assert_exact(actual, expected, dtype, *, factor=1.0, lost=0.0):
    """Within the tolerance, or `lost` times `factor`; or both up to `tiny` times `factor`."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    assert actual.shape == expected.shape
    assert not np.isnan(actual).any()
    factor = np.maximum(1.0, np.abs(factor))
    least = np.finfo(dtype).tiny * factor
    with np.errstate(invalid="ignore"):
        error = np.abs(actual - expected)
        close = (error <= TOLERANCE[dtype] * np.abs(expected)) & np.isfinite(expected)
        close |= (error <= lost * factor) | (actual == expected)
    close |= (np.abs(actual) <= least) & (np.abs(expected) <= least)
    wrong = np.argwhere(~close).tolist()
    assert not wrong, f"{len(wrong)} of {close.size} entries:\n" + "\n".join(
        f"{i}: {actual[tuple(i)]!r}, expected {expected[tuple(i)]!r}" for i in wrong[:8])


# --- outputs, and units below them ----------------------------------------------------------------


@each_dtype
@each_case
def test_activities_and_transfer_rates(case, dtype):
    net, X, _ = build(case, dtype)
    assert_exact(net.activities(X), exact(case)["activities"], dtype)
    assert_exact(net.transfer_rates(X), exact(case)["rates"], dtype)


@each_dtype
@each_case
def test_losses(case, dtype):
    net, X, targets = build(case, dtype)
    expected = np.where(alive(case, targets, dtype), exact(case)["losses"], np.inf)
    actual = np.stack([net.losses(X, np.tile(y, (len(X), 1))) for y in targets], axis=1)
    assert_exact(actual, expected, dtype)


@each_dtype
@each_case
def test_backpropagated_values(case, dtype):
    net, X, targets = build(case, dtype)
    expected, factors = exact(case)["gradient"], exact(case)["sources"]
    samples, columns = np.nonzero(alive(case, targets, dtype))
    actual = [net.gradient(X[t:t + 1], targets[j:j + 1])
              for t, j in zip(samples, columns, strict=True)]
    assert_exact(actual, expected[samples, columns], dtype, factor=factors[samples],
                 lost=lost(case, dtype)[samples, None])


@each_dtype
@each_case
@pytest.mark.parametrize("kind", ["fisher", "backpropagated"])
def test_moduli(kind, case, dtype):
    net, X, _ = build(case, dtype)
    compute = getattr(net, f"{kind}_modulus")
    assert_exact(compute(X, reduced=True), exact(case)[f"reduced {kind} modulus"], dtype,
                 lost=lost(case, dtype)[:, None])
    actual, expected = compute(X), exact(case)[f"{kind} modulus"]
    beyond = expected > 0.1 / np.finfo(dtype).tiny
    if net.interpretation == "spherical":
        beyond |= vanishes(exact(case)["activities"][:, net.outputs], dtype).all(1, keepdims=True)
    beyond &= actual == np.inf
    assert_exact(np.where(beyond, 0, actual), np.where(beyond, 0, expected), dtype,
                 lost=lost(case, dtype, unreduced=True)[:, None])


@each_dtype
@each_case
@pytest.mark.parametrize("kind", KINDS)
def test_unitwise_metric(kind, case, dtype):
    net, X, targets = build(case, dtype)
    expected, factors = exact(case)[f"{kind} metric"], exact(case)["pairs of sources"]
    usable = alive(case, targets, "float64")
    # computed in float64 and rounded at the end; (z, -z, ..) are there both ways round
    step = 8 if dtype == "float32" else 1 + (net.n_outputs > 2)
    usable[np.arange(len(X)) % step > 0] = False
    if kind == "outer_product":
        usable &= np.add.outer(np.arange(len(X)) // step, np.arange(len(targets))) % 2 == 0
        samples, columns = np.nonzero(usable)
        expected = expected[samples, columns]
    else:
        samples = np.flatnonzero(usable.any(axis=1))
        columns, expected = np.zeros_like(samples), expected[samples]
    actual = []
    for t, j in zip(samples, columns, strict=True):
        given = {"draws": exact(case)["draws"][t]} if kind == "monte_carlo" else {}
        y = targets[j:j + 1] if kind == "outer_product" else None
        A = fk.metric(net, X[t:t + 1], y, kind=kind, **given)
        blocks = [A.block(unit) for unit in range(net.n_inputs, net.n_units)]
        actual.append(np.concatenate([block[np.tril_indices(len(block))] for block in blocks]))
    assert_exact(actual, expected, dtype, factor=factors[samples],
                 lost=lost(case, "float64")[samples, None])


@each_dtype
@pytest.mark.parametrize("activation", OUTPUTS["spherical"])
def test_spherical_target_on_a_vanished_output(activation, dtype):
    case = "direct", "spherical", activation
    net, X, targets = build(case, dtype)
    for t, j in np.argwhere(~alive(case, targets, dtype))[::8]:
        x, y = X[t:t + 1], targets[j:j + 1]
        assert net.losses(x, y) == np.inf
        with pytest.raises(ValueError, match="sample 0 has no derivative"):
            net.gradient(x, y)


# --- directions -----------------------------------------------------------------------------------

def saturated_batch(interpretation, activation, z, dtype):
    """Two outputs on a hidden unit and an input; samples that are right, wrong and moderate."""
    net = fk.Network(1, [(0, 1), (1, 2), (1, 3), (0, 2), (0, 3)], dtype=dtype, rng=0,
                     activation=["tanh", activation, activation], interpretation=interpretation)
    net.theta = [0, 1, 0.25, 1, 0.5, 0.125, -1, 0.25]
    return net, np.array([[z], [-z], [z / 2]], dtype), np.array([[0, 1], [0, 1], [1, 0]], dtype)


def largest_step(net, X, Y, kind):
    """Bound on undamped directions, up to rounding: max |G| over the least positive A_ii."""
    A = fk.metric(net, X, Y, kind=kind, reduction="diagonal", rng=0).diagonal()
    with np.errstate(over="ignore"):
        return np.abs(net.gradient(X, Y)).max() / A[A > 0].min(initial=np.inf)


@pytest.mark.parametrize(("interpretation", "activation"), [
    pair for shape, *pair in CASES if shape == "direct" and pair[1] != "mixed"])
@pytest.mark.parametrize("name", PRESETS)
def test_directions_are_finite(name, interpretation, activation):
    preset = PRESETS[name]
    damped = [preset(damping=d) for d in (0.0, 1e-4, "range")] if preset.has_metric else [preset()]
    for z in (3, -37, 100, -300, 700, 1e4):
        net, X, Y = saturated_batch(interpretation, activation, z, "float64")
        single, *data = saturated_batch(interpretation, activation, z, "float32")
        if interpretation == "spherical" and vanishes(single.forward(data[0])[Y > 0],
                                                      "float32").any():
            continue
        for optimizer in damped:
            try:
                direction = optimizer.direction(net, X, Y, rng=0)
                assert np.isfinite(direction).all()
            except FloatingPointError:
                # the metric of a wrong, saturated sample may be too small to divide by
                assert preset.has_metric
                assert optimizer.damping != 1e-4
                assert largest_step(net, X, Y, preset().kind) > 1e288
                continue
            # the same direction, where float32 holds it
            if np.abs(direction).max() <= np.finfo(np.float32).max:
                actual = optimizer.direction(single, *data, rng=0)
                np.testing.assert_array_equal(actual, direction.astype(np.float32))
            else:
                with pytest.raises(FloatingPointError, match="not finite"):
                    optimizer.direction(single, *data, rng=0)


@pytest.mark.parametrize("form", [("backpropagated", "quasi_diagonal"),
                                  ("backpropagated", "diagonal"), ("backpropagated", "unitwise")])
def test_metric_that_overflows_is_no_metric_of_zeros(form):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    X[:, 2] *= 1e20  # whose squares float32 does not hold
    Y = (X[:, 0] > 0).astype(int)
    net = fk.Network.layered([5, 4, 2], activation=["tanh"] * 4 + ["identity"] * 2,
                             interpretation="softmax", dtype="float32", rng=0)
    net.initialize("data", X=X, rng=0)
    with pytest.raises(FloatingPointError, match=r"not finite at step [01];"):
        fk.train(net, X, Y, fk.optimizers.MetricGradient(*form), steps=5, batch_size=32, rng=0)
