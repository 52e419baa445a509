"""Gradients of one batch, and steps of gradient descent."""

from importlib import import_module

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
    oracles.check_peer(name, SparsePeer)
    measure(benchmark, "step", name, n_threads, SparsePeer(*oracles.workload(name)).run)


def test_numpy_dense_step(benchmark):
    oracles.check_peer("W1", DensePeer)
    measure(benchmark, "step", "W1", 1, DensePeer(*oracles.workload("W1")).run)


@pytest.mark.parametrize(("name", "n_threads"), CASES)
@pytest.mark.parametrize("peer", ["EmbeddingBagPeer", "TorchSparsePeer"])
def test_torch_step(benchmark, peer, name, n_threads):
    pytest.importorskip("torch")
    measure_threaded(benchmark, import_module("bench.torch_peers"), peer, name, n_threads)


@pytest.mark.parametrize(("name", "n_threads"), CASES)
def test_numba_step(benchmark, name, n_threads):
    pytest.importorskip("numba")
    measure_threaded(benchmark, import_module("bench.numba_peer"), "NumbaPeer", name, n_threads)


def measure_threaded(benchmark, module, peer, name, n_threads):
    peer_class = getattr(module, peer)
    oracles.check_peer(name, peer_class, n_threads=n_threads)
    run = peer_class(*oracles.workload(name), n_threads=n_threads).run
    measure(benchmark, "step", name, n_threads, run)
