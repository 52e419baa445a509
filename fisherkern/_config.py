"""What this build is and what it runs on."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import scipy

from ._simd import build_info
from ._validation import available_threads
from ._version import __version__


def config() -> dict[str, Any]:
    """Versions, instruction set of the kernels, OpenMP, and the threads used by default."""
    build = build_info()
    return {
        "fisherkern": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "platform": platform.platform(),
        "isa": build["isa"],
        "openmp": build["openmp"],
        "threads": available_threads() if build["openmp"] else 1,
    }


def show_config() -> None:
    """Print `config`, one line each."""
    for name, value in config().items():
        print(f"{name:<12}{value}")
