"""The command line: `fisherkern train`, `predict`, `evaluate`, `info` and `reproduce`."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from . import EarlyStopping, Event, History, Network, load, optimizers, show_config, train
from ._validation import available_threads, finite_number, numeric_array
from .interpretations import ACTIVATIONS
from .io import TABLE_FORMAT, kind_of, safetensors_module, write_atomically
from .recipe import sparse_layers
from .run_config import read_config, to_toml
from .run_folder import CONFIG, MODEL, PICTURE, RECORD, given_folder, new_folder
from .table_commands import evaluate_table, predict_table, read_model, train_table
from .tables import MISSING, SUFFIXES, read_npz

_USAGE_ERROR = 2
_MOST = 2**31 - 1
_NEW = {"hidden": [256, 128], "fan_in": 16, "activation": "relu", "dtype": "float32"}
_LOOP = {"epochs": 15, "batch_size": 32}
_DEFAULT_OPTIMIZER = "quasi-diagonal-backpropagated-metric-gradient"


class _Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: error: {message}\n")


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def _integer(least: int) -> Callable[[str], int]:
    """Type of an option: an integer from `least` up."""
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be an integer; got {text!r}") from None
        if not least <= number <= _MOST:
            bound = f"least {least}" if number < least else f"most {_MOST}"
            raise argparse.ArgumentTypeError(f"must be at {bound}; got {number}")
        return number

    return parse


def _number(**bounds: float) -> Callable[[str], float]:
    """Type of an option: a finite number within the bounds of `finite_number`."""
    def parse(text: str) -> float:
        try:
            return finite_number(float(text), "it", **bounds)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return parse


_OPTIMIZERS = {_kebab(name): cls for name, cls in optimizers.PRESETS.items()}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code (2: bad input, said in one line)."""
    parser, train_parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        if getattr(arguments, "config", None) is not None:
            line = read_config(arguments.config, vars(arguments))
            given = vars(train_parser.parse_args(line))
            train_parser.set_defaults(**given)  # what the command line says comes before that
            arguments = parser.parse_args(argv)
        arguments.command(arguments)
    except KeyboardInterrupt:
        print("fisherkern: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print("fisherkern: error:", message, file=sys.stderr)
        return _USAGE_ERROR
    return 0


def _parser() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """All commands, and that of training."""
    parser = _Parser(prog="fisherkern", description="Natural-gradient training of sparse networks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    info = commands.add_parser("info", help="versions, kernels and threads of this installation")
    info.add_argument("model", nargs="?", help="describe this model file instead")
    info.set_defaults(command=_info)
    _add_reproduce(commands)
    for name, action, text in (("predict", predict_table, "predictions for the rows of a table"),
                               ("evaluate", evaluate_table, "the score of a model on a table")):
        use = commands.add_parser(name, help=text, description=f"Give {text}.")
        use.add_argument("model", help="file that `fisherkern train FILE --target COLUMN` wrote")
        use.add_argument("data", metavar="FILE", help=f"table: {', '.join((*SUFFIXES, '.npz'))}")
        if name == "predict":
            use.add_argument("--out", metavar="FILE",
                             help=".csv, .tsv or .parquet (default: CSV on standard output)")
        else:
            use.add_argument("--json", action="store_true", help="one line of JSON")
        use.set_defaults(command=action)
    run = commands.add_parser(
        "train", help="train sparse networks",
        description="Train a sparse classifier, by default on scikit-learn's handwritten digits, "
                    "or with --target a model of a table's column; on raw features and with no "
                    "learning rate to choose. Defaults of sizes, epochs and batches are those of "
                    "a classifier; a table's follow its size.")
    run.set_defaults(command=_train)
    add = run.add_argument
    add("data", nargs="?", metavar="FILE",
        help=f"table ({', '.join(SUFFIXES)} or .npz), with --target; or without it an .npz file "
             "with X (n_samples, n_features) and class labels y")
    add("--target", metavar="COLUMN",
        help="the column of a table to predict (of svmlight files always 'target'); other defaults "
             "then follow the table's size")
    add("--task", choices=("auto", "classification", "regression"), default="auto",
        help="of a table (default: guessed, and said)")
    add("--ignore", nargs="+", metavar="COLUMN", help="of a table, to leave out")
    add("--text", nargs="+", metavar="COLUMN", help="of a table, numbers that are names")
    add("--missing", nargs="+", metavar="TEXT", help="of a .csv or .tsv table, what says that a "
        f"value is missing (default: nothing, {', '.join(MISSING[1:])})")
    add("--test", metavar="FILE", help="table of held-out rows, instead of a share")
    add("--hidden", type=_integer(1), nargs="*", metavar="N",
        help="hidden layer sizes (default: 256 128)")
    add("--fan-in", type=_integer(1), metavar="N",
        help="random sources of each hidden unit (default: 16)")
    add("--activation", choices=ACTIVATIONS, metavar="NAME",
        help=f"of the hidden units: {', '.join(ACTIVATIONS)} (default: relu)")
    add("--model", metavar="FILE", help="start from this saved network instead of a new one")
    add("--optimizer", type=_kebab, choices=_OPTIMIZERS,
        metavar="NAME", help=f"{', '.join(_OPTIMIZERS)} (default: {_DEFAULT_OPTIMIZER})")
    add("--learning-rate", type=_number(above=0), metavar="RATE",
        help="needed by the optimizers without a metric")
    add("--epochs", type=_integer(1), metavar="N", help="(default: 15)")
    add("--batch-size", type=_integer(1), metavar="N", help="(default: 32)")
    add("--patience", type=_integer(1), metavar="N",
        help="stop after this many epochs without a better held-out loss")
    add("--test-share", type=_number(above=0, most=1), default=0.25, metavar="SHARE",
        help="share of the samples held out (default: 0.25)")
    add("--seed", type=_integer(0), default=0, metavar="N",
        help="of the split, the network and the batches (default: 0)")
    add("--threads", type=_integer(1), metavar="N",
        help="never changes the result (default: all cores)")
    add("--dtype", choices=("float32", "float64"),
        help="(default: float32)")
    add("--out", metavar="FOLDER", help="for the results (default: a new one in fisherkern-runs)")
    add("--json", action="store_true", help="end with one line of JSON on standard output")
    add("--config", metavar="FILE",
        help="TOML file of these options, as each run leaves one; what is given beside it wins")
    return parser, run


def _add_reproduce(commands: Any) -> None:
    again = commands.add_parser("reproduce", help="recompute a paper's experiment",
                                description="Recompute the experiment of a paper, its tables and "
                                            "figures beside the printed values.")
    again.set_defaults(command=_reproduce)
    add = again.add_argument
    add("paper", choices=("ollivier",), help="ollivier: Riemannian metrics I, section 4")
    add("--runs", type=_integer(1), metavar="N", help="independent runs (default: 20)")
    add("--quick", action="store_true",
        help="3 runs, a tenth of the iterations, checked against stored intervals")
    add("--methods", nargs="+", type=_kebab, choices=_OPTIMIZERS, metavar="NAME",
        help="optimizers, as `train --help` lists them; backpropagation is always among them "
             "(default: those of the paper's Table 2, Monte Carlo also with 2 draws)")
    add("--links", nargs="+", choices=("parallel", "distinct"), default=["parallel"],
        help="5 links drawn with replacement and kept, or distinct (default: parallel)")
    add("--seed", type=_integer(0), default=0, metavar="N", help="(default: 0)")
    add("--jobs", type=_integer(1), metavar="N",
        help="processes; changes no curve (default: all cores)")
    add("--out", metavar="FOLDER", help="for the results; runs that it holds are not done again "
                                        "(default: fisherkern-runs/ollivier, or "
                                        "ollivier-quick)")


def _reproduce(arguments: argparse.Namespace) -> None:
    from .experiments import ollivier, report, reproduce

    methods = ollivier.METHODS if arguments.methods is None else tuple(
        ollivier.method(_OPTIMIZERS[name].__name__) for name in dict.fromkeys(arguments.methods))
    plan = reproduce.Plan(
        methods, tuple(dict.fromkeys(arguments.links)),
        arguments.runs or (3 if arguments.quick else 20), arguments.seed,
        available_threads(arguments.jobs), 0.1 if arguments.quick else 1.0)
    default = "ollivier-quick" if arguments.quick else "ollivier"
    folder = Path(arguments.out or Path("fisherkern-runs") / default)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--out: {str(folder)!r} is no folder")

    def tell(text: str) -> None:
        print(text, flush=True)

    results, rows = reproduce.reproduce(plan, folder, tell)
    print(report.summary(report.bits_table(results, rows)))
    print(f"report, tables and pictures: {folder / 'report.html'}")
    if arguments.quick:
        wrong = reproduce.outside(rows)
        if wrong:
            raise ValueError("not what a quick run should give: " + "; ".join(wrong))
        n = len(reproduce.checkable(rows))
        print(f"all of {n} means lie where a quick run's should" if n else
              "no mean to check: the stored ones are of the paper's methods and parallel links")


def _info(arguments: argparse.Namespace) -> None:
    if arguments.model is None:
        show_config()
    else:
        reader = read_model if kind_of(arguments.model) == TABLE_FORMAT else load
        print(reader(arguments.model))


def _train(arguments: argparse.Namespace) -> None:
    config = to_toml(arguments)
    path = Path(arguments.data or "")
    if arguments.target is not None or path.suffix.lower() in SUFFIXES:
        chosen = None if arguments.optimizer is None else _optimizer(arguments)
        train_table(arguments, chosen, config)
        return
    if arguments.test is not None:
        raise ValueError("--test is for tables; name the --target column")
    _complete(arguments)
    X, y, labels, name = _data(arguments.data)
    optimizer = _optimizer(arguments)
    from .plots import figure_class

    # what the results need, before the work that makes them
    safetensors_module()
    figure_class()
    kept, held = _split(arguments, y, labels.size)
    rng = np.random.default_rng(arguments.seed)
    net = _network(arguments, X[kept], labels.size, rng)
    numeric_array(X, f"{name}: X", net.dtype)  # names the row of the whole data
    folder = None if arguments.out is None else given_folder(arguments.out)
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
    _save(folder, net, history, result | {"labels": labels.tolist()})
    write_atomically(folder / CONFIG, config.encode())
    _report(result, folder, history)
    if arguments.json:
        print(json.dumps(result | {"folder": str(folder)}))


def _complete(arguments: argparse.Namespace) -> None:
    """Defaults of the options that describe a new network, which a saved one must come without."""
    for name, default in _NEW.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
        elif arguments.model is not None:
            raise ValueError(f"--{name.replace('_', '-')} describes a new network; "
                             f"{arguments.model!r} has its own")
    for name, default in (_LOOP | {"optimizer": _DEFAULT_OPTIMIZER}).items():
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


def _optimizer(arguments: argparse.Namespace) -> optimizers.Optimizer:
    cls = _OPTIMIZERS[arguments.optimizer]
    if not cls.has_metric and arguments.learning_rate is None:
        raise ValueError(f"--optimizer {arguments.optimizer} needs a --learning-rate")
    return cls(learning_rate=arguments.learning_rate)


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
    predicted = net.forward(X, n_threads=arguments.threads).argmax(axis=1)
    seconds = float(history.seconds[-1])
    return {
        "accuracy": float(np.mean(predicted == y)),
        "loss": net.loss(X, y, n_threads=arguments.threads),
        "seconds": seconds,
        "steps": len(history),
        "steps_per_second": len(history) / seconds,
        "optimizer": arguments.optimizer,
        "seed": arguments.seed,
        "n_edges": net.n_edges,
        "stopped": history.stopped,
    }


def _save(folder: Path, net: Network, history: History, result: dict[str, Any]) -> None:
    net.save(folder / MODEL)
    record = json.dumps({"result": result, "history": history.to_dict()})
    write_atomically(folder / RECORD, record.encode())
    history.plot().figure.savefig(folder / PICTURE, dpi=150)


def _report(result: dict[str, Any], folder: Path, history: History) -> None:
    if history.stopped is not None:
        print(f"stopped early ({history.stopped}) after {result['steps']} steps")
    print(f"held-out accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f} nats; "
          f"{result['steps']} steps in {result['seconds']:.2f} s "
          f"({result['steps_per_second']:.0f} steps/s)")
    print(f"model, loss curves and record: {folder}", flush=True)
