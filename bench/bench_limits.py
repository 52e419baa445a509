"""What must hold on any machine: faster than scipy.sparse in the same run, and frugal."""

import pytest

from . import memory, oracles
from .loop import stepper
from .pairing import paired
from .peers import SparsePeer
from .timing import measure


@pytest.mark.parametrize(("name", "optimizer"), [("W1", "quasi-diagonal"),
                                                 ("W2", "backpropagation")])
def test_faster_than_scipy_sparse(benchmark, name, optimizer):
    """The peer takes its plain gradient step in either case."""
    workload = oracles.workload(name)
    oracles.check_step(name, optimizer)
    oracles.check_peer(name, SparsePeer)
    run = stepper(workload, optimizer)
    result = paired(SparsePeer(*workload).run, run)
    assert result.low > 1, f"scipy.sparse / fisherkern: {result}"
    benchmark.extra_info["scipy.sparse / fisherkern"] = str(result)
    measure(benchmark, "step", name, 1, run)


def test_memory(benchmark):
    memory.check(benchmark.pedantic(memory.measure, rounds=1))
