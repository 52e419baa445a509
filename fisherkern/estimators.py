"""Sparse networks as scikit-learn's estimators, and its data sets and splits. The only module that
imports scikit-learn."""

from __future__ import annotations

import importlib
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import numpy as np
import scipy.sparse
import scipy.special

from . import recipe
from ._validation import boolean
from .network import Network
from .preprocessing import Inputs, deviations, distinct, moments, standardized
from .samples import Samples, checked_weights, forward

try:
    from sklearn import datasets, model_selection
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import (
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError:
    raise ImportError("this needs scikit-learn 1.6 or newer: "
                      "pip install 'fisherkern[data]'") from None


def sklearn_module(name: str) -> Any:
    """One of scikit-learn's modules, for experiments."""
    return importlib.import_module(f"sklearn.{name}")


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 64) raw pixels 0 to 16 of handwritten digits, and their (1797,) classes."""
    return datasets.load_digits(return_X_y=True)


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the training and held-out samples, every class in proportion."""
    return model_selection.train_test_split(
        np.arange(labels.size), test_size=share, stratify=labels, random_state=seed)


_PARAMETERS = """
    Features may have any unit and origin: training does not depend on them, nor is there a learning
    rate to choose. Tails that are heavy are drawn in. Settings that are "auto" follow the size of
    the data.

    Parameters
    ----------
    hidden_layer_sizes : "auto", int or sequence of int
        "auto": (128, 64); above 200 features (256, 128).
    fan_in : "auto", int, one int per hidden layer, or None
        Random sources of each hidden unit; None: all. "auto": 16; above 200 features 32; above
        2048 each feature has 4 edges, if those are more. The output layer is dense.
    activation : str
        Of the hidden units; "auto": relu.
    optimizer : "auto" or fisherkern.optimizers.Optimizer
        "auto": the quasi-diagonal backpropagated metric. One without a metric needs a
        learning_rate, which then is constant.
    max_steps, max_epochs : "auto" or int
        At most one of them; "auto": 20 epochs, but 1500 steps at least.
    batch_size : "auto" or int
        "auto": 32; from 6400 samples on it grows as the root of their number.
    damping : "auto", "range" or float
        Of the "auto" optimizer.
    trust_radius : "auto" or float
        Nats per step; "auto": 1e-4, or 3e-4 without the prior's path, times batch_size / 32 where
        that is above 1.
    prior : "auto", None, float or "path"
        See `fisherkern.train`; "auto": "path" where the optimizer allows it.
    averaging : "auto" or bool
        Average the parameters over about the last tenth of the steps; "auto": True.
    selection : {"auto", "holdout", "folds", "none"}
        Where to stop on the way. "holdout": where a share of the samples that was held out has
        least loss; then networks are trained anew on all samples up to there. "folds": each
        network leaves out its own fold, and all stop where the folds' pooled loss is least.
        "none": at the end. "auto": "holdout" from 1000 samples on or for one network, else
        "folds".
    validation_fraction : "auto" or float
        The share that "holdout" holds out; "auto": 0.15.
    n_networks : "auto" or int
        Networks whose outputs are averaged, each with edges of its own; "auto": 5 for "folds", 3
        for "holdout", 1 for "none".
    network : Network, optional
        A ready definition in place of `hidden_layer_sizes`, `fan_in` and `activation`. Its inputs
        take the features as they are. Its parameters are drawn anew, unless with warm_start.
    warm_start : bool
        `fit` goes on from the networks of the last one, whatever sizes are set now.
    random_state : None, int or numpy.random.RandomState
    n_threads : int, optional
        Never changes the result. None: all cores, or fewer where other work makes those faster.
    verbose : bool
        Show a progress bar for each run.
"""


