"""`fisherkern train FILE --target COLUMN`, `fisherkern predict` and `fisherkern evaluate`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .io import safetensors_module, write_atomically
from .optimizers import Optimizer
from .plots import (
    calibration_curve,
    confusion_matrix,
    curves,
    figure_class,
    network,
    predicted_against_true,
)
from .recipe import held_out
from .run_folder import (
    CONFIG,
    HELD_OUT,
    MODEL,
    NETWORK,
    PICTURE,
    json_line,
    new_folder,
    write_record,
)
from .scoring import scores, shown
from .svmlight import SUFFIXES as SVMLIGHT
from .svmlight import TARGET
from .tables import (
    MISSING,
    check_columns,
    check_table_target,
    encode,
    finite_numbers,
    guess_task,
    known_labels,
    labels_of,
    read_table,
    target_values,
    write_table,
)


def train_table(arguments: argparse.Namespace, optimizer: Optimizer | None, config: str,
                folder: Path | None) -> None:
    """Fit a model to a table and leave it, the record and the loss curves in a folder."""
    if arguments.target is None and Path(arguments.data).suffix.lower() in SVMLIGHT:
        arguments.target = TARGET
    if arguments.target is None:
        raise ValueError(f"name the column of {arguments.data!r} to predict by --target")
    if arguments.data is None:
        raise ValueError("--target is a column of a table; name its file")
    for name in ("model", "patience", "dtype"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is not for tables")
    from .table_model import TableModel

    # what the results need, before the work that makes them
    safetensors_module()
    figure_class()
    path = Path(arguments.data)
    if arguments.learning_rate is not None and optimizer is None and arguments.compare is None:
        raise ValueError("--learning-rate is of an --optimizer; the default one has none")
    missing = MISSING if arguments.missing is None else arguments.missing
    if not missing:
        raise ValueError("--missing names no text")
    frame = read_table(path, missing)
    target = target_values(frame, arguments.target, path)
    task = guess_task(target, path) if arguments.task == "auto" else arguments.task
    kept, held, held_path = _parts(arguments, frame, path, task, missing)
    del frame, target  # large
    _check_held(arguments, kept, held, held_path, task)
    said = " (guessed)" if arguments.task == "auto" else ""
    print(f"{path.name}: {len(kept)} rows to train on, {len(held)} held out; "
          f"{task}{said} of {arguments.target!r}", flush=True)
    start = time.perf_counter()
    model = TableModel.learn(
        kept, arguments.target, path, task=task, ignore=arguments.ignore or (),
        text=arguments.text or (), missing=missing, **_options(arguments, optimizer))
    X_held = encode(model.columns, held, held_path)  # before the work: it may have faults
    model.fit_rows(kept, path)
    seconds = time.perf_counter() - start
    print(model)
    print(_columns_shown(model), flush=True)
    y_held = model.targets(held, held_path)
    result = scores(model.estimator, X_held, y_held) | {
        "seconds": seconds, "steps": model.estimator.n_steps_, "task": task,
        "rows": len(kept), "held_out": len(held), "seed": arguments.seed}
    print(f"held out: {shown(result)}; {result['steps']} steps of each of "
          f"{len(model.estimator.networks_)} networks, {seconds:.2f} s in all", flush=True)
    folder = folder or new_folder(path.stem)
    record = {"result": result,
              "histories": [history.to_dict() for history in model.estimator.histories_]}
    _leave(model, record, config, folder, X_held, y_held)
    if arguments.compare is not None:
        from .compare import Split, run_comparison

        split = Split(encode(model.columns, kept, path), model.targets(kept, path), X_held, y_held)
        given = _sizes(arguments) | {"n_threads": arguments.threads}
        result["comparison"] = run_comparison(arguments, split, result, folder, **given)
        write_record(folder, record)
    if arguments.json:
        print(json_line(result | {"folder": str(folder)}))


def _leave(model: Any, record: dict[str, Any], config: str, folder: Path, X: Any,
           y: np.ndarray) -> None:
    """The files of a run; the model first. X and y were held out."""
    estimator = model.estimator
    model.save(folder / MODEL)
    write_record(folder, record)
    write_atomically(folder / CONFIG, config.encode())
    curves(estimator.histories_[0]).savefig(folder / PICTURE, dpi=150)
    network(estimator.networks_[0]).savefig(folder / NETWORK, dpi=150)
    _picture(estimator, X, y).savefig(folder / HELD_OUT, dpi=150)
    print(f"model, loss curves and record: {folder}", flush=True)


def _picture(estimator: Any, X: Any, y: np.ndarray) -> Any:
    """How the model does on the rows held out."""
    figure = figure_class()(figsize=(9, 4.2), layout="constrained")
    if not hasattr(estimator, "classes_"):
        predicted_against_true(y, estimator.predict(X), figure.subplots())
        return figure
    left, right = figure.subplots(1, 2)
    probabilities = estimator.predict_proba(X)
    told = estimator.classes_[probabilities.argmax(axis=1)]
    confusion_matrix(y, told, left)
    calibration_curve(told == y, probabilities.max(axis=1), right)
    return figure


def _parts(arguments: argparse.Namespace, frame: Any, path: Path, task: str,
           missing: Iterable[str]) -> tuple:
    """Rows to train on, rows held out, and the file that the latter are from."""
    if arguments.test is not None:
        return frame, read_table(arguments.test, missing), Path(arguments.test)
    strata = np.zeros(len(frame), int)
    if task == "classification":
        labels, strata = np.unique(labels_of(frame[arguments.target]), return_inverse=True)
        where = f"{str(path)!r}, column {arguments.target!r}"
        if labels.size == 1:
            raise ValueError(f"{where}: all labels are {labels.tolist()[0]!r}; a classifier needs "
                             "two")
        if labels.size == len(frame):
            raise ValueError(f"{where}: all of the {labels.size} labels are different, so none "
                             "can be learned")
    held = held_out(strata, arguments.test_share, np.random.default_rng(arguments.seed))
    if task == "classification":  # a label that nothing is learned of says nothing
        left = np.bincount(strata[~held], minlength=strata.max() + 1)
        held &= left[strata] > 0
    if not 0 < held.sum() < len(frame):
        raise ValueError(f"--test-share {arguments.test_share:g} holds out {held.sum()} of "
                         f"{len(frame)} rows")
    return frame[~held], frame[held], path


def _check_held(arguments: argparse.Namespace, kept: Any, held: Any, path: Path,
                task: str) -> None:
    """What the score will need, before the work."""
    ignored = arguments.ignore or ()
    check_columns((name for name in kept.columns if name not in ignored), held, path)
    target = target_values(held, arguments.target, path)
    if task == "classification":
        known_labels(target, np.unique(labels_of(kept[arguments.target])), path)
    else:
        finite_numbers(target, path)


def _sizes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of the networks and batches, where they are given."""
    given = {"hidden_layer_sizes": arguments.hidden, "fan_in": arguments.fan_in,
             "activation": arguments.activation, "batch_size": arguments.batch_size}
    return {name: value for name, value in given.items() if value is not None}


