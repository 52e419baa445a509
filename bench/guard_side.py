"""One side of `bench.guard`: answers timing requests about the tree that it is started in.

It is run by its path, and takes `bench` and `fisherkern` from the working directory: an older
revision's networks, loop and oracles are its own. A request is a line of JSON on standard input, an
answer one on standard output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class Side:
    """What is asked: `known`, then `prepare` and any number of `run`."""

    def __init__(self) -> None:
        tree = Path.cwd()
        sys.path.insert(0, str(tree))
        import bench.loop
        import bench.oracles
        import fisherkern

        for module in (bench, fisherkern):
            if tree not in Path(str(module.__file__)).resolve().parents:
                raise ImportError(f"{module.__name__} was not taken from the revision's tree")
        self._oracles, self._loop = bench.oracles, bench.loop
        self._run: Callable[[int], object] | None = None

    def known(self) -> dict:
        """Names of the networks and steps."""
        from bench.workloads import WORKLOADS

        return {"workloads": list(WORKLOADS), "steps": list(self._loop.OPTIMIZERS)}

    def prepare(self, workload: str, step: str, threads: int, save: str) -> dict:
        """Check a step and keep it for `run`; what it adds to theta goes into a file."""
        import numpy as np

        net, X, Y = self._oracles.workload(workload)
        moved = net.copy()
        self._loop.stepper((moved, X, Y), step, n_threads=threads, learning_rate=1.0)(1)
        added = moved.theta - net.theta
        self._oracles.check(workload, added, self._oracles.step(workload, step))
        np.save(save, added)
        self._run = self._loop.stepper((net, X, Y), step, n_threads=threads)
        return {}

    def run(self, n: int) -> dict:
        """Seconds of n steps."""
        assert self._run is not None
        start = time.perf_counter()
        self._run(n)
        return {"seconds": time.perf_counter() - start}


@contextmanager
def answers() -> Iterator[TextIO]:
    """Standard output for answers alone; what else is printed goes to standard error."""
    with os.fdopen(os.dup(1), "w") as channel:
        os.dup2(2, 1)
        yield channel


def main() -> None:
    with answers() as channel:
        def answer(values: dict) -> None:
            print(json.dumps(values), file=channel, flush=True)

        try:
            side = Side()
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}"})
            return
        answer({})
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer(getattr(side, request.pop("do"))(**request))
            except Exception as error:
                answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
