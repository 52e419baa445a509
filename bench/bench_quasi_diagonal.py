"""Steps inside the compiled loop, by optimizer; peers' plain gradient steps share the groups."""

import pytest

from . import oracles
from .loop import OPTIMIZERS, stepper
from .timing import CASES, measure


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("name", "n_threads"), CASES)
def test_step(benchmark, name, n_threads, optimizer):
    oracles.check_step(name, optimizer, n_threads)
    measure(benchmark, "step", name, n_threads,
            stepper(oracles.workload(name), optimizer, n_threads=n_threads))
