"""Slow, dense, obvious NumPy twin of every kernel, in float64: the oracle of the tests.

Sources: [O] Ollivier 2015, *Riemannian metrics for neural networks I*; [K] Karakida et al. 2018.

Conventions of the whole file (T samples, n units, the first n_inputs being inputs, P parameters):

- ``net`` is anything with the attributes of `NetworkLike`; ``X`` is (T, n_inputs); ``Y`` is
  (T, n_outputs), or (T,) class positions in ``net.outputs`` (softmax, spherical), or (T,) for one
  output. ``draws`` are sampled targets: (T, K) class positions, or (T, K, n_outputs).
- z, a, r are pre-activation, activity and slope, (T, n); an input unit has z = a = x and r = 1.
- *Reduced* quantities are derivatives with respect to z_k instead of a_k: b~ = r b, J~ = r J,
  Phi~ = r^2 Phi, m~ = r^2 m. They stay finite where a unit saturates, so all else is built on them.
- G = -d(mean loss)/d theta; a direction delta is used as theta <- theta + rate * delta.
- A frozen parameter has exact zeros in every gradient, metric (row and column) and direction.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]
ROUNDING_UNIT = np.finfo(np.float64).eps / 2
LECUN_SCALE = 1.7159


class NetworkLike(Protocol):
    """The only attributes of a network that this file looks at."""

    n_inputs: int
    n_units: int
    n_outputs: int
    edges: NDArray[np.integer]  # (n_edges, 2) (source, target), in theta's order
    theta: Array  # (P,) for each non-input unit k ascending: w_0k, then w_ik with i ascending
    indptr: NDArray[np.integer]  # (n_units - n_inputs + 1,) block offsets in theta
    outputs: Sequence[int]  # unit numbers, in the order of Y's columns
    activations: Sequence[str]  # of the non-input units
    interpretation: str  # square, bernoulli, softmax or spherical
    frozen: NDArray[np.bool_]  # (P,)


class Block(NamedTuple):
    """The incoming parameters E_k of one non-input unit [O (2)]."""

    unit: int
    span: slice  # where they lie in theta, the bias w_0k first
    sources: NDArray[np.integer]  # (d_k,) unit i of each w_ik
    activation: str


# --- the network ----------------------------------------------------------------------------------


def blocks(net: NetworkLike) -> list[Block]:
    """Parameter blocks of the non-input units, ascending."""
    result, source = [], np.asarray(net.edges)[:, 0]
    for index, name in enumerate(net.activations):
        start, stop = int(net.indptr[index]), int(net.indptr[index + 1])
        # One bias precedes the weights of every block, so edges lag theta by one more at each unit.
        sources = source[start - index : stop - index - 1]
        result.append(Block(net.n_inputs + index, slice(start, stop), sources, name))
    return result


def topological_blocks(net: NetworkLike) -> list[Block]:
    """`blocks`, each after those of all its sources (numbering need not ascend)."""
    known, waiting, order = set(range(net.n_inputs)), blocks(net), []
    while waiting:
        ready = [block for block in waiting if known.issuperset(block.sources.tolist())]
        if not ready:
            raise ValueError(f"cycle through units {[block.unit for block in waiting]}")
        order += ready
        known.update(block.unit for block in ready)
        waiting = [block for block in waiting if block.unit not in known]
    return order


def _logistic_slope(z: Array) -> Array:
    """Slope a (1 - a) of the sigmoid without the cancellation in 1 - a."""
    return special.expit(z) * special.expit(-z)


def _gauss(z: Array) -> Array:
    """Standard normal density."""
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


_expit = special.expit
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {  # s, s'
    "identity": (np.copy, np.ones_like),
    "sigmoid": (_expit, _logistic_slope),
    "tanh": (np.tanh, lambda z: 4 * _logistic_slope(2 * z)),  # 1 - tanh(z)^2
    "relu": (lambda z: np.where(z > 0, z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "erf": (special.erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))),  # [K App. B]
    "lecun_tanh": (
        lambda z: LECUN_SCALE * np.tanh(2 * z / 3),
        lambda z: LECUN_SCALE * 8 / 3 * _logistic_slope(4 * z / 3),
    ),
    "softplus": (lambda z: np.logaddexp(0.0, z), _expit),
    "silu": (lambda z: z * _expit(z), lambda z: _expit(z) * (1 + z * _expit(-z))),
    "gelu": (lambda z: z * special.ndtr(z), lambda z: special.ndtr(z) + z * _gauss(z)),
}


def activate(name: str, z: ArrayLike) -> Array:
    """Activity s(z) of the activation ``name``, of z's shape."""
    return ACTIVATIONS[name][0](np.asarray(z, dtype=np.float64))


