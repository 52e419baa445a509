"""The machine's limits, measured: what the roofs of `bench.roofline` are made of.

A small C file is compiled for the machine itself: fused multiply-adds on registers, reads of an
array in order, and reads of rows of 128 bytes at random, each row times a weight as in a kernel. On
several threads each has an array of its own. A limit is the best of several runs; what other
programs take of the machine lowers it. NumPy's matrix product stands beside as a check.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

SOURCE = Path(__file__).with_name("peaks.c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-Wno-psabi", "-shared", "-fPIC")
SUMS = 10  # of peaks.c
CHUNK = 512  # bytes that the reading loop takes at a time, at most
ROW = 128
# many short runs: on a busy machine some are undisturbed
SECONDS, RUNS = 0.01, 40
# bytes, where the system does not tell
CACHES = {"L1": 32 << 10, "L2": 512 << 10, "L3": 16 << 20}


class Peaks(NamedTuple):
    """Limits of one number of threads.

    Attributes
    ----------
    threads : int
    flops : dict
        Of fused multiply-adds per second, by dtype.
    product : dict
        The same of NumPy's matrix product.
    reads : dict
        Bytes per second in order, by level: "L1", "L2", "L3", "DRAM".
    rows : dict
        The same of rows at random.
    """

    threads: int
    flops: dict[str, float]
    product: dict[str, float]
    reads: dict[str, float]
    rows: dict[str, float]

    @property
    def gathers(self) -> dict[str, float]:
        """Bytes per second that the kernels' rows may come at: at random, from the first level in
        any order."""
        return self.reads | self.rows


@cache
def caches() -> dict[str, int]:
    """Bytes of the first processor's data caches."""
    found = {}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (folder / "type").read_text().strip() == "Instruction":
            continue
        size = re.fullmatch(r"(\d+)([KM])", (folder / "size").read_text().strip())
        if size:
            unit = 1024 if size[2] == "K" else 1 << 20
            found["L" + (folder / "level").read_text().strip()] = int(size[1]) * unit
    return dict(sorted(found.items())) or CACHES


