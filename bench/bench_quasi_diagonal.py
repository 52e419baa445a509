"""Steps inside the compiled loop, by optimizer; peers' plain gradient steps share the groups."""

import pytest

from . import oracles
from .loop import OPTIMIZERS, stepper
from .timing import CASES, measure


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("name", "n_threads"), CASES)
def test_step(benchmark, name, n_threads, optimizer):
    net, X, Y = oracles.workload(name)
    moved = net.copy()
    stepper((moved, X, Y), optimizer, n_threads=n_threads, learning_rate=1.0)(1)
    oracles.check(name, moved.theta - net.theta, oracles.step(name, optimizer))
    measure(benchmark, "step", name, n_threads,
            stepper((net, X, Y), optimizer, n_threads=n_threads))
