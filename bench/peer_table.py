"""Steps of what a user would write instead, each beside fisherkern's in the same run:
`python -m bench.peer_table [--threads 1 2] [--workloads W1 W2 W2d W3 W4]
[--peers LABEL ...]`.

Threads that wait in an OpenMP runtime spin for a while. With one runtime in the process, as where
fisherkern, PyTorch and Numba all find the same libgomp, the next side takes these same threads and
loses nothing; with several, a pause before each window outlasts the spinning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from . import oracles
from .apart import Apart
from .loop import stepper
from .pairing import Paired, paired
from .setting import NAMES, WINDOWED, WINDOWS, conditions, program

# LLVM's and Intel's runtimes spin for 0.2 seconds, libgomp and XLA's pool for some milliseconds
SECONDS_OF_SPINNING, SECONDS_OF_OTHERS = 0.25, 0.05
# how many threads a process keeps busy is measured over some steps, and is one's at most
SHARE_STEPS, MOST_OF_ONE = 20, 1.1
PACKAGES = ("torch", "numba", "jax", "scikit-learn", "backpack-for-pytorch", "nngeometry",
            "curvlinops-for-pytorch")


COMPARED = NAMES | {"W2d": "the second with a dense last layer, 70,000 edges"}
_DENSE = ("W1", "W2", "W2d")
_LAYERED = (*_DENSE, "W3")
_SOFTMAX = ("W2", "W2d")
_NO_DENSE = "dense, W3 has 470 million weights; W4 has no layers"


class Contender(NamedTuple):
    """A class of a module here, and what it is compared on.

    `has_threads`: whether it takes a number of them to advantage, and `has_pool`, whether they are
    others than OpenMP's. `on` is what `oracles.workload` wants behind the name for the network
    that both train, `beside` fisherkern's step that it is timed against, by `loop.stepper`.
    `otherwise` says why the other workloads are left out.
    """

    module: str
    name: str
    has_threads: bool = True
    workloads: tuple[str, ...] = tuple(COMPARED)
    package: str = "numpy"
    has_pool: bool = False
    on: str = ""
    beside: str = "backpropagation"
    otherwise: str = ""


def _torch(module: str, name: str, **others) -> Contender:
    return Contender(module, name, package="torch", **others)


def _jax(name: str, *workloads: str, otherwise: str, has_threads: bool = True) -> Contender:
    return Contender("jax_peers", name, has_threads, workloads, "jax", True, otherwise=otherwise)


def _curvature(package: str, name: str, beside: str) -> Contender:
    return Contender(f"{package}_peers", name, True, _SOFTMAX, package, beside=beside,
                     otherwise="takes dense layers, here with a softmax: W2 and W2d")


CONTENDERS = {
    "NumPy, dense": Contender("peers", "DensePeer", False, ("W1",),
                              otherwise="for small layers; see torch, dense"),
    "scipy.sparse": Contender("peers", "SparsePeer", False),
    "torch, CSR": _torch("torch_peers", "TorchSparsePeer"),
    "torch, embedding_bag": _torch("torch_peers", "EmbeddingBagPeer"),
    "Numba": Contender("numba_peer", "NumbaPeer", package="numba"),
    "JAX, BCOO": _jax("BCOOPeer", *_LAYERED, otherwise="W4 would be 227 matrices"),
    # with two threads XLA takes two to three times as long as with one
    "JAX, gather": _jax("GatherPeer", *_LAYERED, otherwise="W4 is taken by levels",
                        has_threads=False),
    "JAX, gather by levels": _jax("LevelsPeer", "W4", otherwise="for irregular graphs: W4"),
    "JAX, dense and masked": _jax("DensePeer", *_DENSE, otherwise=_NO_DENSE),
    "torch, dense and masked, autograd": _torch("torch_dense", "TorchDensePeer", workloads=_DENSE,
                                                otherwise=_NO_DENSE),
    "torch, dense, all weights trained": _torch(
        "torch_dense", "TorchDensePeer", workloads=_DENSE, on=oracles.DENSE, otherwise=_NO_DENSE),
    "torch.optim.SGD": _torch("torch_optimizers", "SGDPeer"),
    "torch.optim.Adam": _torch("torch_optimizers", "AdamPeer", beside="Adam"),
    "torch.optim.LBFGS": _torch("torch_optimizers", "LBFGSPeer"),
    "scikit-learn, dense, Adam, all weights trained": Contender(
        "sklearn_peer", "ScikitLearnPeer", True, _SOFTMAX, "sklearn", True, oracles.DENSE, "Adam",
        "its classifier has no tanh outputs, as W1 has; " + _NO_DENSE),
    "BackPACK, DiagGGNExact, dense": _curvature("backpack", "DiagGGNPeer", "fisher, diagonal"),
    "BackPACK, DiagGGNMC, dense": _curvature("backpack", "DiagGGNMCPeer",
                                             "monte_carlo, diagonal"),
    "NNGeometry, PMatQuasiDiag, dense": _curvature("nngeometry", "QuasiDiagonalPeer",
                                                   "fisher, quasi_diagonal"),
    "NNGeometry, PMatQuasiDiag, one draw, dense": _curvature(
        "nngeometry", "QuasiDiagonalMonteCarloPeer", "monte_carlo, quasi_diagonal"),
    "curvlinops, K-FAC, dense": _curvature("curvlinops", "KFACPeer", "monte_carlo, unitwise"),
}


def constructor(label: str) -> Callable:
    """Of a contender whose package is installed, which is imported only now."""
    contender = CONTENDERS[label]
    return getattr(import_module(f".{contender.module}", __package__), contender.name)


def checked(label: str, name: str, n_threads: int) -> Any:
    """A contender on a workload, checked; AssertionError where it takes more threads than one."""
    contender, make = CONTENDERS[label], constructor(label)
    trained = name + contender.on
    options = {"n_threads": n_threads} if contender.has_threads else {}
    oracles.check_peer(trained, make, **options)
    peer = make(*oracles.workload(trained), **options)
    if isinstance(peer, Apart) and options.get("n_threads", 1) == 1:
        share = peer.share(SHARE_STEPS)
        assert share < MOST_OF_ONE, f"{label} keeps {share:.2f} threads busy where one is asked for"
    return peer


def installed(name: str) -> list[str]:
    """Labels of the contenders that a workload has here."""
    return [label for label, contender in CONTENDERS.items()
            if name in contender.workloads and find_spec(contender.package)]


def compare(name: str, n_threads: int, labels: Collection[str] = tuple(CONTENDERS),
            step: str | None = None, windows: int | None = None) -> dict[str, Paired]:
    """Each contender against the step that it stands beside, or against another one of
    `loop.stepper`'s, checked before it is timed."""
    results = {}
    for label in installed(name):
        if label not in labels:
            continue
        contender, peer = CONTENDERS[label], checked(label, name, n_threads)
        trained = name + contender.on
        oracles.check_step(trained, step or contender.beside, n_threads)
        ours = stepper(oracles.workload(trained), step or contender.beside, n_threads=n_threads)
        results[label] = paired(peer.run, ours, windows=windows or WINDOWS[name],
                                pause=pause(n_threads, contender.has_pool))
    return results


