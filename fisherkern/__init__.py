"""Natural-gradient training of sparse networks on CPUs.

`Network` defines a sparse directed acyclic graph of units; `optimizers` turn a batch into a
direction; `train` runs the compiled loop; `metric` gives the matrices themselves.
"""

from importlib import import_module
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
    "TableModel", "__version__", "config", "load", "metric", "optimizers", "show_config", "train",
]
# whose modules import scikit-learn, which is optional and slow to import
_LAZY = {"SparseNetClassifier": "estimators", "SparseNetRegressor": "estimators",
         "TableModel": "table_model"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
