"""Tables in files, and their columns of numbers and texts as features of a network."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from .io import write_atomically
from .svmlight import SUFFIXES as SVMLIGHT
from .svmlight import NumberedFeatures, SparseTable, read_svmlight

# texts of a column with a feature of their own; the rarer ones have none
_MOST_LEVELS = 50
# a target of more different whole numbers is no label
_MOST_LABELS = 20
# texts in .csv and .tsv files that say that a value is missing
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
# numbers further from 1 than that are scaled before they become float32
_SMALL = 2.0**-60
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
WRITTEN = (*_SEPARATORS, ".parquet")
# of files that can be nothing but tables
SUFFIXES = (*WRITTEN, *SVMLIGHT)


def pandas_module() -> Any:
    """pandas, or an ImportError that names the extra."""
    try:
        import pandas
    except ImportError:
        raise ImportError("tables need pandas: pip install 'fisherkern[tables]'") from None
    return pandas


def read_table(path: Any, missing: Iterable[str] = MISSING) -> Any:
    """The data frame in a .csv, .tsv, .parquet or .npz file, or the SparseTable in a svmlight file.

    All columns of .csv and .tsv files are texts, as they stand there; `missing` are those that
    say that a value is missing. The arrays of an .npz file are columns, those of two axes
    several: X[0], X[1], ... Rows are numbered from 1, the header not counted.

    Raises
    ------
    FileNotFoundError, ValueError
        In one line with file, and row and column where they are known: no such file, another
        format, no rows, rows of other lengths, text that is not UTF-8, two columns of one name.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no data file {str(path)!r}")
    suffix = path.suffix.lower()
    pandas = pandas_module()
    if suffix in _SEPARATORS:
        frame = _read_text(pandas, path, _SEPARATORS[suffix], missing)
    elif suffix == ".parquet":
        try:
            frame = pandas.read_parquet(path)
            frame = frame.reset_index(drop=frame.index.names == [None])
        except ImportError:
            raise ImportError("Parquet files need pyarrow: pip install pyarrow") from None
        except Exception as error:  # the reader's errors have no common class
            raise ValueError(f"{str(path)!r} is truncated or no Parquet file: {error}") from None
    elif suffix == ".npz":
        frame = _read_arrays(pandas, path)
    elif suffix in SVMLIGHT:
        frame = read_svmlight(pandas, path)
    else:
        raise ValueError(f"{str(path)!r} is of no known format; those are "
                         f"{', '.join((*SUFFIXES, '.npz'))}")
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"{str(path)!r} holds no rows")
    if isinstance(frame, SparseTable):
        return frame
    frame.columns = [str(name) for name in frame.columns]
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ValueError(f"{str(path)!r} has two columns {twice[0]!r}")
    return frame


def _read_text(pandas: Any, path: Path, separator: str, missing: Iterable[str]) -> Any:
    """Every row is looked at first: pandas would fill up short ones, and count no empty ones."""
    row, empty = -1, None
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=separator, strict=True, skipinitialspace=True)
            header = next(reader, [])
            for row, fields in enumerate(reader, 1):
                if not fields:
                    empty = empty or row
                elif empty is not None:
                    raise ValueError(f"{str(path)!r}, row {empty} is empty, and there are more")
                elif len(fields) != len(header):
                    raise ValueError(f"{str(path)!r}, row {row} has {len(fields)} fields, and the "
                                     f"header {len(header)}")
    except UnicodeDecodeError:
        raise ValueError(f"{str(path)!r}, {_wrong_byte(path, separator)}") from None
    except csv.Error as error:  # an open quote, or a field beyond the reader's limit
        raise ValueError(f"{str(path)!r} cannot be read after row {max(row, 0)}: "
                         f"{error}") from None
    if len(set(header)) < len(header):  # pandas would rename them
        twice = next(name for i, name in enumerate(header) if name in header[:i])
        raise ValueError(f"{str(path)!r} has two columns {twice!r}")
    if row < 1 or empty == 1:
        raise ValueError(f"{str(path)!r} holds no rows")
    return pandas.read_csv(path, sep=separator, encoding="utf-8-sig", dtype=str,
                           skipinitialspace=True, keep_default_na=False, na_values=list(missing))


def _wrong_byte(path: Path, separator: str) -> str:
    """Row, column and value of the first byte that is not UTF-8."""
    data = path.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError as error:
        before = data[:error.start].decode().split("\n")
        header, fields = before[0].split(separator), before[-1].split(separator)
        column = f", column {header[len(fields) - 1].strip()!r}" if (
            len(before) > 1 and len(fields) <= len(header)) else ""
        return f"row {len(before) - 1}{column}: byte 0x{data[error.start]:02x} is not UTF-8"
    return "which changes while it is read"


def read_npz(path: Any, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, or those of some names."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no data file {str(path)!r}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{str(path)!r} is truncated or no .npz file (numpy.savez writes one)")
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: np.asarray(file[name])
                    for name in (file.files if names is None else names) if name in file}
    except Exception as error:  # a foreign archive can raise anything
        raise ValueError(f"{str(path)!r} is truncated or no .npz file: {error}") from None