def slope(name: str, z: ArrayLike) -> Array:
    """Slope r = s'(z) of the activation ``name``, of z's shape."""
    return ACTIVATIONS[name][1](np.asarray(z, dtype=np.float64))


def _forward(net: NetworkLike, X: ArrayLike) -> tuple[Array, Array, Array]:
    """Return z, a, r, each (T, n_units) [O (2), (6)]."""
    X = np.asarray(X, dtype=np.float64)
    z = np.zeros((len(X), net.n_units))
    z[:, : net.n_inputs] = X
    a, r = z.copy(), np.ones_like(z)
    for k, span, sources, name in topological_blocks(net):
        bias, *weights = np.asarray(net.theta[span], dtype=np.float64)
        z[:, k] = bias + sum(w * a[:, i] for w, i in zip(weights, sources, strict=True))
        a[:, k], r[:, k] = activate(name, z[:, k]), slope(name, z[:, k])
    return z, a, r


def preactivations(net: NetworkLike, X: ArrayLike) -> Array:
    """Pre-activations z_k = w_0k + sum_i w_ik a_i, (T, n_units) [O (2)]."""
    return _forward(net, X)[0]


def activities(net: NetworkLike, X: ArrayLike) -> Array:
    """Activities a_k = s_k(z_k), (T, n_units) [O (2)]."""
    return _forward(net, X)[1]


def data_scale(net: NetworkLike, X: ArrayLike) -> tuple[Array, Array]:
    """Mean and population sd of each non-input unit's z: 0 and 1 (outputs .3) for scheme "data"."""
    z = preactivations(net, X)[:, net.n_inputs :]
    return z.mean(axis=0), z.std(axis=0)


# --- the output layer -----------------------------------------------------------------------------


def _targets(net: NetworkLike, Y: ArrayLike) -> Array:
    """Y as (T, n_outputs) reals; class positions become indicator vectors."""
    Y = np.asarray(Y)
    if Y.ndim == 1 and net.interpretation in ("softmax", "spherical"):
        return np.eye(net.n_outputs)[Y.astype(np.intp)]
    return Y.astype(np.float64).reshape(len(Y), net.n_outputs)


def _bernoulli(name: str, z: Array) -> tuple[Array, Array, Array, Array, float]:
    """Return ln p, ln(1-p), (ln p)', (ln(1-p))' (derivatives in z) and dp/da of a Bernoulli output.

    p = a for a sigmoid, else p = (1 + a/c)/2 for activities in [-c, c] [O Section 3.2].
    """
    if name == "erf":  # p = Phi(sqrt(2) z); erfcx gives the Mills ratio, finite where p'/p is 0/0
        p_score = 2 / np.sqrt(np.pi) / special.erfcx(-z)
        q_score = -2 / np.sqrt(np.pi) / special.erfcx(z)
        root2z = np.sqrt(2) * z
        return special.log_ndtr(root2z), special.log_ndtr(-root2z), p_score, q_score, 0.5
    # The others are logistic, p = 1/(1 + exp(-steepness z)).
    logistic = {"sigmoid": (1, 1), "tanh": (2, 1 / 2), "lecun_tanh": (4 / 3, 0.5 / LECUN_SCALE)}
    steepness, dp_da = logistic[name]
    u = steepness * z
    p_score, q_score = steepness * special.expit(-u), -steepness * special.expit(u)
    return special.log_expit(u), special.log_expit(-u), p_score, q_score, dp_da


def _bernoulli_outputs(net: NetworkLike, z: Array) -> Iterator[tuple]:
    """Yield (o, `_bernoulli`...) for each output position o."""
    for o, k in enumerate(net.outputs):
        yield o, *_bernoulli(net.activations[k - net.n_inputs], z[:, k])