@dataclass(eq=False, repr=False)
class _SparseNet(BaseEstimator):
    """What classifier and regressor share."""

    hidden_layer_sizes: Any = "auto"
    fan_in: Any = "auto"
    activation: str = "auto"
    optimizer: Any = "auto"
    _: KW_ONLY
    max_steps: Any = "auto"
    max_epochs: Any = "auto"
    batch_size: Any = "auto"
    damping: Any = "auto"
    trust_radius: Any = "auto"
    prior: Any = "auto"
    averaging: Any = "auto"
    selection: str = "auto"
    validation_fraction: Any = "auto"
    n_networks: Any = "auto"
    network: Network | None = None
    warm_start: bool = False
    random_state: Any = None
    n_threads: int | None = None
    verbose: bool = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # --- fitting --------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to samples, whose order does not matter.

        Parameters
        ----------
        X : (n_samples, n_features) array_like, data frame or sparse matrix
        y : (n_samples,) or (n_samples, n_outputs) array_like
        sample_weight : (n_samples,) array_like, optional
            A sample of weight 2 counts as two. Weights that add up to less than the number of
            samples are scaled up to it.

        Returns
        -------
        self
        """
        again = boolean(self.warm_start, "warm_start") and hasattr(self, "networks_")
        return self._fit(X, y, sample_weight, again)

    def _fit(self, X: Any, y: Any, sample_weight: Any, again: bool, one_epoch: bool = False,
             classes: Any = None) -> Self:
        """`_fitted`, which may fail: then all is as before."""
        before = vars(self).copy()
        try:
            return self._fitted(X, y, sample_weight, again, one_epoch, classes)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _fitted(self, X: Any, y: Any, sample_weight: Any, again: bool, one_epoch: bool,
                classes: Any) -> Self:
        X, y, weights = self._checked(X, y, sample_weight, again)
        if weights is not None:
            X, y, weights = (rows[weights > 0] for rows in (X, y, weights))
        state = {name: getattr(self, name) for name in self._STATE} if again else (
            self._learned(y, classes))
        Y, weights = self._encoded(y, weights, state)
        if weights is not None and not weights.all():  # a class may have no weight
            X, Y, weights = (rows[weights > 0] for rows in (X, Y, weights))
        if not again and classes is None:
            self._check_classes(Y, weights, state)
        if not again:
            state["_inputs"] = self._new_inputs(X, weights)
        samples = self._scaled(distinct(state["_inputs"](X, self._dtype()), Y, weights), state)
        strata = samples.Y if samples.Y.ndim == 1 else np.zeros(samples.Y.shape[0], int)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31, size=4))
        settings = recipe.settings(self, samples, self._output_layer(state),
                                   self.networks_ if again else None, one_epoch)
        if one_epoch:
            streams = getattr(self, "_streams", None) if again else None
            streams = streams or recipe.stream(settings, samples, rng)
            for one in streams:
                one.take(samples, rng)
            vars(self).update(state, _streams=streams, networks_=[one.average for one in streams],
                              histories_=[], n_steps_=streams[0].n_steps)
            return self
        samples, offset = self._balanced(samples, state)
        result = recipe.fit(settings, samples, strata, rng)
        for net in result.networks if offset is not None else ():
            net.theta[net.indptr[net.outputs - net.n_inputs]] -= offset
        vars(self).update(state, networks_=result.networks, histories_=result.histories,
                          n_steps_=result.place, _streams=None)
        return self

    def _checked(self, X: Any, y: Any, sample_weight: Any, again: bool) -> tuple:
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32],
                             multi_output=True, reset=not again, y_numeric=self._NUMERIC)
        if scipy.sparse.issparse(y):
            y = y.toarray()
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=not self._NUMERIC)
        if sample_weight is not None:
            sample_weight = checked_weights(sample_weight, X.shape[0], "sample_weight")
        return X, y, sample_weight

    def _dtype(self) -> Any:
        if self.network is None:
            return np.float32
        if not isinstance(self.network, Network):
            raise TypeError(f"network must be a fisherkern Network; got {self.network!r}")
        return self.network.dtype

    def _check_classes(self, Y: np.ndarray, weights: np.ndarray | None,
                       state: dict[str, Any]) -> None:
        """Whether there is anything to tell apart."""

    def _balanced(self, samples: Samples,
                  state: dict[str, Any]) -> tuple[Samples, np.ndarray | None]:
        """Samples to train on, and what that adds to the outputs."""
        return samples, None

    def _new_inputs(self, X: Any, weights: np.ndarray | None) -> Inputs:
        return Inputs.of(X, weights) if self.network is None else Inputs.raw(X.shape[1])

    # --- predicting -----------------------------------------------------------------------------

    def _outputs(self, X: Any) -> np.ndarray:
        """(n_samples, n_outputs) output activities, averaged over the networks."""
        check_is_fitted(self, "networks_")
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        X = self._inputs(X, np.float64)
        outputs = [forward(net, X, self.n_threads) for net in self.networks_]
        if self.networks_[0].interpretation == "bernoulli":
            outputs = [scipy.special.logit(np.clip(p, _LEAST, 1 - _LEAST)) for p in outputs]
        return np.mean(outputs, axis=0)


# of what would be an equal share, the least that a class has in training
_LEAST_SHARE = 0.5
# probabilities that are not further from 0 and 1 have logits
_LEAST = 2.0**-53


@dataclass(eq=False, repr=False)
class SparseNetClassifier(ClassifierMixin, _SparseNet):
    __doc__ = """Classifier by sparse networks trained with the natural gradient.

    With y of shape (n_samples, n_labels), 0 or 1, each label is a question of its own.
