"""A graph of one's own: layers of sparse units, all of which see the inputs too."""

import numpy as np

import fisherkern as fk

rng = np.random.default_rng(0)
n_inputs, width, depth, fan_in = 12, 20, 4, 4

edges = []
below = np.arange(n_inputs)
for layer in range(depth):
    units = n_inputs + layer * width + np.arange(width)
    for unit in units:
        for source in rng.choice(below, fan_in, replace=False):
            edges.append((source, unit))
        if layer > 0:  # a skip connection from an input
            edges.append((rng.integers(n_inputs), unit))
    below = units
output = n_inputs + depth * width
edges += [(source, output) for source in [*below, *range(n_inputs)]]

net = fk.Network(n_inputs, edges, activation={output: "identity"}, interpretation="square", rng=rng)
print(net)

X = rng.normal(size=(3000, n_inputs))
y = np.sin(X[:, 0] * X[:, 1]) + X[:, 2] + 0.1 * rng.normal(size=3000)
net.initialize("data", X=X, rng=rng)

# the direct edges from the inputs to the output stay at zero at first: a plain deep network
direct = np.zeros(net.n_parameters, bool)
is_direct = (net.edges[:, 0] < n_inputs) & (net.edges[:, 1] == output)
weights = np.setdiff1d(np.arange(net.n_parameters), net.indptr[:-1])  # theta without its biases
direct[weights[is_direct]] = True
net.theta[direct] = 0
net.frozen = direct

optimizer = fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient()
for name in ("skips to the output frozen at 0", "all edges free"):
    history = fk.train(net, X[:2500], y[:2500], optimizer, epochs=20, batch_size=50,
                       validation=(X[2500:], y[2500:]), rng=rng)
    mean_square = 2 * history.validation[-1][1]  # the loss is half of the square
    print(f"{name}: held-out mean square error {mean_square:.3f}, of {y[2500:].var():.3f}")
    net.frozen = False