def _read_arrays(pandas: Any, path: Path) -> Any:
    columns: dict[str, np.ndarray] = {}
    arrays = read_npz(path)
    for name, array in arrays.items():
        if array.dtype.names is not None:
            raise ValueError(f"{str(path)!r}: array {name!r} holds records; columns are arrays of "
                             "their own")
        if array.ndim not in (1, 2):
            raise ValueError(f"{str(path)!r}: array {name!r} has shape {array.shape}; columns need "
                             "one axis or two")
        parts = {name: array} if array.ndim == 1 else {
            f"{name}[{i}]": column for i, column in enumerate(array.T)}
        columns.update(parts)
    lengths = {array.shape[0] for array in arrays.values()}
    if len(lengths) > 1:
        raise ValueError(f"{str(path)!r}: its arrays have {sorted(lengths)} rows")
    return pandas.DataFrame(columns)


def check_table_target(path: Any) -> str:
    """The suffix of a table's file that could be written."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITTEN:
        raise ValueError(f"{str(path)!r} is of no known format; those are {', '.join(WRITTEN)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r}")
    return suffix


def write_table(frame: Any, path: Any) -> None:
    """A new .csv, .tsv or .parquet file, whole or not at all."""
    path, suffix = Path(path), check_table_target(path)
    if suffix == ".parquet":
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        data = buffer.getvalue()
    else:
        data = frame.to_csv(sep=_SEPARATORS[suffix], index=False).encode()
    write_atomically(path, data)


@dataclass(frozen=True)
class Column:
    """What a column's values mean, learned from the training table."""

    name: str
    levels: list[str] | None  # the texts with a feature of their own; None: numbers
    fill: float  # stands for missing numbers: their median
    missing: bool  # whether a feature of its own says what is missing
    scale: float = 1.0  # that numbers less `fill` are divided by, a power of two

    @property
    def width(self) -> int:
        return (1 if self.levels is None else len(self.levels)) + self.missing

    @property
    def kind(self) -> str:
        return "numbers" if self.levels is None else "texts"

    @classmethod
    def learn(cls, values: Any, path: Any, as_text: bool = False) -> Column:
        """Numbers where all values are; an error where most are."""
        _check_values(values, path, as_text)
        missing = bool(values.isna().any())
        if not as_text:
            _, bad = _as_numbers(values)
            if _mostly_numbers(values, bad) or not bad.any():
                numbers = finite_numbers(values, path, f"; --text {values.name} takes the column "
                                         "as text, --missing says what stands for no value")
                known = numbers[np.isfinite(numbers)]
                fill = float(np.median(known)) if known.size else 0.0
                return cls(values.name, None, fill, missing, _scale(known, fill))
        counts = values.dropna().astype(str).value_counts()
        levels = sorted(counts.index[:_MOST_LEVELS])
        return cls(values.name, levels, 0.0, missing)

    def encode(self, values: Any, path: Any) -> np.ndarray:
        """(n_rows, width) float32 features: numbers less `fill` over `scale`, and flags of texts;
        those never seen have none."""
        _check_values(values, path, self.levels is not None)
        absent = values.isna().to_numpy()
        if self.levels is None:
            numbers = finite_numbers(values, path)
            with np.errstate(over="ignore"):
                features = np.where(absent, 0, (numbers - self.fill) / self.scale).astype(
                    np.float32)[:, None]
            large = ~np.isfinite(features[:, 0])
            if large.any():
                raise ValueError(f"{_told(values, large, path)} is no finite number of float32")
        else:
            texts = values.astype(str).to_numpy(dtype=object)
            features = (texts[:, None] == np.array(self.levels, object)) & ~absent[:, None]
        parts = [features, absent[:, None]] if self.missing else [features]
        return np.concatenate(parts, axis=1).astype(np.float32)


def _scale(numbers: np.ndarray, fill: float) -> float:
    """1, unless float32 might not hold numbers of such a unit."""
    with np.errstate(over="ignore"):
        largest = np.abs(numbers - fill).max(initial=0.0)
    if largest == 0 or not np.isfinite(largest) or _SMALL < largest < 1 / _SMALL:
        return 1.0
    return 2.0**max(-1000.0, np.floor(np.log2(largest)))


def _check_values(values: Any, path: Any, as_text: bool = False) -> None:
    """Whether a column holds numbers, booleans or texts; dates only `as_text`."""
    kind = values.dtype.kind
    if values.dtype == object:  # of a dtype of texts there is nothing to look at
        known = values.dropna()
        odd = [not isinstance(value, (str, int, float, np.number, Decimal)) for value in known]
        if any(odd):
            raise ValueError(f"{_told(known, np.array(odd), path)} is no number and no text")
    elif (kind in "mM" or values.dtype.name.startswith("period")) and not as_text:
        raise ValueError(f"{str(path)!r}, column {values.name!r} holds dates; --ignore leaves it "
                         f"out, --text {values.name} takes them as text")
    elif kind not in "biufmMO":
        raise ValueError(f"{str(path)!r}, column {values.name!r} holds {values.dtype}, which are "
                         "no numbers and no texts")


