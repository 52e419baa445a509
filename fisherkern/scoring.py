"""How well a fitted estimator does on samples, scikit-learn's included."""

from __future__ import annotations

from typing import Any

import numpy as np

TITLES = {"accuracy": "accuracy", "loss": "loss (nats)", "r2": "R^2",
          "rmse": "root mean square error"}


def scores(estimator: Any, X: Any, y: np.ndarray) -> dict[str, float]:
    """Accuracy and mean loss in nats, or R^2 and root mean square error.

    R^2 is not a number where all targets are equal.
    """
    if not hasattr(estimator, "predict_log_proba"):
        predicted, unit = estimator.predict(X), float(np.abs(y).max()) or 1.0
        error, y = predicted / unit - y / unit, y / unit  # squares stay numbers
        spread = float(np.square(y - y.mean()).sum())
        r2 = 1 - float(np.square(error).sum()) / spread if spread > 0 else float("nan")
        return {"r2": r2, "rmse": unit * float(np.sqrt(np.square(error).mean()))}
    log_p = estimator.predict_log_proba(X)
    right = np.searchsorted(estimator.classes_, y)
    return {"accuracy": float(np.mean(log_p.argmax(axis=1) == right)),
            "loss": float(-np.mean(log_p[np.arange(y.size), right]))}


def shown(values: dict[str, Any]) -> str:
    """The scores among some values, in words."""
    return ", ".join(f"{title} {values[name]:.4g}" for name, title in TITLES.items()
                     if name in values)
