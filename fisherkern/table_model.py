"""Models of tables: an estimator, and what it must know of the table that it was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .estimators import SparseNetClassifier, SparseNetRegressor
from .io import (
    TABLE_FORMAT,
    VERSION,
    network_from_state,
    network_state,
    read_arrays,
    write_arrays,
)
from .preprocessing import Inputs, Tails
from .scoring import scores
from .svmlight import NumberedFeatures, SparseTable
from .tables import (
    MISSING,
    Column,
    check_labels,
    encode,
    finite_numbers,
    guess_task,
    known_labels,
    labels_of,
    learn,
    pandas_module,
    target_values,
)

_KINDS = {"classification": SparseNetClassifier, "regression": SparseNetRegressor}


@dataclass(frozen=True)
class TableModel:
    """A fitted estimator with the columns that make its features.

    Attributes
    ----------
    estimator : SparseNetClassifier or SparseNetRegressor
    columns : list of Column, or of one NumberedFeatures
    target : str
        The column that it predicts.
    missing : tuple of str
        Texts that stand for missing values in text files.
    """

    estimator: Any
    columns: list[Column] | list[NumberedFeatures]
    target: str
    missing: tuple[str, ...] = MISSING

    @property
    def task(self) -> str:
        return next(task for task, kind in _KINDS.items() if type(self.estimator) is kind)

    @classmethod
    def fit(cls, frame: Any, target: str, path: Any, *, task: str = "auto",
            ignore: Iterable[str] = (), text: Iterable[str] = (),
            missing: Iterable[str] = MISSING, **options: Any) -> TableModel:
        """Learn the columns of a data frame and fit an estimator; `path` is for messages.

        Numbers that are missing are taken as their column's median, texts that are missing as none,
        and a feature of its own says that something is missing. Each of the 50 most frequent texts
        of a column is a feature; the others, and those never seen, are none of them.

        Parameters
        ----------
        frame : pandas.DataFrame or SparseTable
        target : str
        path : path
        task : {"auto", "classification", "regression"}
            "auto": text, booleans and up to 20 different whole numbers are labels.
        ignore, text : column names
            To leave out; to take as text though they are numbers.
        missing : texts
            That stand for missing values in text files; kept for the files to come.
        **options
            Of the estimator.
        """
        model = cls.learn(frame, target, path, task=task, ignore=ignore, text=text, missing=missing,
                          **options)
        return model.fit_rows(frame, path)

    @classmethod
    def learn(cls, frame: Any, target: str, path: Any, *, task: str = "auto",
              ignore: Iterable[str] = (), text: Iterable[str] = (),
              missing: Iterable[str] = MISSING, **options: Any) -> TableModel:
        """What `fit` does before the estimator is fitted."""
        names = list(frame.columns)
        values = target_values(frame, target, path)
        for option, chosen in (("ignore", ignore), ("text", text)):
            for name in chosen:
                if name not in names:
                    raise ValueError(f"{option}: {str(path)!r} has no column {name!r}; it has "
                                     f"{', '.join(names[:20])}")
                if name == target:
                    raise ValueError(f"{option}: {name!r} is the target")
        left = [name for name in names if name not in {target, *ignore}]
        if not left and not isinstance(frame, SparseTable):
            raise ValueError(f"{str(path)!r} has no column left beside the target {target!r}")
        if task == "auto":
            task = guess_task(values, path)
        if task == "classification":
            check_labels(values, path)
        columns = learn(frame, left, path, text)
        return cls(_KINDS[task](**options), columns, target, tuple(missing))

    def fit_rows(self, frame: Any, path: Any) -> TableModel:
        """Fit the estimator to the rows of a table that has the columns; self."""
        self.estimator.fit(encode(self.columns, frame, path), self.targets(frame, path))
        return self

    def targets(self, frame: Any, path: Any) -> np.ndarray:
        """Labels or numbers of the target column; of a fitted classifier, labels that it knows."""
        values = target_values(frame, self.target, path)
        if self.task == "regression":
            return finite_numbers(values, path)
        known = getattr(self.estimator, "classes_", None)
        if known is None:
            return labels_of(values)
        return known_labels(values, known, path)

    def predict(self, frame: Any, path: Any) -> Any:
        """A data frame of predictions and, of a classifier, the probability of each label; its
        index is the table's."""
        index = (frame.target if isinstance(frame, SparseTable) else frame).index
        features = encode(self.columns, frame, path)
        estimator = self.estimator
        if self.task == "regression":
            return pandas_module().DataFrame({self.target: estimator.predict(features)}, index)
        probabilities = estimator.predict_proba(features)
        out = {self.target: estimator.classes_[probabilities.argmax(axis=1)]}
        out |= {f"p({label})": p for label, p in zip(estimator.classes_, probabilities.T,
                                                     strict=True)}
        return pandas_module().DataFrame(out, index)

    def evaluate(self, frame: Any, path: Any) -> dict[str, float]:
        """Accuracy and mean loss in nats, or R^2 and root mean square error."""
        return scores(self.estimator, encode(self.columns, frame, path),
                      self.targets(frame, path))

    def save(self, path: Any) -> None:
        """Write a safetensors file, atomically; `TableModel.load` reads it."""
        estimator, arrays, networks = self.estimator, {}, []
        for i, net in enumerate(estimator.networks_):
            definition, parts = network_state(net)
            networks.append(definition)
            arrays |= {f"{i}.{name}": part for name, part in parts.items()}
        inputs = estimator._inputs
        arrays |= {"scale": inputs.scale}
        if inputs.tails is not None:
            arrays |= vars(inputs.tails)
        if inputs.centre is not None:
            arrays |= {"centre": inputs.centre}
        fitted = {"task": self.task, "target": self.target, "networks": networks,
                  "columns": [asdict(column) for column in self.columns],
                  "n_steps": estimator.n_steps_, "missing": list(self.missing)}
        if self.task == "classification":
            fitted["classes"] = estimator.classes_.tolist()
        else:
            arrays |= {"mean": estimator._mean, "deviation": estimator._deviation}
        write_arrays(path, TABLE_FORMAT, VERSION, fitted, arrays)

    @classmethod
    def load(cls, path: Any) -> TableModel:
        """Read what `save`, or `fisherkern train FILE --target COLUMN`, wrote."""
        return read_arrays(path, TABLE_FORMAT, _from_state, "model of tables")

    def __repr__(self) -> str:
        return (f"<TableModel of {self.target!r} ({self.task}) from {len(self.columns)} columns: "
                f"{len(self.estimator.networks_)} x {self.estimator.networks_[0]!r}>")