def _sphere(outputs: Array) -> tuple[Array, Array]:
    """Return u = a/sqrt(S) (T, n_outputs) and sqrt(S) (T, 1), S = sum a^2; u = 0 where S = 0."""
    largest = np.abs(outputs).max(axis=1, keepdims=True)
    scaled = outputs / np.where(largest > 0, largest, 1.0)  # so that squares do not underflow
    norm = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(norm > 0, norm, 1.0), largest * norm


def _others(p: Array) -> Array:
    """Sum of the other outputs' entries: 1 - p_o without cancellation, (T, n_outputs)."""
    return np.stack([np.delete(p, o, axis=1).sum(axis=1) for o in range(p.shape[1])], axis=1)


def losses(net: NetworkLike, X: ArrayLike, Y: ArrayLike) -> Array:
    """Loss -ln omega(y) of each sample in nats, (T,), constants in theta dropped [O (7)]."""
    z, a, _ = _forward(net, X)
    a, y = a[:, net.outputs], _targets(net, Y)
    if net.interpretation == "square":
        terms = (y - a) ** 2 / 2
    elif net.interpretation == "bernoulli":
        terms = np.zeros_like(y)
        for o, log_p, log_q, *_ in _bernoulli_outputs(net, z):
            terms[:, o] = -y[:, o] * log_p - (1 - y[:, o]) * log_q
    elif net.interpretation == "softmax":
        terms = -y * special.log_softmax(a, axis=1)
    else:  # spherical: P(o) = u_o^2; a target of probability 0 costs +inf
        u, _ = _sphere(a)
        terms = np.where(u != 0, -2 * y * np.log(np.abs(np.where(u != 0, u, 1.0))), np.inf)
        terms = np.where(y == 0, 0.0, terms)
    return terms.sum(axis=1)


def loss(net: NetworkLike, X: ArrayLike, Y: ArrayLike) -> float:
    """Mean of `losses`."""
    return float(losses(net, X, Y).mean())


def _output_values(net: NetworkLike, z: Array, a: Array, r: Array, y: Array) -> Array:
    """Direct term r_o b_o, b_o = -d loss/d a_o, of the outputs, (T, n_outputs) [O (7), (9)]."""
    a, r = a[:, net.outputs], r[:, net.outputs]
    if net.interpretation == "square":
        return r * (y - a)
    if net.interpretation == "bernoulli":
        values = np.zeros_like(y)
        for o, _, _, p_score, q_score, _ in _bernoulli_outputs(net, z):
            values[:, o] = y[:, o] * p_score + (1 - y[:, o]) * q_score
        return values
    if net.interpretation == "softmax":
        p = special.softmax(a, axis=1)
        return r * (y * _others(p) - (1 - y) * p)  # = r (y - p)
    for t, o in np.argwhere((y > 0) & (a == 0)):
        raise ValueError(f"sample {t}: target at output {o}, whose spherical probability is 0")
    u, radius = _sphere(a)
    ratio = r / np.where(a != 0, a, 1.0)
    return 2 * (y * ratio * _others(u**2) - (1 - y) * u * r / np.where(radius > 0, radius, 1.0))


def _output_roots(net: NetworkLike, z: Array, a: Array, r: Array) -> tuple[Array, Array]:
    """Square roots R of the outputs' Fisher metric and its reduced form, (T, n_outputs, n_outputs).

    sum_e R[t,o,e] R[t,o',e] = Omega_oo', and r_o Omega_oo' r_o' for the reduced one, which is
    formed without dividing by a saturated slope [O (27), Def. 3]. R[t,o,o] itself may be +inf.
    """
    a, r, n = a[:, net.outputs], r[:, net.outputs], net.n_outputs
    eye = np.broadcast_to(np.eye(n), (len(a), n, n))
    if net.interpretation == "square":
        return eye.copy(), eye * r[:, :, None]
    if net.interpretation == "bernoulli":
        root, reduced = np.zeros_like(eye), np.zeros_like(eye)
        for o, log_p, log_q, p_score, q_score, dp_da in _bernoulli_outputs(net, z):
            with np.errstate(over="ignore"):
                root[:, o, o] = dp_da * np.exp(-(log_p + log_q) / 2)  # p'/sqrt(p (1-p))
            reduced[:, o, o] = np.sqrt(-p_score * q_score)  # (p'/p) (p'/(1-p))
        return root, reduced
    if net.interpretation == "softmax":  # sum_o J_o R_oe = sqrt(p_e) (J_e - J-bar)
        p = special.softmax(a, axis=1)
        root = np.sqrt(p)[:, None, :] * (eye * _others(p)[:, :, None] - (1 - eye) * p[:, :, None])
        return root, root * r[:, :, None]
    u, radius = _sphere(a)  # sum_o J_o R_oe = 2/sqrt(S) (J_e - u_e (u.J))
    tangent = eye * _others(u**2)[:, :, None] - (1 - eye) * u[:, :, None] * u[:, None, :]
    radius = np.where(radius > 0, radius, np.inf)
    root = 2 * tangent / radius[:, :, None]
    # All outputs 0: there is no distribution. By convention it moves no parameter (reduced form 0).
    root = np.where(np.isinf(radius)[:, :, None] & (eye > 0), np.inf, root)
    return root, 2 * tangent * (r / radius)[:, :, None]


