"""`fisherkern train` on scikit-learn's digits, or on the arrays X and y of an .npz file."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import EarlyStopping, Event, History, Network, load, optimizers, train
from ._validation import numeric_array
from .io import safetensors_module, write_atomically
from .recipe import sparse_layers
from .run_folder import CONFIG, MODEL, PICTURE, json_line, new_folder, write_record
from .samples import Samples
from .tables import read_npz

_NEW = {"hidden": [256, 128], "fan_in": 16, "activation": "relu", "dtype": "float32"}
_LOOP = {"epochs": 15, "batch_size": 32}
DEFAULT_OPTIMIZER = "quasi-diagonal-backpropagated-metric-gradient"


def kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


OPTIMIZERS = {kebab(name): cls for name, cls in optimizers.PRESETS.items()}


def chosen_optimizer(arguments: argparse.Namespace) -> optimizers.Optimizer:
    """Of --optimizer and --learning-rate."""
    cls = OPTIMIZERS[arguments.optimizer]
    if not cls.has_metric and arguments.learning_rate is None:
        raise ValueError(f"--optimizer {arguments.optimizer} needs a --learning-rate")
    return cls(learning_rate=arguments.learning_rate)


def train_network(arguments: argparse.Namespace, config: str, folder: Path | None) -> None:
    """Train a network on the digits or an .npz file and leave it and the record in a folder."""
    for name in ("test", "ignore", "text", "missing"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is for tables; name the --target column")
    if arguments.task == "regression":
        raise ValueError("--task regression is for tables; name the --target column")
    if arguments.compare is not None and arguments.model is not None:
        raise ValueError("--compare makes new networks; a --model has its own")
    of_others = arguments.compare is not None and arguments.optimizer is None
    _complete(arguments)
    X, y, labels, name = _data(arguments.data)
    # a rate beside --compare is of what is compared
    optimizer = OPTIMIZERS[DEFAULT_OPTIMIZER]() if of_others else chosen_optimizer(arguments)
    from .plots import curves, figure_class

    # what the results need, before the work that makes them
    safetensors_module()
    figure_class()
    kept, held = _split(arguments, y, labels.size)
    rng = np.random.default_rng(arguments.seed)
    net = _network(arguments, X[kept], labels.size, rng)
    numeric_array(X, f"{name}: X", net.dtype)  # names the row of the whole data
    print(f"{name}: {kept.size} samples to train on, {held.size} held out, {X.shape[1]} raw "
          f"features, {labels.size} classes")
    print(net)
    print(f"{type(optimizer).__name__}, {arguments.epochs} epochs of batches of "
          f"{arguments.batch_size}", flush=True)
    if optimizer.reduction == "full":
        print(f"a full matrix of {net.n_parameters} parameters: a step takes O(parameters^3)",
              flush=True)
    callbacks: list[Any] = [] if sys.stderr.isatty() else [
        _Lines(arguments.epochs, kept.size / arguments.batch_size)]
    if arguments.patience is not None:
        callbacks.append(EarlyStopping(arguments.patience))
    history = train(net, X[kept], y[kept], optimizer, epochs=arguments.epochs,
                    batch_size=arguments.batch_size, validation=(X[held], y[held]),
                    callbacks=callbacks, rng=rng, n_threads=arguments.threads)
    result = _result(arguments, net, history, X[held], y[held])
    folder = folder or new_folder(name)
    record = {"result": result | {"labels": labels.tolist()}, "history": history.to_dict()}
    net.save(folder / MODEL)
    write_record(folder, record)
    curves(history).savefig(folder / PICTURE, dpi=150)
    write_atomically(folder / CONFIG, config.encode())
    _report(result, folder, history)
    if arguments.compare is not None:
        from .compare import Split, run_comparison

        result["comparison"] = run_comparison(
            arguments, Split(X[kept], y[kept], X[held], y[held]), result, folder,
            hidden_layer_sizes=arguments.hidden, fan_in=arguments.fan_in,
            activation=arguments.activation, batch_size=arguments.batch_size,
            n_threads=arguments.threads)
        write_record(folder, {**record, "result": record["result"] | result})
    if arguments.json:
        print(json_line(result | {"folder": str(folder)}))


def _complete(arguments: argparse.Namespace) -> None:
    """Defaults of the options that describe a new network, which a saved one must come without."""
    for name, default in _NEW.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
        elif arguments.model is not None:
            raise ValueError(f"--{name.replace('_', '-')} describes a new network; "
                             f"{arguments.model!r} has its own")
    for name, default in (_LOOP | {"optimizer": DEFAULT_OPTIMIZER}).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)


class _Lines:
    """Progress where there is no terminal for a bar: some ten lines."""

    on_validation = True

    def __init__(self, epochs: int, steps_per_epoch: float) -> None:
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._said = 0

    def __call__(self, event: Event) -> None:
        epoch = min(self._epochs, round(event.step / self._steps_per_epoch))
        if epoch > self._said and epoch % -(-self._epochs // 10) == 0:
            self._said = epoch
            print(f"epoch {epoch}: batch loss {event.loss:.4g}, held-out loss "
                  f"{event.validation:.4g}", flush=True)


def _data(path: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Features, class indices, the label of each class, and the data's name."""
    if path is None:
        from .estimators import load_digits

        X, y = load_digits()
        return X, y, np.unique(y), "digits"
    arrays = read_npz(path, ("X", "y"))
    for name in ("X", "y"):
        if name not in arrays:
            raise ValueError(f"{path!r} holds no array {name!r}")
    X = numeric_array(arrays["X"], f"{path}: X", np.float64)
    y = arrays["y"]
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"{path}: X must have shape (n_samples, n_features); got {X.shape}")
    if y.shape != X.shape[:1]:
        raise ValueError(f"{path}: y must have shape ({X.shape[0]},); got {y.shape}")
    if y.dtype.kind not in "biuU":
        raise TypeError(f"{path}: y must hold class labels (integers or text); got {y.dtype}")
    labels, classes, counts = np.unique(y, return_inverse=True, return_counts=True)
    if labels.size < 2 or counts.min() < 2:
        raise ValueError(f"{path}: y must have at least two classes of two samples; "
                         f"{labels[counts.argmin()].item()!r} has {counts.min()}")
    return X, classes, labels, Path(path).stem


