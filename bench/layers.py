"""Levels of a graph, and layered networks as dense layers: what the peers share."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

import fisherkern as fk

from .workloads import Workload


def levels(net) -> np.ndarray:
    """(n_units,) longest path from an input; edges of the workloads go to higher numbers."""
    edges = net.edges
    level = np.zeros(net.n_units, np.int64)
    starts = net.indptr - np.arange(net.indptr.size)
    for k, (first, last) in enumerate(pairwise(starts), net.n_inputs):
        level[k] = level[edges[first:last, 0]].max() + 1
    return level


def is_weight(net) -> np.ndarray:
    """(n_parameters,) True where theta has a weight, False where a bias."""
    mask = np.ones(net.n_parameters, bool)
    mask[net.indptr[:-1]] = False
    return mask


class Layer(NamedTuple):
    """A layer of units, all of them linked from the layer before it.

    `edges` are its links' numbers and `place` their (target, source) within the layers; `W` has
    the sum of the weights between two units, `links` how many there are, `b` the biases.
    """

    edges: np.ndarray
    place: tuple[np.ndarray, np.ndarray]
    W: np.ndarray
    links: np.ndarray
    b: np.ndarray
    activation: str


def layers(net: fk.Network) -> list[Layer]:
    """Copies of a network's parameters by layer; units lie in the order of the layers."""
    level = levels(net)
    bounds = np.searchsorted(level, np.arange(level.max() + 2))
    source, target = net.edges.T
    weights, biases, found = net.weights, net.biases, []
    for first, middle, last in zip(bounds[:-2], bounds[1:-1], bounds[2:], strict=True):
        edges = np.flatnonzero((target >= middle) & (target < last))
        place = target[edges] - middle, source[edges] - first
        W, links = np.zeros((2, last - middle, middle - first), net.dtype)
        np.add.at(W, place, weights[edges])
        np.add.at(links, place, 1)
        units = slice(middle - net.n_inputs, last - net.n_inputs)
        (activation,) = set(net.activations[units])
        found.append(Layer(edges, place, W, links, biases[units].copy(), activation))
    return found


def in_theta(net: fk.Network, split: list[Layer], w: list[np.ndarray], b: list[np.ndarray]
             ) -> np.ndarray:
    """Values by layer, as of a gradient, in theta's layout; parallel links have the same."""
    out, by_edge = np.empty(net.n_parameters, net.dtype), np.empty(net.n_edges, net.dtype)
    for layer, values in zip(split, w, strict=True):
        by_edge[layer.edges] = values[layer.place]
    mask = is_weight(net)
    out[mask], out[~mask] = by_edge, np.concatenate([values.ravel() for values in b])
    return out


def filled(workload: Workload) -> Workload:
    """The same function and data on the dense network, whose further weights are 0."""
    net, X, Y = workload
    split = layers(net)
    dense = fk.Network.layered([net.n_inputs, *(layer.b.size for layer in split)],
                               activation=net.activations, interpretation=net.interpretation,
                               dtype=net.dtype.name, rng=0)
    dense.theta = in_theta(dense, layers(dense), [layer.W for layer in split],
                           [layer.b for layer in split])
    return dense, X, Y