def sample_targets(
    net: NetworkLike, X: ArrayLike, n_draws: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Targets from the output distribution, (T, K) classes or (T, K, n_outputs) [O (100)]."""
    z, a, _ = _forward(net, X)
    a = a[:, net.outputs]
    shape = (len(a), n_draws, net.n_outputs)
    if net.interpretation == "square":
        return a[:, None, :] + rng.standard_normal(shape)
    if net.interpretation == "bernoulli":
        p = np.stack([np.exp(log_p) for _, log_p, *_ in _bernoulli_outputs(net, z)], axis=1)
        return (rng.random(shape) < p[:, None, :]).astype(np.float64)
    p = special.softmax(a, axis=1) if net.interpretation == "softmax" else _sphere(a)[0] ** 2
    return np.stack([rng.choice(net.n_outputs, size=n_draws, p=p_t) for p_t in p])


def targets_from_random(net: NetworkLike, X: ArrayLike, numbers: ArrayLike) -> Array:
    """Targets (T, K, n_outputs) that random numbers draw: standard normal (square) or uniform
    (bernoulli), each (T, K, n_outputs); uniform (T, K) for classes, which come as indicators."""
    z, a, _ = _forward(net, X)
    a, numbers = a[:, net.outputs], np.asarray(numbers, dtype=np.float64)
    if net.interpretation == "square":
        return a[:, None, :] + numbers
    if net.interpretation == "bernoulli":
        p = np.stack([np.exp(log_p) for _, log_p, *_ in _bernoulli_outputs(net, z)], axis=1)
        return (numbers < p[:, None, :]).astype(np.float64)
    p = special.softmax(a, axis=1) if net.interpretation == "softmax" else _sphere(a)[0] ** 2
    chosen = [[np.searchsorted(np.cumsum(p_t), u, side="right") for u in row]
              for p_t, row in zip(p, numbers, strict=True)]
    return np.eye(net.n_outputs)[np.array(chosen)]


# --- backward passes ------------------------------------------------------------------------------


def _backward(
    net: NetworkLike, r: Array, root: Array, reduced: Array, power: int = 1
) -> tuple[Array, Array]:
    """The traversal that all backward passes share.

    v_k = [k output] root_k + sum_{k->j} w_kj^power v~_j  and its reduced form
    v~_k = [k output] reduced_k + r_k^power sum_{k->j} w_kj^power v~_j.

    ``root`` and ``reduced`` are (T, n_outputs, m); v and v~ are (T, n_units, m).
    """
    below = np.zeros((len(r), net.n_units, root.shape[2]))
    direct, v_reduced = np.zeros_like(below), np.zeros_like(below)
    direct[:, net.outputs], v_reduced[:, net.outputs] = root, reduced
    for k, span, sources, _ in reversed(topological_blocks(net)):
        v_reduced[:, k] += r[:, k, None] ** power * below[:, k]
        for w, i in zip(net.theta[span][1:], sources, strict=True):
            below[:, i] += float(w) ** power * v_reduced[:, k]
    v_reduced[:, : net.n_inputs] = below[:, : net.n_inputs]
    return direct + below, v_reduced


def backpropagated_values(net: NetworkLike, X: ArrayLike, Y: ArrayLike) -> Array:
    """Reduced b~_k = r_k b_k = -d loss/d z_k, (T, n_units) [O (5), (9)-(11)]."""
    z, a, r = _forward(net, X)
    direct = _output_values(net, z, a, r, _targets(net, Y))[:, :, None]
    return _backward(net, r, direct, direct)[1][:, :, 0]


def _parameter_rates(net: NetworkLike, a: Array, reduced: Array, whole: bool = False) -> Array:
    """Rates a_i v~_k of the parameters from the units' v~_k: (T, n_units, m) to (T, P, m)."""
    rates = np.zeros((len(a), len(net.theta), reduced.shape[2]))
    for k, span, sources, _ in blocks(net):
        incoming = np.column_stack([np.ones(len(a)), a[:, sources]])
        rates[:, span] = incoming[:, :, None] * reduced[:, None, k]
    if not whole:
        rates[:, net.frozen] = 0.0
    return rates


def sample_gradients(
    net: NetworkLike, X: ArrayLike, Y: ArrayLike, whole: bool = False
) -> Array:
    """Gradient -a_i b~_k of each sample's loss, (T, P) [O (5)]."""
    values = backpropagated_values(net, X, Y)
    return -_parameter_rates(net, activities(net, X), values[:, :, None], whole)[:, :, 0]


def gradient(net: NetworkLike, X: ArrayLike, Y: ArrayLike) -> Array:
    """Gradient d(mean loss)/d theta, (P,)."""
    return sample_gradients(net, X, Y).mean(axis=0)


def transfer_rates(net: NetworkLike, X: ArrayLike) -> Array:
    """Transfer rates J_k^o = d a_o/d a_k, (T, n_units, n_outputs) [O Def. 2]."""
    _, _, r = _forward(net, X)
    eye = np.broadcast_to(np.eye(net.n_outputs), (len(r), net.n_outputs, net.n_outputs))
    return _backward(net, r, eye, eye * r[:, net.outputs, None])[0]


def _root_rates(net: NetworkLike, X: ArrayLike) -> tuple[Array, Array]:
    """H_k = R' J_k and its reduced form, (T, n_units, n_outputs); J_k' Omega J_j = H_k . H_j."""
    z, a, r = _forward(net, X)
    return _backward(net, r, *_output_roots(net, z, a, r))


def fisher_modulus(net: NetworkLike, X: ArrayLike, reduced: bool = False) -> Array:
    """Fisher modulus Phi_k = J_k' Omega J_k (reduced: r^2 Phi), (T, n_units) [O Def. 3]."""
    with np.errstate(over="ignore"):
        return (_root_rates(net, X)[reduced] ** 2).sum(axis=2)


def backpropagated_modulus(net: NetworkLike, X: ArrayLike, reduced: bool = False) -> Array:
    """Backpropagated modulus m_k (reduced: r^2 m), (T, n_units) [O Def. 7, Prop. 22]."""
    z, a, r = _forward(net, X)
    with np.errstate(over="ignore"):
        omega = [(root**2).sum(axis=2)[:, :, None] for root in _output_roots(net, z, a, r)]
    return _backward(net, r, *omega, power=2)[reduced][:, :, 0]


# --- metrics --------------------------------------------------------------------------------------


def metric_weights(
    net: NetworkLike, X: ArrayLike, kind: str, Y: Any = None, draws: Any = None
) -> Array:
    """Weight c_k of each sample in the unitwise metric ``kind``, (T, n_units) [O Def. 13-14]."""
    if kind == "fisher":
        return fisher_modulus(net, X, reduced=True)
    if kind == "backpropagated":
        return backpropagated_modulus(net, X, reduced=True)
    if kind == "outer_product":
        return backpropagated_values(net, X, Y) ** 2
    if kind == "monte_carlo":
        drawn = [backpropagated_values(net, X, y) for y in np.moveaxis(np.asarray(draws), 1, 0)]
        return np.mean(np.square(drawn), axis=0)
    raise ValueError(f"kind {kind!r}")


def unitwise_metric(
    net: NetworkLike, X: ArrayLike, kind: str, Y: Any = None, draws: Any = None, whole: bool = False
) -> Array:
    """Block diagonal A^(k)_ij = E_x a_i a_j c_k, undamped, (P, P) [O Def. 13-14].

    With ``whole`` the frozen rows are kept: range damping needs A_00 of a frozen bias too.
    """
    a, c = activities(net, X), metric_weights(net, X, kind, Y, draws)
    A = np.zeros((len(net.theta), len(net.theta)))
    for k, span, sources, _ in blocks(net):
        incoming = np.column_stack([np.ones(len(a)), a[:, sources]])
        A[span, span] = (incoming * c[:, k, None]).T @ incoming / len(a)
    if not whole:
        A[net.frozen], A[:, net.frozen] = 0.0, 0.0
    return A


def full_metric(
    net: NetworkLike, X: ArrayLike, kind: str, Y: Any = None, draws: Any = None, whole: bool = False
) -> Array:
    """Whole-network metric, (P, P): fisher [O Prop. 27, (102)], outer_product or monte_carlo.

    ``whole`` as in `unitwise_metric`.
    """
    if kind == "fisher":  # E_x a_i a_j J~_k' Omega J~_k'
        rates = _parameter_rates(net, activities(net, X), _root_rates(net, X)[1], whole)
    elif kind == "outer_product":
        rates = sample_gradients(net, X, Y, whole)[:, :, None]
    elif kind == "monte_carlo":
        targets = np.moveaxis(np.asarray(draws), 1, 0)
        gradients = [sample_gradients(net, X, y, whole) for y in targets]
        rates = np.stack(gradients, axis=2) / np.sqrt(len(targets))
    else:
        raise ValueError(f"kind {kind!r} has no full form")
    return np.mean([rate @ rate.T for rate in rates], axis=0)


def quasi_diagonal_matrix(net: NetworkLike, A: Array, damping: float = 0.0) -> Array:
    """The quasi-diagonal matrix of A + damping I, (P, P), block by block [O Def. 6, Prop. 25].

    It keeps A_00, A_0i, A_ii and puts A_0i A_0j / A_00 elsewhere; a unit whose bias is frozen has
    its diagonal block. Frozen rows and columns stay 0, also when damped.
    """
    result = np.zeros_like(A)
    for block in blocks(net):
        B = A[block.span, block.span] + damping * np.eye(len(block.sources) + 1)
        if not net.frozen[block.span.start] and B[0, 0] > 0:
            result[block.span, block.span] = np.outer(B[0], B[0]) / B[0, 0]
        np.fill_diagonal(result[block.span, block.span], np.diag(B))
    result[net.frozen], result[:, net.frozen] = 0.0, 0.0
    return result


# --- directions -----------------------------------------------------------------------------------


def _divide(numerator: Array, denominator: Array) -> Array:
    """Quotient, 0 where the denominator is not positive."""
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), 0.0)


