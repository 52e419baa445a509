"""Steps of the peers, each in a group with fisherkern's step that it stands beside.

Steps of the first order share the groups of `bench_quasi_diagonal`; steps with curvature have
groups of their own.
"""

import pytest

from . import oracles
from .apart import Apart
from .loop import CURVATURE, stepper
from .peer_table import CONTENDERS, constructor
from .timing import CASES, measure

# of imports and calls inside the curvature packages
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"),
              pytest.mark.filterwarnings("ignore::FutureWarning")]
ENTRIES = [(label, *case) for label, contender in CONTENDERS.items()
           for case in CASES if case[0] in contender.workloads]


def group(beside: str) -> str:
    return "curvature step" if beside in CURVATURE else "step"


@pytest.mark.parametrize(("label", "name", "n_threads"), ENTRIES)
def test_peer_step(benchmark, label, name, n_threads):
    contender = CONTENDERS[label]
    pytest.importorskip(contender.package)
    make, trained = constructor(label), name + contender.on
    options = {"n_threads": n_threads} if contender.has_threads else {}
    oracles.check_peer(trained, make, **options)
    peer = make(*oracles.workload(trained), **options)
    if isinstance(peer, Apart) and n_threads == 1:
        assert peer.share(20) < 1.1, "more than one thread"
    measure(benchmark, group(contender.beside), name, n_threads, peer.run)


@pytest.mark.parametrize("step", CURVATURE)
@pytest.mark.parametrize(("name", "n_threads"), [case for case in CASES
                                                 if case[0] in ("W2", "W2d")])
def test_curvature_step(benchmark, step, name, n_threads):
    net, X, Y = oracles.workload(name)
    if not step.startswith("monte_carlo"):
        moved = net.copy()
        stepper((moved, X, Y), step, n_threads=n_threads, learning_rate=1.0)(1)
        oracles.check(name, moved.theta - net.theta, CURVATURE[step]().direction(
            *oracles.in_double(name)))
    measure(benchmark, group(step), name, n_threads,
            stepper((net, X, Y), step, n_threads=n_threads))
