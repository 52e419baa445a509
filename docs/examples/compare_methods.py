"""Natural gradients and backpropagation on a sparse autoencoder, whole batch.

A small form of the experiment of Ollivier 2015, section 4: 16 random binary strings through a
bottleneck. All methods start from the same parameters and have the same number of steps.
"""

import numpy as np

import fisherkern as fk

rng = np.random.default_rng(0)
strings = rng.integers(0, 2, size=(16, 100)).astype(float)
start = fk.Network.layered([100, 30, 10, 30, 100], fan_in=5, activation="tanh",
                           interpretation="bernoulli", rng=rng)
print(start)

methods = [
    fk.optimizers.Backpropagation(),
    fk.optimizers.DiagonalGaussNewton(damping=1e-4),
    fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient(damping=1e-4),
    fk.optimizers.BackpropagatedMetricGradient(damping=1e-4),
]
print(f"{'':42} bits  seconds")
for optimizer in methods:
    net = start.copy()
    history = fk.train(net, strings, strings, optimizer, steps=3000)  # adaptive learning rate
    bits = net.loss(strings, strings) / np.log(2)
    print(f"{type(optimizer).__name__:42} {bits:4.1f}  {history.seconds[-1]:7.2f}")