def _solve(A: Array, G: Array, damping: float) -> Array:
    """(A + damping I)^-1 G; undamped, eigenvalues <= 4 size u lambda_max are dropped."""
    values, vectors = np.linalg.eigh(A)
    dropped = (damping == 0) & (values <= 4 * len(A) * ROUNDING_UNIT * values.max(initial=0.0))
    damped = np.where(dropped, 0.0, np.maximum(values, 0.0) + damping)
    return vectors @ _divide(vectors.T @ G, damped)


def _quasi_diagonal_solve(A: Array, G: Array, frozen: NDArray[np.bool_], damping: float) -> Array:
    """Quasi-diagonal step of one unit [O Def. 10, Prop. 25]; entry 0 is the bias."""
    B = A + damping * np.eye(len(A))  # damp first, then reduce
    if frozen[0]:
        return np.where(frozen, 0.0, _divide(G, np.diag(B)))
    if B[0, 0] <= 0:
        return np.zeros_like(G)
    mu = B[0] / B[0, 0]
    V = np.diag(B) - mu * B[0]  # (A_ii A_00 - A_0i^2) / A_00
    if damping == 0:  # a variance of rounding size is that of a constant input
        tiny = len(G) * ROUNDING_UNIT * np.diag(B)
        V = np.where(tiny < V, V, 0.0)
    delta = np.where(frozen, 0.0, _divide(G - mu * G[0], V))
    delta[0] = G[0] / B[0, 0] - mu[1:] @ delta[1:]
    return delta


