"""The door to scikit-learn: its data sets and splits. The only module that imports it."""

from __future__ import annotations

from typing import Any

import numpy as np


def _sklearn(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"sklearn.{name}")
    except ImportError:
        raise ImportError("this needs scikit-learn: pip install 'fisherkern[data]'") from None


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 64) raw pixels 0 to 16 of handwritten digits, and their (1797,) classes."""
    return _sklearn("datasets").load_digits(return_X_y=True)


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the training and held-out samples, every class in proportion."""
    return _sklearn("model_selection").train_test_split(
        np.arange(labels.size), test_size=share, stratify=labels, random_state=seed)
