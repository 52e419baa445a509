"""Steps of what a user would write instead, each beside fisherkern's in a process of its own:
`python -m bench.peer_table [--threads 1 2] [--workloads W1 W2 W2d W3 W4]
[--peers LABEL ...]`.

Threads that wait in an OpenMP runtime spin for a while. With one runtime in the process, as where
fisherkern and the peer find the same libgomp, the next side takes these same threads and loses
nothing; with several, a pause before each window outlasts the spinning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

from . import oracles
from .apart import Apart, alone
from .loop import stepper
from .pairing import Paired, paired
from .setting import NAMES, WINDOWED, WINDOWS, conditions, program

# LLVM's and Intel's runtimes spin for 0.2 seconds, libgomp and XLA's pool for some milliseconds
SECONDS_OF_SPINNING, SECONDS_OF_OTHERS = 0.25, 0.05
# how many threads a process keeps busy is measured over some steps, and is one's at most
SHARE_STEPS, MOST_OF_ONE = 20, 1.1
PACKAGES = ("torch", "sparseprop", "numba", "jax", "scikit-learn", "backpack-for-pytorch",
            "nngeometry", "curvlinops-for-pytorch")


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
    `otherwise` says why the other workloads are left out, and `program` what must be there besides
    the package.
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
    program: str = ""

    def lacks(self) -> str:
        """What is not installed, if anything."""
        return self.package if not find_spec(self.package) else \
            self.program if self.program and not which(self.program) else ""


def _torch(module: str, name: str, **others) -> Contender:
    return Contender(module, name, package="torch", **others)


def _jax(name: str, *workloads: str, **others) -> Contender:
    return Contender("jax_peers", name, workloads=workloads, package="jax", has_pool=True, **others)


def _curvature(package: str, name: str, beside: str, on: str = "") -> Contender:
    return Contender(f"{package}_peers", name, workloads=_SOFTMAX, package=package, on=on,
                     beside=beside, otherwise="takes dense layers, here with a softmax: W2 and W2d")


# packages for curvature, each with masks for absent links and on the whole dense network
_CURVATURE = {
    "BackPACK, DiagGGNExact": ("backpack", "DiagGGNPeer", "fisher, diagonal"),
    "BackPACK, DiagGGNMC": ("backpack", "DiagGGNMCPeer", "monte_carlo, diagonal"),
    "NNGeometry, PMatQuasiDiag": ("nngeometry", "QuasiDiagonalPeer", "fisher, quasi_diagonal"),
    "NNGeometry, PMatQuasiDiag, one draw": (
        "nngeometry", "QuasiDiagonalMonteCarloPeer", "monte_carlo, quasi_diagonal"),
}
MASKED, ALL_WEIGHTS = ", dense and masked", ", dense, all weights trained"


CONTENDERS = {
    "NumPy, dense": Contender("peers", "DensePeer", False, ("W1",),
                              otherwise="for small layers; see torch, dense"),
    "scipy.sparse": Contender("peers", "SparsePeer", False),
    "torch, CSR": _torch("torch_peers", "TorchSparsePeer"),
    "torch, CSR, int32 indices": _torch("torch_peers", "ShortIndexPeer"),
    "torch, embedding_bag": _torch("torch_peers", "EmbeddingBagPeer"),
    "SparseProp": Contender(
        "sparseprop_peers", "SparsePropPeer", workloads=("W2", "W2d", "W3"), package="sparseprop",
        otherwise="takes layers in float32"),
    "Numba": Contender("numba_peer", "NumbaPeer", package="numba"),
    "JAX, BCOO": _jax("BCOOPeer", *_LAYERED, otherwise="W4 would be 227 matrices"),
    # with two threads XLA takes two to three times as long as with one
    "JAX, gather": _jax("GatherPeer", *_LAYERED, otherwise="W4 is taken by levels",
                        has_threads=False),
    "JAX, gather by levels": _jax("LevelsPeer", "W4", otherwise="for irregular graphs: W4"),
    "JAX, dense and masked": _jax("DensePeer", *_DENSE, otherwise=_NO_DENSE),
    "JAX, dense, all weights trained": _jax("DensePeer", *_DENSE, on=oracles.DENSE,
                                            otherwise=_NO_DENSE),
    "torch, dense and masked, autograd": _torch("torch_dense", "TorchDensePeer", workloads=_DENSE,
                                                otherwise=_NO_DENSE),
    "torch, dense, all weights trained": _torch(
        "torch_dense", "TorchDensePeer", workloads=_DENSE, on=oracles.DENSE, otherwise=_NO_DENSE),
    "torch, dense, torch.compile, all weights trained": _torch(
        "torch_dense", "CompiledDensePeer", workloads=_DENSE, on=oracles.DENSE,
        otherwise=_NO_DENSE, program="g++"),
    "torch, dense, Adam, all weights trained": _torch(
        "torch_dense", "DenseAdamPeer", workloads=_DENSE, on=oracles.DENSE, beside="Adam",
        otherwise=_NO_DENSE),
    "torch.optim.SGD": _torch("torch_optimizers", "SGDPeer"),
    "torch.optim.Adam": _torch("torch_optimizers", "AdamPeer", beside="Adam"),
    "torch.optim.LBFGS": _torch("torch_optimizers", "LBFGSPeer"),
    "scikit-learn, dense, Adam, all weights trained": Contender(
        "sklearn_peer", "ScikitLearnPeer", workloads=_SOFTMAX, package="sklearn", has_pool=True,
        on=oracles.DENSE, beside="Adam",
        otherwise="its classifier has no tanh outputs, as W1 has; " + _NO_DENSE),
    **{f"{label}{MASKED}": _curvature(*given) for label, given in _CURVATURE.items()},
    # beside unit blocks, which a dense network has 1.6 * 10^9 entries of
    f"curvlinops, K-FAC{MASKED}": _curvature("curvlinops", "KFACPeer", "monte_carlo, unitwise"),
    **{f"{label}{ALL_WEIGHTS}": _curvature(*given, oracles.DENSE)
       for label, given in _CURVATURE.items()},
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


def installed(name: str, labels: Collection[str] = tuple(CONTENDERS)) -> list[str]:
    """Which of these contenders a workload has here."""
    return [label for label, contender in CONTENDERS.items() if label in labels
            and name in contender.workloads and not contender.lacks()]


def timed(label: str, name: str, n_threads: int = 1, steps: Collection[str] = (),
          windows: int | None = None) -> list[Paired]:
    """A contender against the step that it stands beside, or against others of `loop.stepper`'s;
    all are checked first."""
    contender, peer = CONTENDERS[label], checked(label, name, n_threads)
    trained, results = name + contender.on, []
    for step in steps or [contender.beside]:
        oracles.check_step(trained, step, n_threads)
        ours = stepper(oracles.workload(trained), step, n_threads=n_threads)
        results.append(paired(peer.run, ours, windows=windows or WINDOWS[name],
                              pause=pause(n_threads, contender.has_pool)))
    return results


def compare(name: str, n_threads: int, labels: Collection[str] = tuple(CONTENDERS),
            windows: int | None = None) -> dict[str, Paired]:
    """Each contender against the step that it stands beside, in a process of its own."""
    return {label: alone(timed, label, name, n_threads, (), windows)[0]
            for label in installed(name, labels)}


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
        elif lacking := contender.lacks():
            reasons[label] = f"{lacking} is not installed"
    return reasons


def runtimes() -> set[str]:
    """Paths of the OpenMP runtimes in this process, as far as the system tells."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return set()
    return set(re.findall(r"/\S*/lib(?:gomp|iomp5|omp)\b\S*", maps))


HEAD = ("| workload | threads | peer | its threads | peer, µs | fisherkern's step "
        "| fisherkern, µs | peer / fisherkern |", "|---|--:|---|--:|--:|---|--:|--:|")


def rows(name: str, n_threads: int, results: dict[str, Paired]) -> list[str]:
    """Of a Markdown table; who is faster than fisherkern is in bold."""
    lines = []
    for label, result in results.items():
        contender = CONTENDERS[label]
        threads = n_threads if contender.has_threads else 1
        mark = "**" if result.high < 1 else ""
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
    return (f"{versions()} Each row is of a process of its own. Each side takes "
            "a gradient and a step: fisherkern's is named; a peer's is plain gradient "
            "descent where it stands beside backpropagation, L-BFGS excepted, and Adam's beside "
            "Adam. In bold are peers "
            "whose whole interval is below 1: they are faster. Dense peers do the work of absent "
            "links too; where all weights are trained, fisherkern trains the same dense network.")


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