def direction(
    net: NetworkLike, A: Array, G: Array, reduction: str, damping: float = 0.0
) -> Array:
    """Direction of the undamped metric A (P, P) for G = -gradient (P,) [O Remark 12, Prop. 25].

    ``reduction`` is full, unitwise, quasi_diagonal or diagonal: which entries of A count.
    """
    delta, free = np.zeros_like(G), ~np.asarray(net.frozen)
    if reduction == "full":
        delta[free] = _solve(A[np.ix_(free, free)], G[free], damping)
    elif reduction == "diagonal":
        delta[free] = _divide(G, np.diag(A) + damping)[free]
    elif reduction == "unitwise":
        for _, span, _, _ in blocks(net):
            E_k = np.flatnonzero(free[span]) + span.start
            delta[E_k] = _solve(A[np.ix_(E_k, E_k)], G[E_k], damping)
    elif reduction == "quasi_diagonal":
        for _, E_k, _, _ in blocks(net):
            delta[E_k] = _quasi_diagonal_solve(A[E_k, E_k], G[E_k], ~free[E_k], damping)
    else:
        raise ValueError(f"reduction {reduction!r}")
    return delta


def range_direction(
    net: NetworkLike, A: Array, G: Array, reduction: str, ranges: Array, damping: float = 1e-3,
    precision: ArrayLike = 0.0,
) -> Array:
    """Step direction with range damping, (P,) (ours: docs/methods.md).

    A is the undamped `unitwise_metric` or `full_metric`, with ``whole=True`` where biases are
    frozen; ``ranges`` (n_units,) are max - min of the activities. Once centred, A_ii is damped by
    damping A_00 R_i^2 and by the prior's ``precision`` (P,), whose pull is in G already.
    """
    precision = np.broadcast_to(precision, G.shape)
    if reduction == "full":
        return _full_range_direction(net, A + np.diag(precision), G, ranges, damping)
    delta = np.zeros_like(G)
    for _, span, sources, _ in blocks(net):
        B, g, frozen = A[span, span], G[span], net.frozen[span]
        if B[0, 0] <= 0:
            continue
        # The bias centres the weights, but not where it is frozen.
        centred = reduction != "diagonal" and not frozen[0]
        mu = B[0] / B[0, 0] if centred else np.zeros_like(g)
        C, h, R = B - np.outer(mu, B[0]), g - mu * g[0], np.r_[0.0, ranges[sources]]
        V = np.maximum(np.diag(C), 0.0) + damping * B[0, 0] * R**2 + precision[span]
        V = np.where(frozen | (R == 0), 0.0, V)
        if reduction == "unitwise":
            # Solved with a unit diagonal, for features whose units differ by many powers of ten.
            np.fill_diagonal(C, V)
            members = np.flatnonzero(V)
            scale, step = np.sqrt(V[members]), np.zeros_like(g)
            C = C[np.ix_(members, members)] / scale / scale[:, None]
            step[members] = _solve(C, h[members] / scale, damping=0.0) / scale
        else:
            step = _divide(h, V)
        step[0] = 0.0 if frozen[0] else g[0] / (1.01 * B[0, 0]) - mu @ step
        delta[span] = step
    return delta


