"""Steps of the peers, each in a group with fisherkern's step that it stands beside, and with its
backpropagation.

Steps of the first order share the groups of `bench_quasi_diagonal`; steps with curvature, and those
that train all weights of the layers, have groups of their own.
"""

import pytest

from . import oracles
from .loop import CURVATURE, stepper
from .peer_table import CONTENDERS, checked
from .timing import CASES, measure

# of imports and calls inside the curvature packages
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"),
              pytest.mark.filterwarnings("ignore::FutureWarning")]
ENTRIES = [(label, *case) for label, contender in CONTENDERS.items()
           for case in CASES if case[0] in contender.workloads]
# unit blocks of the dense networks have 1.6 * 10^9 entries
CURVED = [(step, on) for step in ("backpropagation", *CURVATURE) for on in ("", oracles.DENSE)
          if not (on and step.endswith("unitwise"))]


def group(curvature: bool, on: str = "") -> str:
    return f"{'curvature ' * curvature}step{', all weights' * bool(on)}"


@pytest.mark.parametrize(("label", "name", "n_threads"), ENTRIES)
def test_peer_step(benchmark, label, name, n_threads):
    contender = CONTENDERS[label]
    if lacking := contender.lacks():
        pytest.skip(f"{lacking} is not installed")
    peer = checked(label, name, n_threads)
    measure(benchmark, group(contender.beside in CURVATURE, contender.on), name, n_threads,
            peer.run)


@pytest.mark.parametrize(("step", "on"), CURVED)
@pytest.mark.parametrize(("name", "n_threads"), [case for case in CASES
                                                 if case[0] in ("W2", "W2d")])
def test_curvature_step(benchmark, step, on, name, n_threads):
    oracles.check_step(name + on, step, n_threads)
    measure(benchmark, group(True, on), name, n_threads,
            stepper(oracles.workload(name + on), step, n_threads=n_threads))


@pytest.mark.parametrize("step", ["backpropagation", "Adam", "quasi-diagonal"])
@pytest.mark.parametrize(("name", "n_threads"), [case for case in CASES
                                                 if case[0] in ("W1", "W2", "W2d")])
def test_step_of_all_weights(benchmark, step, name, n_threads):
    dense = name + oracles.DENSE
    oracles.check_step(dense, step, n_threads)
    measure(benchmark, group(False, oracles.DENSE), name, n_threads,
            stepper(oracles.workload(dense), step, n_threads=n_threads))
