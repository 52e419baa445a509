"""Names and lengths of the measurements, and what their figures depend on."""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import fisherkern as fk

NAMES = {
    "W1": "100-30-10-30-100 autoencoder, 1,300 edges, 16 samples, float64",
    "W2": "784-1000-1000-10, fan-in 30, 60,300 edges, 128 samples, float32",
    "W3": "8 layers of 8192, fan-in 16, 918,528 edges, 64 samples, float32",
    "W4": "irregular graph, 20,000 units, 159,488 edges, 64 samples, float32",
}
WINDOWS = {"W1": 41, "W2": 41, "W2d": 41, "W3": 15, "W4": 25}
WINDOWED = "a ratio is the median over paired windows, with its 95 % interval"


def conditions(ratios: str = WINDOWED) -> str:
    """What the figures depend on and what their ratios are, in one line."""
    info = fk.config()
    versions = ", ".join(f"{name} {info[name]}" for name in ("fisherkern", "numpy", "scipy"))
    return (f"{processor()}, {os.cpu_count()} processors, {platform.system()}, kernels for "
            f"{info['isa']}, Python {info['python']}, {versions}. "
            f"Medians; {ratios}.")


def cases(names: Iterable[str], most_threads: int) -> list[tuple[str, int]]:
    """Workloads and threads; a step of W1 is too short for two."""
    return [(name, n) for name in names for n in range(1, most_threads + 1)
            if (name, n) != ("W1", 2)]


def processor() -> str:
    """Model name and numbers where the system tells them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    if "model name" not in found:
        return platform.machine()
    return (f"{found['model name'].strip()} (family {found.get('cpu family', 'unknown')}, "
            f"model {found.get('model', 'unknown')})")


def program(name: str, description: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
