"""Natural-gradient training of sparse networks on CPUs.

`Network` defines a sparse directed acyclic graph of units; `optimizers` turn a batch into a
direction; `train` runs the compiled loop; `metric` gives the matrices themselves.
"""

from typing import Any

from . import optimizers
from ._config import config, show_config
from ._version import __version__
from .callbacks import EarlyStopping, Event
from .history import History
from .io import load
from .metrics import metric
from .network import Network
from .training import train

__all__ = [
    "EarlyStopping", "Event", "History", "Network", "SparseNetClassifier", "SparseNetRegressor",
    "__version__", "config", "load", "metric", "optimizers", "show_config", "train",
]


def __getattr__(name: str) -> Any:
    # scikit-learn is optional, and slow to import
    if name in ("SparseNetClassifier", "SparseNetRegressor"):
        from . import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
