"""The command line: `fisherkern train`, `predict`, `evaluate`, `info` and `reproduce`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from . import Network, load, show_config
from ._config import config
from ._validation import available_threads, finite_number
from .interpretations import ACTIVATIONS
from .io import TABLE_FORMAT, kind_of
from .network_commands import DEFAULT_OPTIMIZER, OPTIMIZERS, chosen_optimizer, kebab, train_network
from .run_config import read_config, to_toml
from .run_folder import given_folder, json_line
from .table_commands import evaluate_table, predict_table, read_model, train_table
from .tables import MISSING, SUFFIXES

_JSON = "one line of JSON on standard output"
_USAGE_ERROR = 2
_MOST = 2**31 - 1


class _Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: error: {message}\n")


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


def _method(text: str) -> str:
    """Type of an option: an optimizer's name, or scikit-learn's MLP."""
    methods = {name: cls.__name__ for name, cls in OPTIMIZERS.items()} | {"mlp": "MLP"}
    name = kebab(text).lower()
    if name not in methods:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(methods)}")
    return methods[name]


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code (2: bad input, said in one line)."""
    parser, train_parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        if getattr(arguments, "config", None) is not None:
            line = read_config(arguments.config, vars(arguments))
            usual, train_parser.prog = train_parser.prog, (
                f"{train_parser.prog} --config {arguments.config}")  # what an error begins with
            given = vars(train_parser.parse_args(line))
            train_parser.prog = usual
            train_parser.set_defaults(**given)  # what the command line says comes before that
            arguments = parser.parse_args(argv)
        arguments.command(arguments)
    except KeyboardInterrupt:
        print("fisherkern: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # nobody reads on, as behind `| head`; nor could the last flush write
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
    info.add_argument("--json", action="store_true", help=_JSON)
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
        use.add_argument("--json", action="store_true",
                         help="one line of JSON for each row" if name == "predict" else _JSON)
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
    add("--optimizer", type=kebab, choices=OPTIMIZERS,
        metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (default: {DEFAULT_OPTIMIZER})")
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
    add("--compare", type=_method, nargs="*", metavar="NAME",
        help="then train other methods on the same split for the same time: optimizers' names, and "
             "mlp for scikit-learn's (default: some of every sort)")
    add("--seconds", type=_number(above=0), metavar="S",
        help="of each method that is compared (default: what the run took, 1 at least)")
    add("--out", metavar="FOLDER", help="for the results (default: a new one in fisherkern-runs)")
    add("--json", action="store_true", help=f"end with {_JSON}")
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
    add("--methods", nargs="+", type=kebab, choices=OPTIMIZERS, metavar="NAME",
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
    add("--json", action="store_true", help=f"end with {_JSON}")


def _reproduce(arguments: argparse.Namespace) -> None:
    from .experiments import ollivier, report, reproduce

    methods = ollivier.METHODS if arguments.methods is None else tuple(
        ollivier.method(OPTIMIZERS[name].__name__) for name in dict.fromkeys(arguments.methods))
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
    if arguments.json:
        print(json_line({"folder": str(folder), "results": rows}))


def _info(arguments: argparse.Namespace) -> None:
    if arguments.model is None:
        if arguments.json:
            print(json_line(config()))
        else:
            show_config()
        return
    if kind_of(arguments.model) == TABLE_FORMAT:
        model = read_model(arguments.model)
        values = {"target": model.target, "task": model.task,
                  "columns": [column.name for column in model.columns],
                  "networks": [_values(net) for net in model.estimator.networks_]}
    else:
        model = load(arguments.model)
        values = _values(model)
    print(json_line(values) if arguments.json else model)


def _values(net: Network) -> dict[str, Any]:
    """What a network is."""
    names = ("n_inputs", "n_units", "n_edges", "n_outputs", "n_parameters", "interpretation")
    return {name: getattr(net, name) for name in names} | {"dtype": net.dtype.name}


def _train(arguments: argparse.Namespace) -> None:
    config = to_toml(arguments)
    if arguments.seconds is not None and arguments.compare is None:
        raise ValueError("--seconds is of --compare")
    path = Path(arguments.data or "")
    with given_folder(arguments.out) as folder:
        if arguments.target is not None or path.suffix.lower() in SUFFIXES:
            chosen = None if arguments.optimizer is None else chosen_optimizer(arguments)
            train_table(arguments, chosen, config, folder)
        else:
            train_network(arguments, config, folder)
