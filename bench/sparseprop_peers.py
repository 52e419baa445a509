"""Layers of SparseProp, made for the same as fisherkern: sparse layers trained on processors."""

from __future__ import annotations

import numpy as np
import torch
from sparseprop.modules import SparseLinear
from threadpoolctl import ThreadpoolController

from .layers import in_theta
from .torch_dense import TorchDensePeer


class SparsePropPeer(TorchDensePeer):
    """`SparseLinear.from_dense` of each layer with absent links; autograd, `torch.optim.SGD`.

    Its kernels are C++ with AVX2, for float32 and layers. Complete layers stay `nn.Linear`, as its
    README has it. Otherwise as `TorchDensePeer`; its OpenMP threads are limited as PyTorch's are.
    """

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        super().__init__(net, X, Y, learning_rate, n_threads)
        split = iter(self._layers)
        for i, part in enumerate(self.model):
            if isinstance(part, torch.nn.Linear) and (links := next(split).links).min() == 0:
                assert links.max() == 1, "parallel links would be one weight"
                self.model[i] = SparseLinear.from_dense(part)
        self.torch_optimizer = self.optimizer(learning_rate)
        self._pools = ThreadpoolController().select(user_api="openmp")

    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        self.torch_optimizer.zero_grad()
        self.loss().backward()
        linear = [part for part in self.model if hasattr(part, "weight")]
        return in_theta(self._net, self._layers, list(map(_dense_gradient, linear)),
                        [part.bias.grad.numpy() for part in linear])

    def run(self, n_steps: int) -> None:
        """Steps of gradient descent."""
        with self._pools.limit(limits=self._n_threads):
            super().run(n_steps)


def _dense_gradient(part: torch.nn.Module) -> np.ndarray:
    """Of a layer's weights, 0 where there are none."""
    g = part.weight.grad.numpy()
    if isinstance(part, torch.nn.Linear):
        return g
    starts, sources = (index.numpy() for index in part.W_idx)
    full = np.zeros((part.N, part.M), g.dtype)
    full[np.repeat(np.arange(part.N), np.diff(starts)), sources] = g
    return full
