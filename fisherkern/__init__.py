"""Natural-gradient training of sparse networks on CPUs."""

from .io import load
from .network import Network

__version__ = "0.1.0"
__all__ = ["Network", "__version__", "load"]
