"""Steps of what a user would write instead, each beside fisherkern's in the same run:
`python -m bench.peer_table [--threads 1 2] [--workloads W1 W2 W3 W4]`.

Threads that wait in an OpenMP runtime spin for a while. With one runtime in the process, as where
fisherkern, PyTorch and Numba all find the same libgomp, the next side takes these same threads and
loses nothing; with several, a pause before each window outlasts the spinning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from . import oracles
from .loop import stepper
from .pairing import Paired, paired
from .table import NAMES, WINDOWS, conditions, program

# the longest default, of LLVM's and Intel's runtimes, is 0.2
SECONDS_OF_SPINNING = 0.25


class Contender(NamedTuple):
    """A class of a module here, with threads or without, and the workloads that it is for."""

    module: str
    name: str
    has_threads: bool = True
    workloads: tuple[str, ...] = tuple(NAMES)


CONTENDERS = {
    "NumPy, dense": Contender("peers", "DensePeer", False, ("W1",)),
    "scipy.sparse": Contender("peers", "SparsePeer", False),
    "torch, CSR": Contender("torch_peers", "TorchSparsePeer"),
    "torch, embedding_bag": Contender("torch_peers", "EmbeddingBagPeer"),
    "Numba": Contender("numba_peer", "NumbaPeer"),
}


def installed(name: str) -> dict[str, Callable]:
    """Constructors of a workload's contenders, by label."""
    found = {}
    for label, contender in CONTENDERS.items():
        if name in contender.workloads:
            try:
                module = import_module(f".{contender.module}", __package__)
            except ModuleNotFoundError:
                continue
            found[label] = getattr(module, contender.name)
    return found


def compare(name: str, n_threads: int) -> dict[str, Paired]:
    """Each contender against fisherkern, checked before it is timed."""
    workload, results = oracles.workload(name), {}
    for label, make in installed(name).items():
        options = {"n_threads": n_threads} if CONTENDERS[label].has_threads else {}
        oracles.check_peer(name, make, **options)
        peer, ours = make(*workload, **options), stepper(workload, "backpropagation",
                                                         n_threads=n_threads)
        pause = SECONDS_OF_SPINNING if n_threads > 1 and len(runtimes()) != 1 else 0.0
        results[label] = paired(peer.run, ours, windows=WINDOWS[name], pause=pause)
    return results


def runtimes() -> set[str]:
    """Paths of the OpenMP runtimes in this process, as far as the system tells."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return set()
    return set(re.findall(r"/\S*/lib(?:gomp|iomp5|omp)\b\S*", maps))


def rows(name: str, n_threads: int) -> list[str]:
    results = compare(name, n_threads)
    fastest = min(results, key=lambda label: results[label].ratio)
    lines = []
    for label, result in results.items():
        threads = n_threads if CONTENDERS[label].has_threads else 1
        mark = "**" if label == fastest else ""
        lines.append(f"| {name} | {n_threads} | {mark}{label}{mark} | {threads} "
                     f"| {1e6 * result.a:,.0f} | {1e6 * result.b:,.0f} | {mark}{result}{mark} |")
    return lines


def notes() -> str:
    versions = []
    for name in ("torch", "numba"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} not installed")
    return (f"{conditions()} {', '.join(versions)}; OpenMP runtimes: {len(runtimes())}. Each side "
            "takes one gradient and a plain step; the fastest peer by its ratio is in bold.")


def main() -> None:
    parser = program("peer_table", __doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--workloads", nargs="+", default=list(NAMES), choices=list(NAMES))
    arguments = parser.parse_args()
    print("| workload | threads | peer | its threads | peer, µs | fisherkern, µs "
          "| peer / fisherkern |", "|---|--:|---|--:|--:|--:|--:|", sep="\n")
    for name in arguments.workloads:
        for n_threads in arguments.threads:
            print(*rows(name, n_threads), sep="\n", flush=True)
    print(f"\n{notes()}")


if __name__ == "__main__":
    main()