def _as_numbers(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """The values as float64, NaN where missing, and which of them are no finite numbers; 007 is a
    text."""
    numbers = pandas_module().to_numeric(values, errors="coerce")
    numbers = numbers.to_numpy(np.float64, na_value=np.nan)
    bad = ~np.isfinite(numbers) & values.notna().to_numpy()
    if values.dtype.kind == "O":
        bad |= values.astype(str).str.match(r"[-+]?0\d").fillna(False).to_numpy(bool)
    return numbers, bad


def _mostly_numbers(values: Any, bad: np.ndarray) -> bool:
    """Whether less than half of what is there is bad."""
    return bool(bad.sum() < 0.5 * values.notna().sum())


def finite_numbers(values: Any, path: Any, hint: str = "") -> np.ndarray:
    """The values as float64, NaN where missing; what is no number is an error."""
    numbers, bad = _as_numbers(values)
    if bad.any():
        raise ValueError(f"{_told(values, bad, path)} is no finite number{hint}")
    return numbers


def _told(values: Any, bad: np.ndarray, path: Any) -> str:
    """File, row, column and value of a column's first bad value."""
    value = values.iloc[int(np.argmax(bad))]
    value = value.item() if isinstance(value, np.generic) else value
    return f"{_place(values, bad, path)}: {value!r}"


def _place(values: Any, bad: np.ndarray, path: Any) -> str:
    """File, row and column; frames of files keep the numbers of their rows, others may not."""
    first = int(np.argmax(bad))
    row = 1 + (int(values.index[first]) if values.index.dtype.kind in "iu" else first)
    return f"{str(path)!r}, row {row}, column {values.name!r}"


def target_values(frame: Any, target: str, path: Any) -> Any:
    """The target's column, in which nothing may be missing."""
    if target not in frame:
        raise ValueError(f"{str(path)!r} has no column {target!r}, the target; it has "
                         f"{', '.join(frame.columns[:20])}")
    values = frame[target]
    _check_values(values, path)
    if values.isna().any():
        raise ValueError(f"{_place(values, values.isna(), path)}: the target is missing")
    return values


def labels_of(values: Any) -> np.ndarray:
    """Whole numbers, numbers, or texts, where a value is no number."""
    numbers, bad = _as_numbers(values)
    if bad.any() or values.dtype.kind == "b":
        return values.to_numpy(dtype=object).astype(str)
    whole = (numbers == np.floor(numbers)).all() and (np.abs(numbers) < 2**53).all()
    return numbers.astype(np.int64) if whole else numbers


def check_labels(values: Any, path: Any) -> None:
    """Whether they are texts or whole numbers."""
    labels = labels_of(values)
    if labels.dtype.kind == "f":
        odd = (labels != np.floor(labels)) | (np.abs(labels) >= 2**53)
        raise ValueError(f"{_told(values, odd, path)} is no label; labels are texts, or whole "
                         "numbers below 2^53")


def known_labels(values: Any, known: np.ndarray, path: Any) -> np.ndarray:
    """The values as these labels are; another one is an error."""
    texts = known.dtype.kind == "U"
    labels = values.to_numpy(dtype=object).astype(str) if texts else _as_numbers(values)[0]
    unknown = ~np.isin(labels, known)
    if unknown.any():
        raise ValueError(f"{_told(values, unknown, path)} is none of the labels "
                         f"{', '.join(map(str, known[:20]))}")
    return labels


def guess_task(target: Any, path: Any) -> str:
    """By the values of a target column; an error where most are numbers, but not all."""
    _, bad = _as_numbers(target)
    if bad.any() and _mostly_numbers(target, bad):
        raise ValueError(f"{_told(target, bad, path)} is no number, as most of the target's are; "
                         "--task classification takes all of them as labels")
    labels = labels_of(target)
    if labels.dtype.kind == "U":
        return "classification"
    few = np.unique(labels).size <= _MOST_LABELS and labels.dtype.kind == "i"
    return "classification" if few else "regression"


def check_columns(names: Iterable[str], frame: Any, path: Any) -> None:
    """Whether a table has these columns."""
    for name in names:
        if name not in frame:
            raise ValueError(f"{str(path)!r} has no column {name!r}")


def learn(frame: Any, names: Iterable[str], path: Any,
          texts: Iterable[str] = ()) -> list[Column] | list[NumberedFeatures]:
    """What the columns of these names mean; `texts` are those that are no numbers anyhow."""
    if isinstance(frame, SparseTable):
        return [NumberedFeatures(frame.matrix.shape[1])]
    return [Column.learn(frame[name], path, name in set(texts)) for name in names]


def encode(columns: list[Column] | list[NumberedFeatures], frame: Any, path: Any) -> Any:
    """(n_rows, n_features) of a table that has these columns, in any order, and perhaps others."""
    if isinstance(columns[0], NumberedFeatures):
        return columns[0].encode(frame, path)
    check_columns((column.name for column in columns), frame, path)
    out = np.empty((len(frame), sum(column.width for column in columns)), np.float32)
    first = 0
    for column in columns:
        out[:, first:first + column.width] = column.encode(frame[column.name], path)
        first += column.width
    return out
