"""Networks, reparametrizations and steps that the theorems' tests share."""


import numpy as np
from hypothesis import strategies as st
from strategies import (
    FORMS,
    KINDS,
    keep_outputs_from_zero,
    random_edges,
    random_targets,
)

import fisherkern as fk
from fisherkern import optimizers, reference
from fisherkern.interpretations import BERNOULLI_ACTIVATIONS, INTERPRETATIONS

# a(z) = A sigmoid(G z) + B
SIGMOIDAL = {"sigmoid": (1.0, 0.0, 1.0), "tanh": (2.0, -1.0, 2.0),
             "lecun_tanh": (2 * 1.7159, -1.7159, 4 / 3)}
# p = (a - B) / A of a Bernoulli output
AFFINE = {name: (A, B) for name, (A, B, _) in SIGMOIDAL.items()} | {"erf": (2.0, -1.0)}
ALIVE = (*AFFINE, "softplus", "leaky_relu")
seeds = st.integers(0, 2**32 - 1)
kinds, interpretations = st.sampled_from(KINDS), st.sampled_from(INTERPRETATIONS)


def forms(*reductions):
    return st.sampled_from([form for form in FORMS if form[1] in reductions])


def random_problem(rng, interpretation, n_units=11, n_samples=300, activations=ALIVE):
    """Mixed units of which none dies, outputs that feed units, some frozen weights."""
    n_inputs = 3
    edges = random_edges(rng, n_inputs, n_units, parallel=False)
    outputs = n_inputs + rng.permutation(n_units - n_inputs)[:3]
    names = rng.choice(activations, n_units - n_inputs)
    if interpretation == "bernoulli":
        names[outputs - n_inputs] = rng.choice(BERNOULLI_ACTIVATIONS, 3)
    net = fk.Network(n_inputs, edges, outputs=outputs, activation=names.tolist(),
                     interpretation=interpretation, rng=rng)
    net.theta[...] = rng.standard_normal(net.n_parameters)
    net.frozen = rng.random(net.n_parameters) < 0.1
    net.frozen[net.indptr[:-1]] = False  # a frozen bias is not invariant
    X = rng.standard_normal((n_samples, n_inputs))
    if interpretation == "spherical":
        keep_outputs_from_zero(rng, net, X)
    return net, X, random_targets(rng, net, n_samples)


def twins(rng, interpretation, n_samples=300):
    """Singular blocks: two hidden units that are the same, a dead relu, two inputs that are."""
    edges = [(0, 4), (1, 4), (0, 5), (1, 5), (0, 6), (2, 6), (4, 7), (5, 7), (6, 7), (2, 7),
             (4, 8), (5, 8), (7, 8), (2, 8), (3, 8), (4, 9), (5, 9), (8, 9)]
    names = ["sigmoid", "sigmoid", "relu", "tanh", "sigmoid", "tanh"]
    net = fk.Network(4, edges, outputs=[9, 7, 8], activation=names, rng=rng,
                     interpretation=interpretation)
    net.theta[...] = rng.standard_normal(net.n_parameters)
    first, second, dead = (block.span for block in reference.blocks(net)[:3])
    net.theta[second] = net.theta[first]
    net.theta[dead.start] = -100
    X = rng.standard_normal((n_samples, 4))
    X[:, 3] = X[:, 2]
    if interpretation == "spherical":
        keep_outputs_from_zero(rng, net, X)
    return net, X, random_targets(rng, net, n_samples)


def drawn(net, X, kind, rng, n_draws=3):
    """Targets for the Monte Carlo metric, the same for every network of the same function."""
    if kind != "monte_carlo":
        return {}
    return {"draws": reference.sample_targets(net, X, n_draws, rng)}


def reparametrized(net, X, rng):
    """The same function by other units: [O section 2.3], (alpha, beta, gamma) per unit.

    a' = alpha a + beta and z' = z / gamma, so w' = w / (gamma alpha_i) and
    w'_0 = (w_0 - sum_i w_i beta_i / alpha_i) / gamma: the errata's formula, from the other side.
    Logistic units become others, those of the relu family are scaled, inputs scaled and shifted.
    Returns the network, its inputs and the (linear) map of the parameters.
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
        elif name in ("relu", "leaky_relu"):
            alpha[unit] = rng.uniform(0.3, 3)
            gamma[unit] = 1 / alpha[unit]

    def mapped(theta):
        result = np.empty_like(theta)
        for unit, span, sources, _ in reference.blocks(net):
            w0, w = theta[span][0], theta[span][1:]
            result[span] = np.r_[w0 - w @ (beta[sources] / alpha[sources]),
                                 w / alpha[sources]] / gamma[unit]
        return result

    other = fk.Network(net.n_inputs, net.edges, outputs=net.outputs, activation=names, rng=0,
                       interpretation=net.interpretation)
    other.theta[...] = mapped(net.theta)
    other.frozen = net.frozen
    return other, X * alpha[:net.n_inputs] + beta[:net.n_inputs], mapped


def worst_condition(net, X, Y, kind, reduction, **draws):
    """Largest condition number of what is inverted, but for units that no output depends on."""
    whole = reduction == "full"
    A = fk.metric(net, X, Y, kind=kind, reduction="full" if whole else "unitwise", **draws)
    dense, worst = A.to_dense(), 1.0
    spans = [slice(None)] if whole else [block.span for block in reference.blocks(net)]
    for span in spans:
        B = dense[span, span]
        alive = np.diag(B) > 0
        if alive.any():
            worst = max(worst, np.linalg.cond(B[np.ix_(alive, alive)]))
    return worst


def metric_steps(reduction, kind="backpropagated", damping=0.0):
    return optimizers.MetricGradient(kind, reduction, damping=damping)


def step(net, X, Y, optimizer, rate=0.1, **draws):
    """Outputs after one step on a copy."""
    moved = net.copy()
    moved.theta[...] += rate * optimizer.direction(net, X, Y, **draws)
    return moved.forward(X)


def probabilities(net, outputs):
    """Bernoulli outputs as probabilities, whatever the unit; others as they are."""
    if net.interpretation != "bernoulli":
        return outputs
    A, B = np.array([AFFINE[net.activations[k - net.n_inputs]] for k in net.outputs]).T
    return (outputs - B) / A


def sample_gradients(net, X, Y):
    """(n_samples, n_parameters) gradients of the samples' losses, one call each."""
    return np.array([net.gradient(x[None], y[None]) for x, y in zip(X, Y, strict=True)])
