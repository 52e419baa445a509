"""Adam on dense layers in JAX, a whole epoch in one compiled call."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .layers import in_theta, layers
from .learners import BATCH

_DECAY, _SQUARES, _DAMPING = 0.9, 0.999, 1e-8


class JaxAdam:
    """`jax.lax.scan` over batches that are drawn on the device, `jax.grad`, float32.

    For relu layers and classes. Fair: samples and state stay on the device and are donated; the
    timed part is one call for each epoch and one `block_until_ready`.
    """

    def __init__(self, net, X: np.ndarray, y: np.ndarray, learning_rate: float) -> None:
        self._net, self._layers = net, layers(net)
        self._data = jnp.asarray(X), jnp.asarray(y)
        p = [(jnp.asarray(layer.W.T), jnp.asarray(layer.b)) for layer in self._layers]
        zeros = [jax.tree.map(jnp.zeros_like, p) for _ in range(2)]
        self._state = (p, *zeros, jnp.zeros((), jnp.float32)), jax.random.key(0)
        self._own_rate = self._rate = learning_rate
        self._epoch = jax.jit(_epoch, donate_argnums=1)

    def run(self, n_epochs: int) -> None:
        for _ in range(n_epochs):
            self._state = self._epoch(self._rate, self._state, *self._data)
        jax.block_until_ready(self._state[0])

    def scale_rate(self, factor: float) -> None:
        self._rate = factor * self._own_rate

    def theta(self) -> np.ndarray:
        w, b = zip(*jax.tree.map(np.asarray, self._state[0][0]), strict=True)
        return in_theta(self._net, self._layers, [values.T for values in w], list(b))


def _loss(parameters: list, a: jax.Array, y: jax.Array) -> jax.Array:
    *hidden, (w, b) = parameters
    for weights, biases in hidden:
        a = jax.nn.relu(a @ weights + biases)
    return -jax.nn.log_softmax(a @ w + b)[jnp.arange(BATCH), y].mean()


def _epoch(rate: float, state: tuple, X: jax.Array, y: jax.Array) -> tuple:
    adam, key = state
    key, drawn = jax.random.split(key)
    batches = jax.random.permutation(drawn, y.size).reshape(-1, BATCH)

    def step(adam: tuple, rows: jax.Array) -> tuple:
        p, mean, square, t = adam
        g = jax.grad(_loss)(p, X[rows], y[rows])
        t += 1
        correction = jnp.sqrt(1 - _SQUARES**t)
        mean = jax.tree.map(lambda m, g: m + (1 - _DECAY) * (g - m), mean, g)
        square = jax.tree.map(lambda v, g: v + (1 - _SQUARES) * (g * g - v), square, g)
        p = jax.tree.map(
            lambda p, m, v: p - rate * correction / (1 - _DECAY**t) * m / (
                jnp.sqrt(v) + _DAMPING * correction), p, mean, square)
        return (p, mean, square, t), None

    return jax.lax.scan(step, adam, batches)[0], key
