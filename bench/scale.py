"""W5, memory and time of training 10^6 to 10^8 edges:
`python -m bench.scale [EDGES ...] [--update docs/methods.md]`.

Each size is a process of its own. Its memory is that of the whole process, Python and the data
included: the peaks while the network is built from an array of edges and while it is trained with
the quasi-diagonal metric in its mini-batch form.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import fisherkern as fk

from .memory import reset_peak, status
from .workloads import w5

STEPS = 6
MARK = "scale"


def measure(n_edges: int, n_threads: int, fan_in: int) -> dict:
    """What `measure_here` finds in a fresh process."""
    command = [sys.executable, "-m", "bench.scale", "--here", str(n_edges), "--threads",
               str(n_threads), "--fan-in", str(fan_in)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, text=True,
                          capture_output=True)
    return json.loads(done.stdout)


def measure_here(n_edges: int, n_threads: int, fan_in: int) -> dict:
    """Bytes per edge at the peaks, seconds to build, nanoseconds per edge and sample of a step."""
    edges, build, X, Y = w5(n_edges, fan_in)
    reset_peak()
    start = time.perf_counter()
    net = build(edges)
    building = time.perf_counter() - start
    built = status("VmHWM")
    del edges
    reset_peak()
    optimizer = fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient()
    history = fk.train(net, X, Y, optimizer, steps=STEPS, batch_size=X.shape[0], progress=False,
                       rng=0, n_threads=n_threads)
    assert history.loss[-1] < history.loss[0], history.loss
    step = float(np.median(np.diff(history.seconds)))
    return {"edges": net.n_edges, "fan_in": fan_in, "threads": n_threads, "building": building,
            "built": built / net.n_edges, "training": status("VmHWM") / net.n_edges, "step": step,
            "ns": 1e9 * step / net.n_edges / X.shape[0]}


def table(given: argparse.Namespace) -> str:
    from .setting import conditions

    rows = ["| edges | fan-in | threads | building, s | bytes per edge, building | bytes per edge, "
            "training | step, s | ns per edge and sample |", "|" + "--:|" * 8]
    for n_edges in given.edges:
        for n_threads in given.threads:
            row = measure(int(n_edges), n_threads, given.fan_in)
            rows.append("| {edges:,} | {fan_in} | {threads} | {building:.1f} | {built:.1f} | "
                        "{training:.1f} | {step:.3f} | {ns:.2f} |".format(**row))
    return "\n".join([*rows, "", conditions()])


def main() -> None:
    if "--here" in sys.argv:  # nothing else is imported: the memory is the whole process's
        given = arguments(argparse.ArgumentParser()).parse_args()
        print(json.dumps(measure_here(given.here, given.threads[0], given.fan_in)))
        return
    from fisherkern.experiments.marks import parse_target, update

    from .setting import program

    given = parse_target(arguments(program("scale", __doc__)), MARK)
    update(given.update, MARK, table(given))


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("edges", nargs="*", type=float, default=[1e6, 1e7, 1e8])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--fan-in", type=int, default=16)
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
