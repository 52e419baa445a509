"""Gradients of one batch."""

import pytest

from . import oracles
from .peers import DensePeer, SparsePeer
from .timing import CASES, measure, repeated


@pytest.mark.parametrize("group", ["gradient", "forward"])
@pytest.mark.parametrize(("name", "n_threads"), CASES)
def test_fisherkern_gradient(benchmark, name, n_threads, group):
    net, X, Y = oracles.workload(name)
    oracles.check(name, net.gradient(X, Y, n_threads=n_threads), oracles.gradient(name))
    measure(benchmark, group, name, n_threads,
            repeated(net.gradient, X, Y, n_threads=n_threads))


@pytest.mark.parametrize(("name", "n_threads"), CASES)
def test_scipy_sparse_gradient(benchmark, name, n_threads):
    peer = SparsePeer(*oracles.workload(name))
    oracles.check(name, peer.gradient(), oracles.gradient(name))
    measure(benchmark, "gradient", name, n_threads, repeated(peer.gradient))


def test_numpy_dense_gradient(benchmark):
    peer = DensePeer(*oracles.workload("W1"))
    oracles.check("W1", peer.gradient(), oracles.gradient("W1"))
    measure(benchmark, "gradient", "W1", 1, repeated(peer.gradient))