""" + _PARAMETERS + """    class_weight : None, "balanced" or dict
        As everywhere in scikit-learn; they multiply sample_weight.

    Attributes
    ----------
    classes_ : (n_classes,) ndarray
        The labels, or the numbers of the columns of y.
    networks_ : list of Network
    histories_ : list of History
        Of every run, those that only searched included.
    n_steps_ : int
        After which the networks were taken.
    n_features_in_, feature_names_in_
    """

    _: KW_ONLY
    class_weight: Any = None

    _NUMERIC = False
    _STATE = ("classes_", "_multilabel", "_inputs")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One epoch on these samples, from the networks so far, as one long run.

        The first call needs `classes`, all labels that will ever come; it fixes the units of the
        features by these samples, of which it needs some twenty, and draws the networks. Samples
        that are too few for a batch wait; a prior is weak and constant, and there is no selection.
        A model that was pickled or copied goes on with a new running metric and average.
        """
        again = hasattr(self, "networks_")
        if not again and classes is None:
            raise ValueError("classes must be given to the first call of partial_fit")
        if again and classes is not None and not self._multilabel and not np.array_equal(
                np.unique(classes), self.classes_):
            raise ValueError(f"classes = {np.unique(classes).tolist()} are not those of before, "
                             f"{self.classes_.tolist()}")
        return self._fit(X, y, sample_weight, again, True, classes)

    def _learned(self, y: np.ndarray, classes: Any) -> dict[str, Any]:
        check_classification_targets(y)
        if type_of_target(y) == "multiclass-multioutput":
            raise ValueError("y must be labels (n_samples,) or flags (n_samples, n_labels); "
                             "several columns of classes are not supported")
        if type_of_target(y).startswith("multilabel"):
            return {"classes_": np.arange(y.shape[1]), "_multilabel": True}
        labels = np.unique(y if classes is None else classes)
        if labels.size < 2:
            raise ValueError(f"y has only one class, {labels.tolist()}; a classifier needs two")
        return {"classes_": labels, "_multilabel": False}

    def _encoded(self, y: np.ndarray, weights: np.ndarray | None,
                 state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
        """Class indices or label flags, and the weights by class."""
        if state["_multilabel"]:
            if self.class_weight is not None:
                raise ValueError("class_weight is for y of one label per sample; got "
                                 f"{self.class_weight!r}")
            if y.ndim != 2 or y.shape[1] != state["classes_"].size:
                raise ValueError(f"y must have shape (n_samples, {state['classes_'].size}), as "
                                 f"before; got {y.shape}")
            return y.astype(np.float64), weights
        labels = state["classes_"]
        present, indices = np.unique(y, return_inverse=True)
        unknown = np.setdiff1d(present, labels)
        if unknown.size:
            raise ValueError(f"y holds the class {unknown.tolist()[0]!r}, which is none of "
                             f"{labels.tolist()}")
        if self.class_weight is not None:
            by_class = compute_class_weight(self.class_weight, classes=present, y=y,
                                            sample_weight=weights)
            weights = by_class[indices] * (1 if weights is None else weights)
        return np.searchsorted(labels, present)[indices], weights

    def _check_classes(self, Y: np.ndarray, weights: np.ndarray | None,
                       state: dict[str, Any]) -> None:
        if Y.ndim == 1 and np.count_nonzero(np.bincount(Y, weights)) < 2:
            raise ValueError(f"y has only one class of any weight; a classifier needs two, and "
                             f"has {state['classes_'].tolist()}")

    def _balanced(self, samples: Samples,
                  state: dict[str, Any]) -> tuple[Samples, np.ndarray | None]:
        """Rare classes more often than they are: a batch without any of them would else lead as
        far away from them as the few with some lead back."""
        net = self.network
        fixed = net is not None and net.frozen[net.indptr[net.outputs - net.n_inputs]].any()
        if state["_multilabel"] or fixed:  # no bias can take the factor back
            return samples, None
        weights = np.ones(samples.Y.size) if samples.weights is None else samples.weights
        share = np.bincount(samples.Y, weights, state["classes_"].size) / weights.sum()
        aim = np.maximum(share, _LEAST_SHARE / np.count_nonzero(share))
        aim[share == 0] = 0
        if (aim == share).all():
            return samples, None
        ratio = np.divide(aim / aim.sum(), share, out=np.ones_like(share), where=share > 0)
        return replace(samples, weights=weights * ratio[samples.Y]), np.log(ratio)

    def _scaled(self, samples: Samples, state: dict[str, Any]) -> Samples:
        return samples

    def _output_layer(self, state: dict[str, Any]) -> tuple[str, int]:
        return "bernoulli" if state["_multilabel"] else "softmax", state["classes_"].size

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits, averaged over the networks.

        Returns
        -------
        ndarray
            (n_samples, n_classes) or (n_samples, n_labels); (n_samples,) for two classes, the
            second's less the first's.
        """
        logits = self._outputs(X)
        two = logits.shape[1] == 2 and not self._multilabel
        return logits[:, 1] - logits[:, 0] if two else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n_samples, n_classes) probabilities; (n_samples, n_labels) for labels of their own."""
        logits = self._outputs(X)
        return scipy.special.expit(logits) if self._multilabel else scipy.special.softmax(
            logits, axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of `predict_proba`, without underflow."""
        logits = self._outputs(X)
        return scipy.special.log_expit(logits) if self._multilabel else scipy.special.log_softmax(
            logits, axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """(n_samples,) labels; (n_samples, n_labels) of 0 and 1 for labels of their own."""
        logits = self._outputs(X)
        if self._multilabel:
            return (logits > 0).astype(int)
        return self.classes_[logits.argmax(axis=1)]


@dataclass(eq=False, repr=False)
class SparseNetRegressor(RegressorMixin, MultiOutputMixin, _SparseNet):
    __doc__ = """Regressor by sparse networks trained with the natural gradient.

    Targets may have any unit and origin; several at once share the hidden units.
""" + _PARAMETERS + """
    Attributes
    ----------
    networks_ : list of Network
        Their outputs are targets less their mean, over their deviation.
    histories_ : list of History
        Of every run, those that only searched included.
    n_steps_ : int
        After which the networks were taken.
    n_features_in_, feature_names_in_
    """

    _NUMERIC = True
    _STATE = ("_mean", "_deviation", "_flat", "_inputs")

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch on these samples, from the networks so far, as one long run.

        The first call fixes the units of the features and targets by these samples, of which it
        needs some twenty, and draws the networks. Samples that are too few for a batch wait; a
        prior is weak and constant, and there is no selection. A model that was pickled or copied
        goes on with a new running metric and average.
        """
        return self._fit(X, y, sample_weight, hasattr(self, "networks_"), True)

    def _learned(self, y: np.ndarray, classes: Any) -> dict[str, Any]:
        return {"_flat": y.ndim == 1}

    def _encoded(self, y: np.ndarray, weights: np.ndarray | None,
                 state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
        return y.reshape(y.shape[0], -1).astype(np.float64), weights

    def _scaled(self, samples: Samples, state: dict[str, Any]) -> Samples:
        """Samples with targets of mean 0 and deviation 1."""
        if "_mean" not in state:
            state["_mean"], state["_deviation"] = moments(samples.Y, samples.weights)
        if samples.Y.shape[1] != state["_mean"].size:
            raise ValueError(f"y must have {state['_mean'].size} columns, as before; got "
                             f"{samples.Y.shape[1]}")
        late = (state["_deviation"] == 0) & (state["_mean"] != samples.Y).any(axis=0)
        if late.any():  # they were constant so far
            state["_deviation"] = np.where(
                late, deviations(samples.Y, state["_mean"], samples.weights), state["_deviation"])
        return replace(samples, Y=standardized(samples.Y, state["_mean"], state["_deviation"]))

    def _output_layer(self, state: dict[str, Any]) -> tuple[str, int]:
        return "square", state["_mean"].size

    def predict(self, X: Any) -> np.ndarray:
        """(n_samples,) or (n_samples, n_outputs) targets."""
        predicted = self._outputs(X) * self._deviation + self._mean
        return predicted[:, 0] if self._flat else predicted
