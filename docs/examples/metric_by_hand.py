"""The metric by itself: a unit's Fisher block, the natural direction, and what units change."""

import numpy as np

import fisherkern as fk

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 4)) + 1
Y = rng.integers(0, 3, size=200)  # class indices
net = fk.Network.layered([4, 6, 3], interpretation="softmax",
                         activation=["tanh"] * 6 + ["identity"] * 3, rng=rng)

# the block of unit 4, the first after the inputs: its bias, then its 4 weights
metric = fk.metric(net, X, kind="fisher", reduction="unitwise")
weight = net.fisher_modulus(X, reduced=True)[:, 4]  # of each sample in this unit's block
inputs = np.column_stack([np.ones(200), X])
by_hand = (inputs * weight[:, None]).T @ inputs / 200
print("block by hand:", np.allclose(metric.block(4), by_hand))

# the direction of a step is (A + damping)^-1 G, G pointing downhill
optimizer = fk.optimizers.UnitwiseNaturalGradient(damping=1e-6)
direction = optimizer.direction(net, X, Y)
print("direction by hand:", np.allclose(direction, metric.solve(-net.gradient(X, Y), 1e-6)))

# the same network on features of other units: x' = unit x, w' = w / unit
unit = np.array([1e-3, 1, 20, 1e4])
other = net.copy()
of_input = np.setdiff1d(np.arange(net.n_parameters), net.indptr[:-1])[net.edges[:, 0] < 4]
scale = np.ones(net.n_parameters)
scale[of_input] = unit[net.edges[net.edges[:, 0] < 4, 0]]
other.theta = net.theta / scale
print("same function:", np.allclose(net.forward(X), other.forward(X * unit)))


def moved(network, X, optimizer):
    """Outputs after a small step."""
    after = network.copy()
    after.theta = network.theta + 0.1 * optimizer.direction(network, X, Y)
    return after.forward(X)


for optimizer in (fk.optimizers.Backpropagation(),
                  fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient()):
    apart = np.abs(moved(net, X, optimizer) - moved(other, X * unit, optimizer)).max()
    print(f"{type(optimizer).__name__}: outputs after a step differ by {apart:.1e}")