def pause(n_threads: int, has_pool: bool) -> float:
    """Seconds until no thread of another side spins."""
    found = runtimes()
    if n_threads == 1 or (len(found) == 1 and not has_pool):
        return 0.0
    slow = not found or any(re.search(r"lib(?:iomp5|omp)\b", path) for path in found)
    return SECONDS_OF_SPINNING if slow else SECONDS_OF_OTHERS


def left_out(name: str) -> dict[str, str]:
    """Why contenders have no row, by label."""
    reasons = {}
    for label, contender in CONTENDERS.items():
        if name not in contender.workloads:
            reasons[label] = contender.otherwise
        elif not find_spec(contender.package):
            reasons[label] = f"{contender.package} is not installed"
    return reasons


def runtimes() -> set[str]:
    """Paths of the OpenMP runtimes in this process, as far as the system tells."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return set()
    return set(re.findall(r"/\S*/lib(?:gomp|iomp5|omp)\b\S*", maps))


def pools() -> str:
    return f"OpenMP runtimes: {len(runtimes())}."


HEAD = ("| workload | threads | peer | its threads | peer, µs | fisherkern's step "
        "| fisherkern, µs | peer / fisherkern |", "|---|--:|---|--:|--:|---|--:|--:|")


def rows(name: str, n_threads: int, results: dict[str, Paired]) -> list[str]:
    """Of a Markdown table, the fastest peer beside each step on each network in bold."""
    fastest: dict[tuple[str, str], float] = {}
    for label, result in results.items():
        key = CONTENDERS[label].beside, CONTENDERS[label].on
        fastest[key] = min(result.ratio, fastest.get(key, math.inf))
    lines = []
    for label, result in results.items():
        contender = CONTENDERS[label]
        threads = n_threads if contender.has_threads else 1
        mark = "**" if fastest[contender.beside, contender.on] == result.ratio else ""
        lines.append(f"| {name} | {n_threads} | {mark}{label}{mark} | {threads} "
                     f"| {1e6 * result.a:,.0f} | {contender.beside} | {1e6 * result.b:,.0f} "
                     f"| {mark}{result}{mark} |")
    return lines


def missing(name: str, labels: Collection[str] = tuple(CONTENDERS)) -> str:
    """A sentence of the contenders that a workload does not have, with the reasons."""
    without: dict[str, list[str]] = {}
    for label, reason in left_out(name).items():
        if label in labels:
            without.setdefault(reason, []).append(label)
    parts = [f"{', '.join(found)} ({reason})" for reason, found in without.items()]
    return f"Left out on {name}: {'; '.join(parts)}." if parts else ""


def versions(packages: Collection[str] = PACKAGES, ratios: str = WINDOWED) -> str:
    """Of peers' packages, behind the conditions of the run and what its ratios are."""
    found = []
    for name in packages:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return f"{conditions(ratios)} {', '.join(found)}."


def notes() -> str:
    return (f"{versions()} {pools()} Each side takes "
            "a gradient and a step: fisherkern's is named; a peer's is plain gradient "
            "descent where it stands beside backpropagation, L-BFGS excepted. The fastest peer "
            "beside each is in bold. Dense peers do the work of absent links too; where all "
            "weights are trained, fisherkern trains the same dense network.")


def main() -> None:
    parser = program("peer_table", __doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--workloads", nargs="+", default=list(COMPARED), choices=list(COMPARED))
    parser.add_argument("--peers", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS),
                        metavar="LABEL", help="labels as in the table; all without this")
    arguments = parser.parse_args()
    print(*HEAD, sep="\n")
    for name in arguments.workloads:
        for n_threads in arguments.threads:
            results = compare(name, n_threads, arguments.peers)
            print(*rows(name, n_threads, results), sep="\n", flush=True)
    print("", *filter(None, (missing(name, arguments.peers) for name in arguments.workloads)),
          "", notes(), sep="\n")


if __name__ == "__main__":
    main()
