"""The same gradient and SGD step in JAX, compiled by XLA: sparse products, gathers, dense layers.

Shared by all: `jax.jit` of n steps in one loop with `jax.value_and_grad` in it; the parameters are
donated, so that a step writes where it read. A call of each step from Python took twice as long on
W1, and as long on the others. Activities are (units, samples), in which XLA gathers whole rows:
with samples first a step of W2 took half as long again. Float64 is switched on for a network that
has it.

Fair: data and parameters lie on the device, and the loop has been compiled, before the timed part,
which is one call and `block_until_ready`. How many threads XLA has is settled when JAX starts;
`jax_peers` runs these forms in processes of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

from .layers import is_weight, layers, levels

_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "identity": lambda z: z}


class _Form:
    """A step of gradient descent; forms say what the parameters are and what the outputs."""

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0) -> None:
        if net.dtype == np.float64:
            jax.config.update("jax_enable_x64", True)
        self._net = net
        loss = partial(_loss, self.outputs_of(net), net.interpretation)
        evaluate = jax.value_and_grad(loss)
        Y = Y if Y.ndim == 1 else np.asarray(Y.T, net.dtype)
        # a rate that the compiler does not know, for it might spare what is multiplied by 0
        self._data = jnp.asarray(X.T, net.dtype), jnp.asarray(Y)
        self._rate = jnp.asarray(learning_rate, net.dtype)

        @partial(jax.jit, donate_argnums=0)
        def steps(parameters, X, Y, learning_rate, n_steps):
            def step(_, state):
                value, g = evaluate(state[0], X, Y)
                return jax.tree.map(lambda p, g: p - learning_rate * g, state[0], g), value

            start = parameters, jnp.zeros((), net.dtype)
            return jax.lax.fori_loop(0, n_steps, step, start)

        self._gradient = jax.jit(jax.grad(loss))
        # copies of its own, for a step overwrites them
        self._parameters = jax.tree.map(lambda p: jnp.array(p, copy=True), self.parameters(net))
        self._steps = steps.lower(self._parameters, *self._data, self._rate, 1).compile()

    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        g = self._gradient(self._parameters, *self._data)
        return self.in_theta(jax.tree.map(np.asarray, g))

    def run(self, n_steps: int) -> None:
        """Steps of gradient descent."""
        self._parameters, value = self._steps(self._parameters, *self._data, self._rate, n_steps)
        jax.block_until_ready((self._parameters, value))


def _loss(outputs: Callable, interpretation: str, parameters, X, Y) -> jax.Array:
    """Mean over samples; `outputs` are activities, of a Bernoulli the numbers before their tanh."""
    a = outputs(parameters, X)
    n_samples = X.shape[1]
    if interpretation == "softmax":
        return -jax.nn.log_softmax(a, axis=0)[Y, jnp.arange(n_samples)].mean()
    if interpretation == "bernoulli":
        return (jax.nn.softplus(2 * a) - 2 * a * Y).sum() / n_samples
    return ((a - Y) ** 2).sum() / (2 * n_samples)


class _LayeredForm(_Form):
    """By layers, each of which has `weights` and sums its inputs with `sums`.

    A layer without absent links is a dense product in every form.
    """

    def outputs_of(self, net) -> Callable:
        self.split = layers(net)
        fixed = [self.fixed(layer) for layer in self.split]
        complete = [_is_complete(layer) for layer in self.split]
        names = [layer.activation for layer in self.split]
        if net.interpretation == "bernoulli":
            names[-1] = "identity"

        def outputs(parameters, a):
            for (w, b), given, full, name in zip(parameters, fixed, complete, names, strict=True):
                z = w.reshape(-1, a.shape[0]) @ a if full else self.sums(w, given, a)
                a = _ACTIVATIONS[name](z + b)
            return a

        return outputs

    def parameters(self, net) -> list:
        return [(self.weights(net, layer), layer.b[:, None]) for layer in self.split]

    def weights(self, net, layer) -> np.ndarray:
        return net.weights[layer.edges]

    def by_edge(self, layer, w: np.ndarray) -> np.ndarray:
        """A gradient with the shape of `weights`."""
        return w

    def in_theta(self, g: list) -> np.ndarray:
        out = np.empty(self._net.n_parameters, self._net.dtype)
        by_edge = np.empty(self._net.n_edges, self._net.dtype)
        for layer, (w, _) in zip(self.split, g, strict=True):
            by_edge[layer.edges] = self.by_edge(layer, w)
        mask = is_weight(self._net)
        out[mask], out[~mask] = by_edge, np.concatenate([b[:, 0] for _, b in g])
        return out


def _is_complete(layer) -> bool:
    """Whether its edges are the entries of its matrix, row by row."""
    n = layer.b.size * layer.W.shape[1]
    return layer.edges.size == n and np.array_equal(
        np.ravel_multi_index(layer.place, layer.W.shape), np.arange(n))


class BCOOForm(_LayeredForm):
    """A `jax.experimental.sparse.BCOO` matrix for each layer, indices sorted and declared so.

    Its documentation calls it experimental and meant for prototypes; it is what JAX has.
    """

    @staticmethod
    def fixed(layer) -> tuple:
        return jnp.asarray(np.column_stack(layer.place).astype(np.int32)), layer.W.shape, \
            bool((layer.links <= 1).all())

    @staticmethod
    def sums(w, given: tuple, a):
        indices, shape, unique = given
        return sparse.BCOO((w, indices), shape=shape, indices_sorted=True,
                           unique_indices=unique) @ a


class GatherForm(_LayeredForm):
    """Weights as (units, fan-in), times the rows that a unit gathers, one unit after another.

    `jax.lax.map` over the units keeps what is gathered in the cache; the derivative is given, and
    gathers over the outgoing edges. On W2 that took an eighth of the time of `einsum` over
    `a[sources]` with JAX's own derivative, a fifth less than blocks of 32 units, and less than a
    product and a sum in place of `einsum`, `segment_sum`, and a loop over the fan-in. Only the
    first layer of W1 has units of unequal fan-in, whose rows are padded.
    """

    def fixed(self, layer) -> tuple:
        sources, present = np.zeros((2, *_slots(layer)[0]), np.int32)
        sources[_slots(layer)[1]], present[_slots(layer)[1]] = layer.place[1], 1
        masked = (lambda w: w) if present.all() else _masked(jnp.asarray(present))
        return _gathered(sources, layer.W.shape[1]), masked

    def weights(self, net, layer) -> np.ndarray:
        shape, slots = _slots(layer)
        w = np.zeros(shape, net.dtype)
        w[slots] = net.weights[layer.edges]
        return w

    @staticmethod
    def sums(w, given: tuple, a):
        gathered, masked = given
        return gathered(masked(w), a)

    def by_edge(self, layer, w: np.ndarray) -> np.ndarray:
        return w[_slots(layer)[1]]


def _gathered(sources: np.ndarray, n_below: int) -> Callable:
    """Sums of the weighted rows of units' sources, as a function of weights and activities."""
    n_edges, fan_in = sources.size, sources.shape[1]
    slots = _outgoing(sources, n_below)
    targets = jnp.asarray(np.minimum(slots // fan_in, len(sources) - 1).astype(np.int32))
    present, slots = jnp.asarray(slots < n_edges), jnp.asarray(np.minimum(slots, n_edges - 1))
    sources = jnp.asarray(sources)

    def rows(a, units):
        return a.at[units].get(mode="promise_in_bounds", wrap_negative_indices=False)

    def sums(w, units, a):
        return jax.lax.map(lambda unit: unit[0] @ rows(a, unit[1]), (w, units))

    @jax.custom_vjp
    def gathered(w, a):
        return sums(w, sources, a)

    def backward(kept, delta):
        w, a = kept
        g = jax.lax.map(lambda unit: rows(a, unit[1]) @ unit[0], (delta, sources))
        return g, sums(jnp.where(present, w.ravel()[slots], 0), targets, delta)

    gathered.defvjp(lambda w, a: (sums(w, sources, a), (w, a)), backward)
    return gathered


def _slots(layer) -> tuple[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """(units, largest fan-in), and the place of each edge in it; edges are sorted by target."""
    target = layer.place[0]
    fan_in = np.bincount(target, minlength=layer.b.size)
    slot = np.arange(target.size) - np.repeat(np.cumsum(fan_in) - fan_in, fan_in)
    return (layer.b.size, int(fan_in.max())), (target, slot)


class DenseForm(_LayeredForm):
    """Dense matrices; their gradient is multiplied by the mask of the links."""

    @staticmethod
    def fixed(layer) -> Callable:
        return _masked(jnp.asarray(layer.links))

    def weights(self, net, layer) -> np.ndarray:
        return layer.W

    @staticmethod
    def sums(w, masked: Callable, a):
        return masked(w) @ a

    def by_edge(self, layer, w: np.ndarray) -> np.ndarray:
        return (w / np.maximum(layer.links, 1))[layer.place]


def _masked(links) -> Callable:
    """The identity, with a gradient only where there are links; parallel ones each take a step."""
    @jax.custom_vjp
    def masked(w):
        return w

    masked.defvjp(lambda w: (w, None), lambda _, g: (g * links,))
    return masked


class LevelsForm(_Form):
    """An irregular graph level by level: a loop over levels in one buffer of all activities.

    The loop's body takes as many units as the widest level has; what it writes beyond a level is
    written again by the next. JAX's own derivative of it would hold a copy of all activities for
    each level, so the derivative is given with `jax.custom_vjp`: back through the levels, by
    padded gathers over the outgoing edges, where `.at[sources].add` took twice as long.
    Levels written out one by one compile for a minute and a half. Units have equal fan-in and
    tanh.
    """

    def outputs_of(self, net) -> Callable:
        level = levels(net)
        order = np.argsort(level, kind="stable")
        row = np.empty_like(order)
        row[order] = np.arange(order.size)
        bounds = np.searchsorted(level[order], np.arange(1, level.max() + 2)) - net.n_inputs
        fan_in, width = int(np.diff(net.indptr)[0]) - 1, int(np.diff(bounds).max())
        self._order = order[net.n_inputs:] - net.n_inputs
        sources = row[net.edges[:, 0]].reshape(-1, fan_in)[self._order]
        self._pad = ((0, width), (0, 0))  # rows that no level has: the last body reads them
        slots = _outgoing(sources, net.n_units)[net.n_inputs:]
        slots, sources = (jnp.asarray(np.pad(values, self._pad).astype(np.int32))
                          for values in (slots, sources))
        activities = _by_levels(net.n_inputs, bounds, width, sources, slots)
        return lambda parameters, X: activities(*parameters, X)[row[net.outputs]]

    def parameters(self, net) -> tuple:
        w = net.weights.reshape(net.n_units - net.n_inputs, -1)[self._order]
        return np.pad(w, self._pad), np.pad(net.biases[self._order, None], self._pad)

    def in_theta(self, g: tuple) -> np.ndarray:
        w, b = (values[:self._order.size] for values in g)
        out = np.empty((self._order.size, 1 + w.shape[1]), self._net.dtype)
        out[self._order] = np.hstack([b, w])
        return out.ravel()


def _outgoing(sources: np.ndarray, n_units: int) -> np.ndarray:
    """(n_units, largest fan-out) places in `sources.ravel()`, padded with its size."""
    edges = np.argsort(sources.ravel(), kind="stable")
    unit = sources.ravel()[edges]
    fan_out = np.bincount(unit, minlength=n_units)
    slots = np.full((n_units, fan_out.max()), edges.size)
    slots[unit, np.arange(edges.size) - (np.cumsum(fan_out) - fan_out)[unit]] = edges
    return slots


def _by_levels(n_inputs: int, bounds: np.ndarray, width: int, sources, slots) -> Callable:
    """tanh activities of all units as a function of weights, biases and inputs.

    The barriers keep XLA from computing a level inside its write to the buffer, which would have
    it copy the buffer at every level.
    """
    n_units, fan_in = int(bounds[-1]), sources.shape[1]
    firsts, sizes = (jnp.asarray(v.astype(np.int32)) for v in (bounds[:-1], np.diff(bounds)))
    n_edges = n_units * fan_in  # a slot of this number is empty
    targets = jnp.minimum(slots // fan_in, n_units - 1) + n_inputs
    present = slots < n_edges
    place = np.concatenate([level * width + np.arange(n)
                            for level, n in enumerate(np.diff(bounds))])

    def part(values, first, offset=0):
        return jax.lax.dynamic_slice_in_dim(values, first + offset, width)

    def write(values, rows, first):
        rows = jax.lax.optimization_barrier(rows)
        return jax.lax.dynamic_update_slice_in_dim(values, rows, first + n_inputs, 0)

    def forward(w, b, X):
        def level(a, first):
            z = jnp.einsum("uf,ufs->us", part(w, first), a[part(sources, first)])
            return write(a, jnp.tanh(z + part(b, first)), first), None

        a = jnp.zeros((n_inputs + w.shape[0], X.shape[1]), X.dtype).at[:n_inputs].set(X)
        return jax.lax.scan(level, a, firsts)[0]

    def kept(w, b, X):
        a = forward(w, b, X)
        return a, (w, a)

    def backward(kept, delta):
        w, a = kept
        out = jnp.where(present, w.ravel()[slots], 0)

        def level(delta, at):
            first, size = at
            own, rows = part(a, first, n_inputs), part(delta, first, n_inputs)
            above = jnp.einsum("uf,ufs->us", part(out, first), delta[part(targets, first)])
            here = jnp.arange(width)[:, None] < size
            dz = jnp.where(here, (rows + above) * (1 - own * own), rows)
            dz = jax.lax.optimization_barrier(dz)
            g = jnp.einsum("us,ufs->uf", dz, a[part(sources, first)])
            return write(delta, dz, first), (g, dz.sum(axis=1, keepdims=True))

        _, g = jax.lax.scan(level, delta, (firsts, sizes), reverse=True)
        pad = ((0, width), (0, 0))
        w, b = (jnp.pad(values.reshape(-1, values.shape[2])[place], pad) for values in g)
        return w, b, jnp.zeros((n_inputs, delta.shape[1]), delta.dtype)  # X's, which nobody takes

    activities = jax.custom_vjp(forward)
    activities.defvjp(kept, backward)
    return activities