def _split(arguments: argparse.Namespace, y: np.ndarray,
           n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, both with every class."""
    from .estimators import stratified_split

    n_held = math.ceil(arguments.test_share * y.size)
    n_kept = y.size - n_held
    if min(n_held, n_kept) < n_classes:
        raise ValueError(f"--test-share {arguments.test_share:g} holds out {n_held} of {y.size} "
                         f"samples; {n_classes} classes need as many on either side")
    if arguments.batch_size > n_kept:
        raise ValueError(f"--batch-size must be at most the {n_kept} samples to train on; got "
                         f"{arguments.batch_size}")
    return stratified_split(y, arguments.test_share, arguments.seed)


def _network(arguments: argparse.Namespace, X: np.ndarray, n_classes: int,
             rng: np.random.Generator) -> Network:
    """A new layered network scaled to the data, or the saved one."""
    if arguments.model is not None:
        net = load(arguments.model)
        if (net.n_inputs, net.n_outputs) != (X.shape[1], n_classes):
            raise ValueError(f"{arguments.model!r} has {net.n_inputs} inputs and {net.n_outputs} "
                             f"outputs; the data has {X.shape[1]} features and {n_classes} classes")
        if net.interpretation not in ("softmax", "spherical"):
            raise ValueError(f"{arguments.model!r} has {net.interpretation} outputs; classes need "
                             "softmax or spherical ones")
        return net
    net = sparse_layers(X.shape[1], arguments.hidden, arguments.fan_in, n_classes,
                        arguments.activation, "softmax", rng, arguments.dtype)
    return net.initialize("data", rng=rng, X=X)


def _result(arguments: argparse.Namespace, net: Network, history: History, X: np.ndarray,
            y: np.ndarray) -> dict[str, Any]:
    seconds = float(history.seconds[-1])
    return {
        "accuracy": Samples(X.astype(net.dtype), y, None).accuracy(net, arguments.threads),
        "loss": net.loss(X, y, n_threads=arguments.threads),
        "seconds": seconds,
        "steps": len(history),
        "steps_per_second": len(history) / seconds,
        "optimizer": arguments.optimizer,
        "seed": arguments.seed,
        "n_edges": net.n_edges,
        "stopped": history.stopped,
    }


def _report(result: dict[str, Any], folder: Path, history: History) -> None:
    if history.stopped is not None:
        print(f"stopped early ({history.stopped}) after {result['steps']} steps")
    print(f"held-out accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f} nats; "
          f"{result['steps']} steps in {result['seconds']:.2f} s "
          f"({result['steps_per_second']:.0f} steps/s)")
    print(f"model, loss curves and record: {folder}", flush=True)