def _from_state(fitted: dict[str, Any], arrays: dict[str, np.ndarray]) -> TableModel:
    """The model in a file; what does not fit raises."""
    estimator = _KINDS[fitted["task"]]()
    estimator.networks_ = [
        network_from_state(definition, {name.split(".", 1)[1]: array
                                        for name, array in arrays.items()
                                        if name.startswith(f"{i}.")})
        for i, definition in enumerate(fitted["networks"])]
    columns = [(NumberedFeatures if "n_features" in column else Column)(**column)
               for column in fitted["columns"]]
    width = sum(column.width for column in columns)
    names = [field.name for field in fields(Tails)]
    as_they_are = not {"centre", *names} & set(arrays)  # of an own network
    tails = None if as_they_are else Tails(*(_vector(arrays, name, width) for name in names))
    is_sparse = as_they_are or isinstance(columns[0], NumberedFeatures)
    centre = None if is_sparse else _vector(arrays, "centre", width)
    estimator._inputs = Inputs(centre, _vector(arrays, "scale", width), tails)
    estimator.n_features_in_, estimator.n_steps_ = width, int(fitted["n_steps"])
    if fitted["task"] == "classification":
        estimator.classes_, estimator._multilabel = np.array(fitted["classes"]), False
        n_outputs = estimator.classes_.size
    else:
        estimator._mean, estimator._deviation, estimator._flat = (
            _vector(arrays, "mean", 1), _vector(arrays, "deviation", 1), True)
        n_outputs = 1
    if not estimator.networks_ or any((net.n_inputs, net.n_outputs) != (width, n_outputs)
                                      for net in estimator.networks_):
        raise ValueError("its networks do not fit its columns")
    return TableModel(estimator, columns, str(fitted["target"]),
                      tuple(str(text) for text in fitted["missing"]))


def _vector(arrays: dict[str, np.ndarray], name: str, size: int) -> np.ndarray:
    if arrays[name].shape != (size,) or arrays[name].dtype.kind != "f" \
            or not np.isfinite(arrays[name]).all():
        raise ValueError(f"array {name!r} does not hold {size} finite numbers")
    return arrays[name]
