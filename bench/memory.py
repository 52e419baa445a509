"""Peak memory of training W3 with every optimizer, each in a process of its own:
`python -m bench.memory [--threads 1 2]`.

Linux keeps a process's largest resident set (VmHWM). It is set back before each part, so each peak
is that part's own. The baseline is taken before the edges are drawn, with every module and the
training data already there.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fisherkern as fk
from fisherkern.optimizers import PRESETS

from .workloads import w3

BATCH, N_BATCHES = 64, 2
# a thread's passes keep the rows of one tile: 128 bytes each where sums are taken by sources
TILE = 32
# an activity, a backpropagated value and a modulus per unit and sample
ROWS = 3
QUASI_DIAGONAL = "QuasiDiagonalBackpropagatedMetricGradient"
# a full matrix has the square of the number of parameters
NAMES = tuple(name for name, make in PRESETS.items() if make().reduction != "full")


class Memory(NamedTuple):
    """Bytes above the baseline.

    Attributes
    ----------
    building : int
        Peak while the edges are drawn and the network is built.
    network : int
        What stays of it.
    training : int
        Peak while training, the network included.
    activities : int
        What the threads' passes keep per unit and sample.
    n_edges : int
    """

    building: int
    network: int
    training: int
    activities: int
    n_edges: int

    @property
    def peak(self) -> int:
        """Of the whole run."""
        return max(self.building, self.training)


def measure(n_threads: int = 1, optimizer: str = QUASI_DIAGONAL) -> Memory:
    """Train W3 in mini-batches, in a fresh process."""
    command = [sys.executable, "-m", "bench.memory", "--json", str(n_threads), optimizer]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, text=True,
                          stdout=subprocess.PIPE)
    return Memory(**json.loads(done.stdout))


def check(memory: Memory, most: float = 90.0) -> None:
    """Raise AssertionError where the run's peak is above `most` bytes per edge and the rows of
    one tile for each thread."""
    limit = most * memory.n_edges + memory.activities
    assert memory.peak <= limit, f"{memory.peak} bytes; at most {limit:.0f} are allowed: {memory}"


def measure_here(n_threads: int, name: str) -> Memory:
    """As `measure`, in this process, which should have done nothing else before."""
    data = np.random.default_rng(1).standard_normal
    X = data((N_BATCHES * BATCH, 8192), dtype=np.float32)
    Y = data((N_BATCHES * BATCH, 64), dtype=np.float32)
    # the baselines have no rate of their own
    optimizer = PRESETS[name]() if PRESETS[name].has_metric else PRESETS[name](learning_rate=1e-3)
    before = reset_peak()
    net, _, _ = w3()
    building = status("VmHWM")
    network = reset_peak()
    fk.train(net, X, Y, optimizer, epochs=2, batch_size=BATCH, progress=False, rng=0,
             n_threads=n_threads)
    training = status("VmHWM")
    activities = net.n_units * min(BATCH, TILE * n_threads) * ROWS * net.dtype.itemsize
    return Memory(building - before, network - before, training - before, activities, net.n_edges)


def reset_peak() -> int:
    """Return freed memory, set the peak back to what is resident now, and return that."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(name: str) -> int:
    """A field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def table(found: dict[tuple[str, int], Memory]) -> str:
    """Markdown of bytes per edge, by optimizer and number of threads."""
    rows = ["| optimizer | threads | building | network | training, the network included |",
            "|---|--:|--:|--:|--:|"]
    for (name, n_threads), memory in found.items():
        cells = " | ".join(f"{getattr(memory, part) / memory.n_edges:.1f}"
                           for part in ("building", "network", "training"))
        rows.append(f"| `{name}` | {n_threads} | {cells} |")
    return "\n".join(rows)


def main() -> None:
    if sys.argv[1:2] == ["--json"]:
        print(json.dumps(measure_here(int(sys.argv[2]), sys.argv[3])._asdict()))
        return
    from .setting import conditions, program

    parser = program("memory", __doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    threads = parser.parse_args().threads
    print(table({(name, n): measure(n, name) for name in NAMES for n in threads}))
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()
