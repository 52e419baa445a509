"""Gradients of one batch, and steps of gradient descent."""

import pytest

from . import oracles
from .peers import DensePeer, SparsePeer
from .timing import CASES, measure, repeated


@pytest.mark.parametrize(("name", "n_threads"), CASES)
def test_fisherkern_gradient(benchmark, name, n_threads):
    net, X, Y = oracles.workload(name)
    oracles.check(name, net.gradient(X, Y, n_threads=n_threads), oracles.gradient(name))
    measure(benchmark, "gradient", name, n_threads,
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


@pytest.mark.parametrize(("name", "n_threads"), CASES)
def test_scipy_sparse_step(benchmark, name, n_threads):
    check_peer_step(name, SparsePeer)
    measure(benchmark, "step", name, n_threads, SparsePeer(*oracles.workload(name)).run)


def test_numpy_dense_step(benchmark):
    check_peer_step("W1", DensePeer)
    measure(benchmark, "step", "W1", 1, DensePeer(*oracles.workload("W1")).run)


def check_peer_step(name, peer_class):
    """After one step at rate 1 the peer's gradient is the network's there."""
    net, X, Y = oracles.in_double(name)
    moved = net.copy()
    moved.theta += oracles.step(name, "backpropagation")
    peer = peer_class(*oracles.workload(name), learning_rate=1.0)
    peer.run(1)
    oracles.check(name, peer.gradient(), moved.gradient(X, Y))
