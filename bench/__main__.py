"""`python -m bench COMMAND ...`; without a command, the list of them."""

from __future__ import annotations

import argparse
import runpy
import sys

COMMANDS = {
    "report": "all measurements with their pictures into docs/performance.md",
    "guard": "is the working tree slower than another revision?",
    "table": "steps beside the fastest peers: the table of README.md for these kernels",
    "peer_table": "steps beside every peer that is installed",
    "time_to_accuracy": "epochs and seconds to given accuracies beside Adam elsewhere",
    "costs": "steps of every optimizer beside the paper's",
    "partial_metric": "metrics from a part of the samples",
    "roofline": "steps beside the machine's limits",
    "scaling": "time per edge and sample by edges, batch size and fan-in",
    "scale": "memory and time of up to 10^8 edges",
    "memory": "memory per edge of every optimizer",
    "reproduction": "tables of the paper's experiment from its results",
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    return made


def main() -> None:
    made = parser()
    given, rest = made.parse_known_args()
    if given.command is None:
        made.print_help()
        return
    sys.argv = [f"bench.{given.command}", *rest]
    # the module itself becomes __main__: what it hands to other processes is found there
    runpy.run_module(f"bench.{given.command}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
