"""Output activities of one batch: `Network.forward` and the peers; `bench_gradient` adds
backpropagation to their groups."""

import pytest

from . import oracles
from .peers import DensePeer, SparsePeer
from .timing import CASES, measure, repeated


@pytest.mark.parametrize(("name", "n_threads"), CASES)
def test_fisherkern(benchmark, name, n_threads):
    net, X, _ = oracles.workload(name)
    oracles.check(name, net.forward(X, n_threads=n_threads), oracles.outputs(name))
    measure(benchmark, "forward", name, n_threads, repeated(net.forward, X, n_threads=n_threads))


@pytest.mark.parametrize(("name", "n_threads"), CASES)
def test_scipy_sparse(benchmark, name, n_threads):
    peer = SparsePeer(*oracles.workload(name))
    oracles.check(name, peer.forward().T, oracles.outputs(name))
    measure(benchmark, "forward", name, n_threads, repeated(peer.forward))


def test_numpy_dense(benchmark):
    peer = DensePeer(*oracles.workload("W1"))
    oracles.check("W1", peer.forward()[-1].T, oracles.outputs("W1"))
    measure(benchmark, "forward", "W1", 1, repeated(peer.forward))
