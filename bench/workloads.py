"""The networks and data that the benchmarks run, each as ``(net, X, Y)``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

import fisherkern as fk

Workload = tuple[fk.Network, np.ndarray, np.ndarray]


def w1(seed: int = 0) -> Workload:
    """The autoencoder 100-30-10-30-100 of Ollivier 2015, section 4: 1300 edges, 16 samples.

    Each input is linked to 5 random units of the first hidden layer and each of those to 5 middle
    units; each last hidden unit is linked from 5 middle units and each output from 5 last hidden
    ones. Draws are with replacement, repeated ones stay as parallel edges. Fixed costs decide.
    """
    rng = np.random.default_rng(seed)
    encoder = [_links(100, 0, 30, 100, rng), _links(30, 100, 10, 130, rng)]
    decoder = [_links(30, 140, 10, 130, rng), _links(100, 170, 30, 140, rng)]
    edges = np.concatenate([*encoder, *(pairs[:, ::-1] for pairs in decoder)])
    net = fk.Network(100, edges, outputs=range(170, 270), interpretation="bernoulli",
                     allow_parallel=True, rng=rng)
    Y = rng.integers(2, size=(16, 100)).astype(np.float64)
    return net, 2 * Y - 1, Y


def _links(n: int, first: int, n_others: int, first_other: int,
           rng: np.random.Generator) -> np.ndarray:
    """(5 n, 2) pairs of a unit and a random other one, five for each unit."""
    units = np.repeat(np.arange(n), 5) + first
    return np.column_stack([units, rng.integers(n_others, size=5 * n) + first_other])


def w2(seed: int = 0) -> Workload:
    """784-1000-1000-10, relu, softmax, fan-in 30: 60,300 edges, 128 samples, float32."""
    return _classifier(30, seed)


def w2d(seed: int = 0) -> Workload:
    """`w2` with a dense last layer: 70,000 edges."""
    return _classifier([30, 30, 1000], seed)


def _classifier(fan_in: int | list[int], seed: int) -> Workload:
    rng = np.random.default_rng(seed)
    net = fk.Network.layered([784, 1000, 1000, 10], fan_in=fan_in, interpretation="softmax",
                             activation=["relu"] * 2000 + ["identity"] * 10, dtype="float32",
                             rng=rng)
    return net, _normal(128, 784, rng), rng.integers(10, size=128)


def w3(seed: int = 0) -> Workload:
    """8 layers of 8192 and 64 outputs, tanh, fan-in 16: 918,528 edges, 64 samples, float32."""
    rng = np.random.default_rng(seed)
    net = fk.Network.layered([8192] * 8 + [64], fan_in=16, dtype="float32", rng=rng)
    return net, _normal(64, 8192, rng), _normal(64, 64, rng)


def w4(seed: int = 0) -> Workload:
    """Irregular graph: 20,000 tanh units, 159,488 edges, 64 samples, float32.

    Each unit after the 64 inputs has 8 distinct predecessors among the 2000 units before it, which
    makes about 200 levels; the last 32 units are the outputs.
    """
    rng = np.random.default_rng(seed)
    targets = np.arange(64, 20_000)
    sources = np.concatenate([k - 1 - rng.choice(min(k, 2000), 8, replace=False, shuffle=False)
                              for k in targets])
    net = fk.Network(64, np.column_stack([sources, np.repeat(targets, 8)]), dtype="float32",
                     outputs=range(20_000 - 32, 20_000), rng=rng)
    return net, _normal(64, 64, rng), _normal(64, 32, rng)


def w5(n_edges: int, fan_in: int = 16, seed: int = 0
       ) -> tuple[np.ndarray, Callable[[np.ndarray], fk.Network], np.ndarray, np.ndarray]:
    """Scale: 1000 inputs, 8 hidden tanh layers, 64 classes, 32 samples, float32.

    Each unit has `fan_in` random sources in the layer before it, drawn with replacement. Returns
    (edges, what makes the network of them, X, Y), so that building can be measured.
    """
    rng = np.random.default_rng(seed)
    width = max(1, round(n_edges / fan_in / 8))
    sizes = [1000, *[width] * 8, 64]
    edges = np.empty((fan_in * sum(sizes[1:]), 2), np.int32)
    row, start = 0, 0
    for below, above in pairwise(sizes):
        gap = edges[row:row + fan_in * above]
        for part in np.array_split(gap, max(1, len(gap) >> 20)):  # draws are of eight bytes each
            part[:, 0] = rng.integers(start, start + below, len(part))
        gap[:, 1] = np.repeat(np.arange(start + below, start + below + above, dtype=np.int32),
                              fan_in)
        row, start = row + len(gap), start + below
    n_units = sum(sizes)

    def build(edges: np.ndarray) -> fk.Network:
        return fk.Network(1000, edges, outputs=range(n_units - 64, n_units), dtype="float32",
                          interpretation="softmax", allow_parallel=True, rng=rng)

    return edges, build, _normal(32, 1000, rng), rng.integers(64, size=32)


def _normal(n_samples: int, width: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((n_samples, width), dtype=np.float32)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "W1": w1, "W2": w2, "W2d": w2d, "W3": w3, "W4": w4,
}