def prior_precision(net: NetworkLike, ranges: Array, scale: float, n_samples: int) -> Array:
    """scale (F_k / n) (R_i / 4)^2 of each weight, 0 of biases, (P,) (ours: docs/methods.md)."""
    precision = np.zeros(len(net.theta))
    for _, span, sources, _ in blocks(net):
        precision[span] = np.r_[0.0, scale * len(sources) / n_samples * (ranges[sources] / 4) ** 2]
    return precision


def _full_range_direction(
    net: NetworkLike, A: Array, G: Array, ranges: Array, damping: float
) -> Array:
    """What range damping adds to each unit's block, in raw coordinates, on the whole matrix."""
    D, member = np.zeros_like(A), ~np.asarray(net.frozen)
    for _, span, sources, _ in blocks(net):
        bias, R = span.start, np.r_[0.0, ranges[sources]]
        a00 = A[bias, bias]
        member[span] &= (a00 > 0) & (np.r_[1.0, R[1:]] > 0)
        if a00 > 0:
            D[span, span] = np.diag(damping * a00 * R**2)
            if not net.frozen[bias]:
                D[span, span] += 0.01 * np.outer(A[bias, span], A[bias, span]) / a00
    members = np.flatnonzero(member)
    damped = (A + D)[np.ix_(members, members)]
    scale = np.sqrt(np.diag(damped))
    delta = np.zeros_like(G)
    delta[members] = _solve(damped / scale / scale[:, None], G[members] / scale, 0.0) / scale
    return delta


