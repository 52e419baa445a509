"""The options of a run in a TOML file, by which it can be repeated."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# of where results go and how they are told
_NOT_OF_THE_RUN = {"command", "config", "out", "json"}


def to_toml(arguments: argparse.Namespace) -> str:
    """All options that have a value; `read_config` gives them back."""
    lines = [f"{name.replace('_', '-')} = {_value(value)}"
             for name, value in sorted(vars(arguments).items())
             if value is not None and name not in _NOT_OF_THE_RUN]
    for line in lines:
        try:
            line.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{line!a}: not in UTF-8, which the run's TOML file is") from None
    return "\n".join([*lines, ""])


def _value(value: Any) -> str:
    """As TOML writes it: JSON, but that a DEL must be escaped as well."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_config(path: str, options: Iterable[str]) -> list[str]:
    """The command line that says what a file does; `options` are the names that it may hold."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"--config: no file {path!r}")
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--config: {path!r} is no TOML file: {error}") from None
    known = {name.replace("_", "-") for name in options} - _NOT_OF_THE_RUN
    line: list[str] = []
    for name, value in values.items():
        option = name.replace("_", "-")
        if option not in known:
            raise ValueError(f"--config: {path!r} holds {name!r}, which is no option of train")
        texts = _texts(path, name, value)
        # the file is no option, and comes before those that take as many words as there are
        if option == "data":
            line = [*texts, *line]
        elif len(texts) == 1:  # joined to the option, a text may begin with a dash
            line.append(f"--{option}={texts[0]}")
        else:
            line += [f"--{option}", *texts]
    return line


def _texts(path: str, name: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, (str, int, float)) for one in values):
        raise ValueError(f"--config: {path!r} gives {name} = {value!r}; options are numbers, texts "
                         "and lists of them")
    return [str(one) for one in values]
