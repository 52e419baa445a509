"""`fisherkern train FILE --target COLUMN`, `fisherkern predict` and `fisherkern evaluate`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .io import safetensors_module, write_atomically
from .optimizers import Optimizer
from .plots import (
    calibration_curve,
    confusion_matrix,
    figure_class,
    network,
    predicted_against_true,
)
from .run_folder import (
    CONFIG,
    HELD_OUT,
    MODEL,
    NETWORK,
    PICTURE,
    RECORD,
    given_folder,
    new_folder,
)
from .tables import read_table, write_table

_SCORES = {"accuracy": "accuracy", "loss": "loss (nats)", "r2": "R^2", "rmse": "root mean square "
           "error"}


def train_table(arguments: argparse.Namespace, optimizer: Optimizer | None,
                config: str) -> None:
    """Fit a model to a table and leave it, the record and the loss curves in a folder."""
    if arguments.target is None:
        raise ValueError(f"name the column of {arguments.data!r} to predict by --target")
    if arguments.data is None:
        raise ValueError("--target is a column of a table; name its file")
    for name in ("model", "patience", "dtype"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is not for tables")
    from .table_model import TableModel, guess_task, target_values

    # what the results need, before the work that makes them
    safetensors_module()
    figure_class()
    path = Path(arguments.data)
    frame = read_table(path)
    target = target_values(frame, arguments.target, path)
    task = guess_task(target) if arguments.task == "auto" else arguments.task
    kept, held, held_path = _parts(arguments, frame, path, task)
    folder = None if arguments.out is None else given_folder(arguments.out)
    said = " (guessed)" if arguments.task == "auto" else ""
    print(f"{path.name}: {len(kept)} rows to train on, {len(held)} held out; "
          f"{task}{said} of {arguments.target!r}", flush=True)
    start = time.perf_counter()
    model = TableModel.fit(kept, arguments.target, path, task=task, ignore=arguments.ignore or (),
                           text=arguments.text or (), **_options(arguments, optimizer))
    seconds = time.perf_counter() - start
    print(model)
    result = model.evaluate(held, held_path) | {
        "seconds": seconds, "steps": model.estimator.n_steps_, "task": task,
        "rows": len(kept), "held_out": len(held), "seed": arguments.seed}
    folder = folder or new_folder(path.stem)
    model.save(folder / MODEL)
    record = {"result": result,
              "histories": [history.to_dict() for history in model.estimator.histories_]}
    write_atomically(folder / RECORD, json.dumps(record).encode())
    write_atomically(folder / CONFIG, config.encode())
    model.estimator.histories_[0].plot().figure.savefig(folder / PICTURE, dpi=150)
    network(model.estimator.networks_[0]).savefig(folder / NETWORK, dpi=150)
    _picture(model, held, held_path).savefig(folder / HELD_OUT, dpi=150)
    print(f"held out: {_shown(result)}; {result['steps']} steps of each of "
          f"{len(model.estimator.networks_)} networks, {seconds:.2f} s in all")
    print(f"model, loss curves and record: {folder}", flush=True)
    if arguments.json:
        print(json.dumps(result | {"folder": str(folder)}))


def _picture(model: Any, held: Any, path: Path) -> Any:
    """How the model does on the rows held out."""
    figure = figure_class()(figsize=(9, 4.2), layout="constrained")
    true, predicted = model.targets(held, path), model.predict(held, path)
    if model.task == "regression":
        predicted_against_true(true, predicted[model.target].to_numpy(), figure.subplots())
        return figure
    left, right = figure.subplots(1, 2)
    told = predicted[model.target].to_numpy()
    confusion_matrix(true, told, left)
    calibration_curve(told == true, predicted.iloc[:, 1:].max(axis=1).to_numpy(), right)
    return figure


def _parts(arguments: argparse.Namespace, frame: Any, path: Path, task: str) -> tuple:
    """Rows to train on, rows held out, and the file that the latter are from."""
    if arguments.test is not None:
        return frame, read_table(arguments.test), Path(arguments.test)
    rng = np.random.default_rng(arguments.seed)
    order = rng.permutation(len(frame))
    if task == "classification":  # every label in proportion
        labels = np.unique(frame[arguments.target].to_numpy(dtype=str), return_inverse=True)[1]
        order = order[np.argsort(labels[order], kind="stable")]
    places = np.arange(len(frame))
    share = arguments.test_share
    held = np.floor((places + 0.5) * share + 0.5) > np.floor((places - 0.5) * share + 0.5)
    if not 0 < held.sum() < len(frame):
        raise ValueError(f"--test-share {share:g} holds out {held.sum()} of {len(frame)} rows")
    return frame.iloc[np.sort(order[~held])], frame.iloc[np.sort(order[held])], path


def _options(arguments: argparse.Namespace, optimizer: Optimizer | None) -> dict[str, Any]:
    """Of the estimator."""
    given = {"hidden_layer_sizes": arguments.hidden, "fan_in": arguments.fan_in,
             "activation": arguments.activation, "optimizer": optimizer,
             "max_epochs": arguments.epochs, "batch_size": arguments.batch_size}
    return {name: value for name, value in given.items() if value is not None} | {
        "random_state": arguments.seed, "n_threads": arguments.threads,
        "verbose": sys.stderr.isatty()}


def _shown(scores: dict[str, Any]) -> str:
    return ", ".join(f"{title} {scores[name]:.4g}" for name, title in _SCORES.items()
                     if name in scores)


def read_model(path: str) -> Any:
    """The model of tables in a file."""
    from .table_model import TableModel

    return TableModel.load(path)


def predict_table(arguments: argparse.Namespace) -> None:
    """Write a table of predictions."""
    model = read_model(arguments.model)
    predicted = model.predict(read_table(arguments.data), Path(arguments.data))
    if arguments.out is None:
        predicted.to_csv(sys.stdout, index=False)
    else:
        write_table(predicted, arguments.out)


def evaluate_table(arguments: argparse.Namespace) -> None:
    """Print the scores on a table that has the target."""
    model = read_model(arguments.model)
    frame = read_table(arguments.data)
    scores = model.evaluate(frame, Path(arguments.data))
    if arguments.json:
        print(json.dumps(scores | {"rows": len(frame)}))
    else:
        print(f"{Path(arguments.data).name}, {len(frame)} rows: {_shown(scores)}")