def sizes(n_threads: int) -> dict[str, int]:
    """Bytes of each thread's array that lies in a level: half of a core's own cache; of the last,
    shared one at most a quarter for all threads; several times the last one for DRAM."""
    levels = caches()
    out, last = {}, max(levels)
    for name, size in levels.items():
        share = size // 4 // n_threads if name == last and len(levels) > 2 else size // 2
        out[name] = max(share // CHUNK * CHUNK, CHUNK)
    out["DRAM"] = max(4 * levels[last] // n_threads, 64 << 20)
    return out


@cache
def compiled_probe() -> ctypes.CDLL:
    """The compiled probe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peaks.so"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        try:
            subprocess.run([*compiler, *FLAGS, str(SOURCE), "-o", str(path)], check=True)
        except FileNotFoundError:
            raise RuntimeError(f"the machine's limits need a C compiler; there is no {compiler[0]}"
                               ) from None
        probe = ctypes.CDLL(str(path))
    for name, real in (("fma_float32", ctypes.c_float), ("fma_float64", ctypes.c_double)):
        function = getattr(probe, name)
        function.argtypes = [ctypes.c_int64, real, ctypes.POINTER(real)]
        function.restype = ctypes.c_int
    probe.read_in_order.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    probe.read_rows.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    probe.read_in_order.restype = probe.read_rows.restype = ctypes.c_float
    return probe


def best(make: Callable[[], Callable[[int], object]], n_threads: int,
         seconds: float = SECONDS, runs: int = RUNS) -> float:
    """Turns per second of all threads together, in the best run; each thread makes its own."""
    works = [make() for _ in range(n_threads)]
    turns = 1
    while (spent := timed(works, turns)) < seconds / 2:
        turns = max(2 * turns, int(turns * min(100, seconds / max(spent, 1e-9))))
    return n_threads * turns / min(timed(works, turns) for _ in range(runs))


def timed(works: list[Callable[[int], object]], turns: int) -> float:
    """Seconds from the common start to the last end."""
    start = threading.Barrier(len(works))

    def one(work: Callable[[int], object]) -> tuple[float, float]:
        start.wait()
        begun = time.perf_counter()
        work(turns)
        return begun, time.perf_counter()

    with ThreadPoolExecutor(len(works)) as pool:
        begun, ended = zip(*pool.map(one, works), strict=True)
    return max(ended) - min(begun)


def flops(dtype: str, n_threads: int, **how) -> float:
    """Of fused multiply-adds per second."""
    function = getattr(compiled_probe(), f"fma_{dtype}")
    out = function.argtypes[2]._type_()
    lanes = function(1, 0.5, out)
    # the factor leaves the sums finite and normal
    turns = best(lambda: lambda n: function(n, 0.5, type(out)()), n_threads, **how)
    return turns * 2 * SUMS * lanes


def product(dtype: str, n_threads: int, n: int = 512, **how) -> float:
    """Flops per second of NumPy's product of square matrices, each thread its own."""
    def make() -> Callable[[int], object]:
        a, b = np.ones((n, n), dtype), np.ones((n, n), dtype)
        out = a @ b
        assert (out == n).all()

        def run(turns: int) -> None:
            for _ in range(turns):
                np.matmul(a, b, out=out)
        return run

    return best(make, n_threads, **how) * 2 * n**3


def reads(n_bytes: int, n_threads: int, **how) -> float:
    """Bytes per second of an array read in order."""
    probe = compiled_probe()
    ones = aligned(n_bytes)
    assert probe.read_in_order(ones.ctypes.data, n_bytes, 1) > 0

    def make() -> Callable[[int], object]:
        data = aligned(n_bytes)
        return lambda turns: probe.read_in_order(data.ctypes.data, n_bytes, turns)

    return best(make, n_threads, **how) * n_bytes


def rows(n_bytes: int, n_threads: int, **how) -> float:
    """Bytes per second of rows read at random, each once per turn; names of rows not counted."""
    probe, n = compiled_probe(), n_bytes // ROW // 8 * 8

    def make() -> Callable[[int], object]:
        data = aligned(n_bytes)
        order = np.random.default_rng(0).permutation(n).astype(np.int32)
        return lambda turns: probe.read_rows(data.ctypes.data, order.ctypes.data, n, turns)

    return best(make, n_threads, **how) * n * ROW


def aligned(n_bytes: int) -> np.ndarray:
    """Ones in float32 from the start of a page on."""
    memory = np.empty(n_bytes + 4096, np.uint8)
    start = -memory.ctypes.data % 4096
    out = memory[start:start + n_bytes].view(np.float32)
    out[:] = 1
    return out


def measure(n_threads: int = 1, **how) -> Peaks:
    """All limits; `how`: `seconds` of a run and number of `runs`."""
    levels, dtypes = sizes(n_threads), ("float32", "float64")
    return Peaks(
        n_threads, {dtype: flops(dtype, n_threads, **how) for dtype in dtypes},
        {dtype: product(dtype, n_threads, **how) for dtype in dtypes},
        {level: reads(size, n_threads, **how) for level, size in levels.items()},
        {level: rows(size, n_threads, **how) for level, size in levels.items() if level != "L1"})


def table(found: list[Peaks]) -> str:
    """Markdown, a column for each number of threads."""
    heads = [f"{p.threads} thread{'s' * (p.threads > 1)}" for p in found]
    lines = ["| limit | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(found)]

    def row(name: str, pick: Callable[[Peaks], float]) -> None:
        lines.append(f"| {name} | " + " | ".join(f"{pick(p) / 1e9:,.0f}" for p in found) + " |")

    for dtype in found[0].flops:
        row(f"fused multiply-adds, {dtype}, GFLOP/s", lambda p, d=dtype: p.flops[d])
        row(f"NumPy's matrix product, {dtype}, GFLOP/s", lambda p, d=dtype: p.product[d])
    for level in found[0].reads:
        row(f"{level} read in order, GB/s", lambda p, at=level: p.reads[at])
    for level in found[0].rows:
        row(f"{level}, rows of {ROW} bytes at random, GB/s", lambda p, at=level: p.rows[at])
    return "\n".join(lines)
