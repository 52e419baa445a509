"""The command line: `fisherkern train` and `fisherkern info`."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from . import EarlyStopping, Event, History, Network, load, optimizers, show_config, train
from ._validation import numeric_array, positive_integer
from .io import safetensors_module, write_atomically

_USAGE_ERROR = 2


class _Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: error: {message}\n")


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


_OPTIMIZERS = {_kebab(name): cls for name, cls in optimizers.PRESETS.items()}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code (2: bad input, said in one line)."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except KeyboardInterrupt:
        print("fisherkern: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        print("fisherkern: error:", " ".join(str(error).split()), file=sys.stderr)
        return _USAGE_ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fisherkern", description="Natural-gradient training of sparse networks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    info = commands.add_parser("info", help="versions, kernels and threads of this installation")
    info.add_argument("model", nargs="?", help="describe this model file instead")
    info.set_defaults(command=_info)
    run = commands.add_parser(
        "train", help="train a sparse classifier",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Train a sparse classifier, by default on scikit-learn's handwritten digits, "
                    "on raw features and with no learning rate to choose.")
    run.set_defaults(command=_train)
    add = run.add_argument
    add("data", nargs="?", help=".npz file with X (n_samples, n_features) and class labels y")
    add("--hidden", type=int, nargs="*", default=[256, 128], metavar="N", help="hidden layer sizes")
    add("--fan-in", type=int, default=16, help="random sources of each hidden unit")
    add("--activation", default="relu", help="of the hidden units")
    add("--model", help="start from this saved network instead of a new one")
    add("--optimizer", default="quasi-diagonal-backpropagated-metric-gradient",
        help=", ".join(_OPTIMIZERS))
    add("--learning-rate", type=float, help="needed by the optimizers without a metric")
    add("--epochs", type=int, default=40)
    add("--batch-size", type=int, default=32)
    add("--patience", type=int, help="stop after this many epochs without a better held-out loss")
    add("--test-share", type=float, default=0.25, help="share of the samples held out")
    add("--seed", type=int, default=0, help="of the split, the network and the batches")
    add("--threads", type=int, help="default: all cores; never changes the result")
    add("--dtype", default="float32")
    add("--out", help="folder of the results; default: a new one in fisherkern-runs")
    add("--json", action="store_true", help="end with one line of JSON on standard output")
    return parser


def _info(arguments: argparse.Namespace) -> None:
    if arguments.model is None:
        show_config()
    else:
        print(load(arguments.model))


def _train(arguments: argparse.Namespace) -> None:
    X, y, labels, name = _data(arguments.data)
    optimizer = _optimizer(arguments)
    if arguments.seed < 0:
        raise ValueError(f"--seed must be at least 0; got {arguments.seed}")
    if not 0 < arguments.test_share < 1:
        raise ValueError(f"--test-share must be between 0 and 1; got {arguments.test_share}")
    from .estimators import stratified_split
    from .plots import figure_class

    # what the results need, before the work that makes them
    safetensors_module()
    figure_class()
    positive_integer(arguments.batch_size, "--batch-size")
    positive_integer(arguments.epochs, "--epochs")

    kept, held = stratified_split(y, arguments.test_share, arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    net = _network(arguments, X[kept], labels.size, rng)
    print(f"{name}: {kept.size} samples to train on, {held.size} held out, {X.shape[1]} raw "
          f"features, {labels.size} classes")
    print(net)
    print(f"{type(optimizer).__name__}, {arguments.epochs} epochs of batches of "
          f"{arguments.batch_size}", flush=True)
    callbacks: list[Any] = [] if sys.stderr.isatty() else [
        _Lines(arguments.epochs, kept.size / arguments.batch_size)]
    if arguments.patience is not None:
        callbacks.append(EarlyStopping(positive_integer(arguments.patience, "--patience")))
    folder = None if arguments.out is None else _folder(arguments.out, name)
    history = train(net, X[kept], y[kept], optimizer, epochs=arguments.epochs,
                    batch_size=arguments.batch_size, validation=(X[held], y[held]),
                    callbacks=callbacks, rng=rng, n_threads=arguments.threads)
    result = _result(arguments, net, history, X[held], y[held])
    folder = folder or _folder(None, name)
    _save(folder, net, history, result | {"labels": labels.tolist()})
    _report(result, folder, history)
    if arguments.json:
        print(json.dumps(result | {"folder": str(folder)}))


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
    if not Path(path).is_file():
        raise FileNotFoundError(f"no data file {path!r}")
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("X", "y") if name in file}
    except (ValueError, OSError, EOFError, AttributeError, TypeError, zlib.error,
            zipfile.BadZipFile) as error:
        raise ValueError(f"{path!r} is truncated or no .npz file: {error}") from None
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
                         f"{labels[counts.argmin()]!r} has {counts.min()}")
    return X, classes, labels, Path(path).stem


def _optimizer(arguments: argparse.Namespace) -> optimizers.Optimizer:
    cls = _OPTIMIZERS.get(_kebab(arguments.optimizer))
    if cls is None:
        raise ValueError(f"unknown optimizer {arguments.optimizer!r}; "
                         f"known: {', '.join(_OPTIMIZERS)}")
    return cls(learning_rate=arguments.learning_rate)


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
    hidden = [positive_integer(size, "--hidden") for size in arguments.hidden]
    sizes = [X.shape[1], *hidden, n_classes]
    fan_in = [positive_integer(arguments.fan_in, "--fan-in")] * len(hidden) + [sizes[-2]]
    net = Network.layered(
        sizes, fan_in=fan_in, interpretation="softmax", dtype=arguments.dtype, rng=rng,
        activation=[arguments.activation] * sum(hidden) + ["identity"] * n_classes)
    return net.initialize("data", rng=rng, X=X)


def _result(arguments: argparse.Namespace, net: Network, history: History, X: np.ndarray,
            y: np.ndarray) -> dict[str, Any]:
    predicted = net.forward(X, n_threads=arguments.threads).argmax(axis=1)
    seconds = float(history.seconds[-1])
    return {
        "accuracy": float(np.mean(predicted == y)),
        "loss": net.loss(X, y, n_threads=arguments.threads),
        "seconds": seconds,
        "steps": len(history),
        "steps_per_second": len(history) / seconds,
        "optimizer": _kebab(arguments.optimizer),
        "seed": arguments.seed,
        "n_edges": net.n_edges,
        "stopped": history.stopped,
    }


def _folder(out: str | None, name: str) -> Path:
    """The folder of the results, made if need be; without --out, one that was not there."""
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    stem = Path("fisherkern-runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(1000):
        folder = stem if attempt == 0 else stem.with_name(f"{stem.name}-{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{stem} and its thousand successors exist")


def _save(folder: Path, net: Network, history: History, result: dict[str, Any]) -> None:
    net.save(folder / "model.safetensors")
    record = json.dumps({"result": result, "history": history.to_dict()})
    write_atomically(folder / "run.json", record.encode())
    history.plot().figure.savefig(folder / "loss.png", dpi=150)


def _report(result: dict[str, Any], folder: Path, history: History) -> None:
    if history.stopped is not None:
        print(f"stopped early ({history.stopped}) after {result['steps']} steps")
    print(f"held-out accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f} nats; "
          f"{result['steps']} steps in {result['seconds']:.2f} s "
          f"({result['steps_per_second']:.0f} steps/s)")
    print(f"model, loss curves and record: {folder}", flush=True)
