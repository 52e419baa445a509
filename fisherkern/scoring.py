"""How well a fitted estimator does on samples, scikit-learn's included."""

from __future__ import annotations

from typing import Any

import numpy as np

from .preprocessing import deviations, moments

TITLES = {"accuracy": "accuracy", "loss": "loss (nats)", "r2": "R^2",
          "rmse": "root mean square error"}


def scores(estimator: Any, X: Any, y: np.ndarray) -> dict[str, float]:
    """Accuracy and mean loss in nats, or R^2 and root mean square error.

    R^2 is not a number where all targets are equal.
    """
    if not hasattr(estimator, "predict_log_proba"):
        predicted, y = np.asarray(estimator.predict(X), float)[:, None], y[:, None]
        _, (spread,) = moments(y, None)
        (rmse,) = deviations(predicted - y, np.zeros(1), None)
        r2 = 1 - (rmse / spread)**2 if spread > 0 else np.nan
        return {"r2": float(r2), "rmse": float(rmse)}
    log_p = estimator.predict_log_proba(X)
    right = np.searchsorted(estimator.classes_, y)
    return {"accuracy": float(np.mean(log_p.argmax(axis=1) == right)),
            "loss": float(-np.mean(log_p[np.arange(y.size), right]))}


def shown(values: dict[str, Any]) -> str:
    """The scores among some values, in words."""
    return ", ".join(f"{title} {values[name]:.4g}" for name, title in TITLES.items()
                     if name in values)