def _options(arguments: argparse.Namespace, optimizer: Optimizer | None) -> dict[str, Any]:
    """Of the estimator."""
    given = {"optimizer": optimizer, "max_epochs": arguments.epochs}
    return _sizes(arguments) | {
        name: value for name, value in given.items() if value is not None} | {
        "random_state": arguments.seed, "n_threads": arguments.threads,
        "verbose": sys.stderr.isatty()}


def _columns_shown(model: Any) -> str:
    """What the columns were taken for."""
    parts = [f"{kind}: {len(names)} ({', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"
             for kind, names in (
                 (kind, [c.name for c in model.columns if chosen(c)]) for kind, chosen in (
                     ("numbers", lambda c: c.kind == "numbers"),
                     ("texts", lambda c: c.kind == "texts"),
                     ("numbered features", lambda c: c.kind == "numbered features"),
                     ("with missing values", lambda c: c.missing))) if names]
    return "columns of " + "; ".join(parts)


def read_model(path: str) -> Any:
    """The model of tables in a file."""
    from .table_model import TableModel

    return TableModel.load(path)


def predict_table(arguments: argparse.Namespace) -> None:
    """Write a table of predictions."""
    model = read_model(arguments.model)
    if arguments.out is not None:
        check_table_target(arguments.out)
        for name in (arguments.data, arguments.model):
            if Path(arguments.out).resolve() == Path(name).resolve():
                raise ValueError(f"--out: {arguments.out!r} is what it is made from")
    predicted = model.predict(read_table(arguments.data, model.missing), Path(arguments.data))
    if arguments.out is not None:
        write_table(predicted, arguments.out)
    if arguments.json:
        predicted.to_json(sys.stdout, orient="records", lines=True, double_precision=15,
                          force_ascii=False)
    elif arguments.out is None:
        predicted.to_csv(sys.stdout, index=False)


def evaluate_table(arguments: argparse.Namespace) -> None:
    """Print the scores on a table that has the target."""
    model = read_model(arguments.model)
    frame = read_table(arguments.data, model.missing)
    result = model.evaluate(frame, Path(arguments.data))
    if arguments.json:
        print(json_line(result | {"rows": len(frame)}))
    else:
        print(f"{Path(arguments.data).name}, {len(frame)} rows: {shown(result)}")
