"""scikit-learn's multilayer perceptron: one `partial_fit` of the batch, on dense layers."""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier
from threadpoolctl import ThreadpoolController

from . import oracles
from .layers import in_theta, layers


class ScikitLearnPeer:
    """`MLPClassifier.partial_fit(X, Y)` with the batch as its one mini-batch.

    It knows no sparse weights: this trains the dense network, where the absent links are weights
    that begin at 0 and move. Its step is that of Adam, its default, with all that a user's call
    includes: checks of the data, binarised labels, the loss, the regularisation, whose factor is
    0 here. Its gradient, which no method returns, is taken for the check from a step of
    `solver="sgd"`; the timed step is checked too.

    Fair: data in the network's dtype, which scikit-learn keeps, and in its own layout (samples,
    features); BLAS has `n_threads` threads; the timed part is calls of `partial_fit`.
    """

    checked_rate = 1e-3

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        self._net, self._X, self._Y = net, np.ascontiguousarray(X, net.dtype), Y
        self._pools, self._n_threads = ThreadpoolController().select(user_api="blas"), n_threads
        self._layers = layers(net)
        self._model = self._started(
            "adam", learning_rate or 1e-20,  # 0 is not allowed; no denormals
            [layer.W.T for layer in self._layers], [layer.b for layer in self._layers])

    def _started(self, solver: str, rate: float, weights: list, biases: list) -> MLPClassifier:
        """A model with these parameters, as after a first call."""
        hidden = [b.size for b in biases[:-1]]
        model = MLPClassifier(hidden, solver=solver, alpha=0.0, momentum=0.0, shuffle=False,
                              nesterovs_momentum=False, batch_size=self._X.shape[0],
                              random_state=0, learning_rate_init=rate)
        model.partial_fit(self._X, self._Y, classes=np.arange(self._net.n_outputs))
        for own, given in zip([*model.coefs_, *model.intercepts_], [*weights, *biases],
                              strict=True):
            own[:] = given
        del model._optimizer  # the next call makes one whose state is zero
        return model

    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        before = self._model.coefs_, self._model.intercepts_
        after = self._started("sgd", 1.0, *before)
        after.partial_fit(self._X, self._Y)
        w, b = ([old - new for old, new in zip(*pair, strict=True)]
                for pair in zip(before, (after.coefs_, after.intercepts_), strict=True))
        return in_theta(self._net, self._layers, [values.T for values in w], b)

    def run(self, n_steps: int) -> None:
        """Calls of `partial_fit`."""
        with self._pools.limit(limits=self._n_threads):
            for _ in range(n_steps):
                self._model.partial_fit(self._X, self._Y)

    @staticmethod
    def first_step(name: str, rate: float) -> np.ndarray:
        """Adam's, whose small number scikit-learn adds before the correction of the bias."""
        return oracles.adam_step(name, rate, 1e-8 / np.sqrt(1 - 0.999))