def adagrad_direction(net: NetworkLike, X: ArrayLike, Y: ArrayLike, damping: float) -> Array:
    """AdaGrad step G_i / sqrt(E_x g_i(x)^2 + damping), (P,) [O Section 4]."""
    g = sample_gradients(net, X, Y)
    return _divide(-g.mean(axis=0), np.sqrt((g**2).mean(axis=0) + damping))


def trust_region_rate(
    delta: Array, G: Array, radius: float, loss: float, ceiling: float = 1.0, factor: float = 1.0
) -> float:
    """Learning rate factor min(ceiling, sqrt(2 radius / s), loss / s), s = delta.G.

    Ours: docs/methods.md; a full step promises to remove s nats of a loss
    (with the prior's share) that has no more than ``loss``.
    """
    s = float(delta @ G)
    return factor * (min(ceiling, np.sqrt(2 * radius / s), loss / s) if s > 0 else ceiling)


# --- training -------------------------------------------------------------------------------------


def whole_batch_descent(
    net: NetworkLike, X: ArrayLike, Y: ArrayLike, direction: Callable[[NetworkLike], Array],
    learning_rate: float, steps: int,
) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """Whole-batch steps with the adaptive learning rate of [O Section 4].

    Returns theta before the first and after each attempt (steps + 1, P), the loss before each
    attempt, whether it was accepted, and the learning rate it tried, each (steps,).
    """
    thetas, before, accepted, rates = [net.theta.copy()], [], [], []
    for _ in range(steps):
        current = loss(net, X, Y)
        before.append(current)
        rates.append(learning_rate)
        try:
            net.theta[...] = thetas[-1] + learning_rate * direction(net)
            with np.errstate(over="ignore", invalid="ignore"):
                new = loss(net, X, Y)
        except np.linalg.LinAlgError:
            new = np.inf
        accepted.append(bool(np.isfinite(new) and new <= current))
        if not accepted[-1]:
            net.theta[...] = thetas[-1]
            learning_rate /= 2
        elif new < current:
            learning_rate *= 1.1
        thetas.append(net.theta.copy())
    return np.array(thetas), np.array(before), np.array(accepted), np.array(rates)


def _metric_steps(
    net: NetworkLike, X: Array, Y: Array, draws: Any, kind: str, reduction: str, damping: float,
    learning_rate: float, start: Any, schedule: Iterable[tuple[Any, float]],
) -> Array:
    """Steps with A <- A + rate (A(rows) - A) for each (rows, rate); theta, (steps + 1, P).

    A begins as the metric of the rows ``start``, or as 0 where that is None. It is never damped
    inside. The blocks serve every reduction but full.
    """

    def metric(rows: Any) -> Array:
        form = full_metric if reduction == "full" else unitwise_metric
        return form(net, X[rows], kind, Y[rows], None if draws is None else draws[rows])

    A: Any = 0.0 if start is None else metric(start)
    thetas = [net.theta.copy()]
    for rows, rate in schedule:
        A = A + rate * (metric(rows) - A)
        delta = direction(net, A, -gradient(net, X[rows], Y[rows]), reduction, damping)
        net.theta[...] += learning_rate * delta
        thetas.append(net.theta.copy())
    return np.array(thetas)


def online_steps(
    net: NetworkLike, X: Array, Y: Array, kind: str, reduction: str, damping: float,
    metric_update_rate: float, learning_rate: float, n_init: int, steps: int, draws: Any = None,
) -> Array:
    """Exact online recursion, one sample t mod T per step, (steps + 1, P) [O Section 1.3]."""
    samples = (([t % len(X)], metric_update_rate) for t in range(steps))
    start = slice(n_init)
    return _metric_steps(net, X, Y, draws, kind, reduction, damping, learning_rate, start, samples)


def running_metric_steps(
    net: NetworkLike, X: Array, Y: Array, kind: str, reduction: str, damping: float,
    metric_update_rate: float, learning_rate: float, batches: Sequence[Any], draws: Any = None,
) -> Array:
    """Steps with A <- A + max(rate, 1/t) (A(batch) - A), t = 1, 2, ..., (steps + 1, P).

    ``batches`` are the row numbers of each step's samples (ours: docs/methods.md).
    """
    schedule = ((rows, max(metric_update_rate, 1 / t)) for t, rows in enumerate(batches, start=1))
    return _metric_steps(net, X, Y, draws, kind, reduction, damping, learning_rate, None, schedule)
