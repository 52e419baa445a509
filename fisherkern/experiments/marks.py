"""Tables that scripts put into their places in documents: between two comments with a name."""

from __future__ import annotations

import argparse
from pathlib import Path


def _places(text: str, mark: str) -> tuple[int, int]:
    """Where what lies between the two comments of a mark begins and ends."""
    start, end = f"<!-- {mark}:start -->", f"<!-- {mark}:end -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"the file must hold {start} and then {end}, once each")
    return text.index(start) + len(start), text.index(end)


def between(text: str, mark: str) -> str:
    """What lies between the two comments of a mark."""
    first, last = _places(text, mark)
    return text[first:last]


def replace(text: str, mark: str, new: str) -> str:
    """`text` with what lies between the two comments of a mark replaced."""
    first, last = _places(text, mark)
    return f"{text[:first]}\n{new}\n{text[last:]}"


def add_target(parser: argparse.ArgumentParser, mark: str, option: str = "--update",
               does: str | None = None) -> None:
    """An option for the file of a table, which is checked before anything is measured."""
    def checked(text: str) -> Path:
        path = Path(text)
        try:
            between(path.read_text(encoding="utf-8"), mark)
        except (OSError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
        return path

    parser.add_argument(option, type=checked, metavar="FILE", help=does or (
        f"put the table between the marks {mark!r} of this file"))


def parse_target(parser: argparse.ArgumentParser, mark: str) -> argparse.Namespace:
    """The arguments with --update."""
    add_target(parser, mark)
    return parser.parse_args()


def update(path: Path | None, mark: str, new: str) -> None:
    """Print a table and put it into its place in a file."""
    print(new)
    if path is not None:
        path.write_text(replace(path.read_text(encoding="utf-8"), mark, new), encoding="utf-8")
