"""Dense layers of PyTorch: with a fixed mask for the absent links, and without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from . import oracles
from .layers import Layer, in_theta, layers

SEED = 1
_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def module(split: list[Layer], interpretation: str) -> nn.Sequential:
    """Linear layers and activations up to the logits, of which each interpretation has a loss."""
    parts: list[nn.Module] = []
    for layer in split:
        linear = nn.Linear(*layer.W.shape[::-1], dtype=torch.from_numpy(layer.W).dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(layer.W))
            linear.bias.copy_(torch.from_numpy(layer.b))
        parts.append(linear)
        if layer.activation in _ACTIVATIONS:
            parts.append(_ACTIVATIONS[layer.activation]())
    if interpretation == "bernoulli":  # of a = tanh z: the probability (1 + a) / 2
        parts[-1] = Twice()
    return nn.Sequential(*parts)


class Twice(nn.Module):
    """Logits of a Bernoulli whose probability is (1 + tanh z) / 2."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 2 * z


def targets(interpretation: str, Y: np.ndarray, dtype: np.dtype) -> torch.Tensor:
    """As the losses of PyTorch take them."""
    return torch.from_numpy(Y.astype(np.int64 if interpretation == "softmax" else dtype))


def linears(model: nn.Sequential) -> list[nn.Linear]:
    return [part for part in model if isinstance(part, nn.Linear)]


class TorchDensePeer:
    """`nn.Linear` layers, the loss in its fused form with logits, autograd, `torch.optim.SGD`.

    What a user writes who does not mind the absent links: their weights are zero and stay so,
    because a hook multiplies each gradient by the mask once it is complete. That is cheaper than
    masking the weights in each forward pass, as `torch.nn.utils.prune` does. A network without
    absent links has no masks and no hooks.

    Fair: the network's dtype, `torch.set_num_threads`, and all tensors made at construction; the
    timed part is `zero_grad`, forward, loss, backward and `step`, eagerly, without a compiler;
    a window's first call comes after the warm-up calls of the timing itself.
    """

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        self._net, self._n_threads, self._layers = net, n_threads, layers(net)
        self.model = module(self._layers, net.interpretation)
        self.take(*self.prepared(X, Y))
        self.torch_optimizer = self.optimizer(learning_rate)
        for linear, mask in zip(linears(self.model), masks(self._layers), strict=True):
            if mask is not None:
                linear.weight.register_post_accumulate_grad_hook(_times(mask))

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=learning_rate)

    def prepared(self, X: np.ndarray, Y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples as `take` has them, in rows."""
        return (torch.from_numpy(np.ascontiguousarray(X, self._net.dtype)),
                targets(self._net.interpretation, Y, self._net.dtype))

    def take(self, X: torch.Tensor, Y: torch.Tensor) -> None:
        """The next steps' batch."""
        self._X, self._Y = X, Y

    def theta(self) -> np.ndarray:
        """The parameters as they are now, in the layout of the network's theta."""
        found = linears(self.model)
        return in_theta(self._net, self._layers, [part.weight.detach().numpy() for part in found],
                        [part.bias.detach().numpy() for part in found])

    def loss(self) -> torch.Tensor:
        z = self.model(self._X)
        if self._net.interpretation == "softmax":
            return nn.functional.cross_entropy(z, self._Y)
        if self._net.interpretation == "bernoulli":
            total = nn.functional.binary_cross_entropy_with_logits(z, self._Y, reduction="sum")
        else:
            total = nn.functional.mse_loss(z, self._Y, reduction="sum") / 2
        return total / self._Y.shape[0]

    def gradient(self) -> np.ndarray:
        """Of the mean loss, in the layout of the network's theta."""
        torch.set_num_threads(self._n_threads)
        parameters = list(self.model.parameters())
        g = [values.numpy() for values in torch.autograd.grad(self.loss(), parameters)]
        return in_theta(self._net, self._layers, g[::2], g[1::2])

    def run(self, n_steps: int) -> None:
        """Steps of gradient descent."""
        torch.set_num_threads(self._n_threads)
        for _ in range(n_steps):
            self.step()

    def step(self) -> None:
        self.torch_optimizer.zero_grad()
        self.loss().backward()
        self.torch_optimizer.step()


class DenseAdamPeer(TorchDensePeer):
    """`torch.optim.Adam` with `fused=True`, its fastest form on processors."""

    checked_rate = 1e-3
    first_step = staticmethod(oracles.adam_step)

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=learning_rate, fused=True)


class CompiledDensePeer(TorchDensePeer):
    """Model and loss by `torch.compile` in its default mode, as one graph, and autograd through it.
    The first call compiles, which is before the timed part; the optimizer is as before."""

    def __init__(self, net, X: np.ndarray, Y: np.ndarray, learning_rate: float = 0.0,
                 n_threads: int = 1) -> None:
        super().__init__(net, X, Y, learning_rate, n_threads)
        self._compiled = torch.compile(super().loss, fullgraph=True, dynamic=False)

    def loss(self) -> torch.Tensor:
        return self._compiled()


def masks(split: list[Layer]) -> list[torch.Tensor | None]:
    """Of each layer's links; None where none is absent."""
    return [None if (layer.links == 1).all() else torch.from_numpy(layer.links) for layer in split]


def _times(mask: torch.Tensor):
    """A hook for the gradient: 0 where there is no link; parallel links each take the step."""
    def multiply(weight: torch.Tensor) -> None:
        weight.grad.mul_(mask)

    return multiply


def check_by_draws(peer_class: type, name: str, n: int = 64, **options) -> None:
    """Diagonals of a metric from drawn targets against Fisher's, by the mean of their traces."""
    torch.manual_seed(0)
    peer = peer_class(*oracles.workload(name), **options)
    oracles.check_mean(name, [float(peer.diagonal().sum()) for _ in range(n)])


def of_next_draws(function: Callable[[], Any]) -> Any:
    """What a function computes from the random numbers that the next step will have."""
    torch.manual_seed(SEED)
    result = function()
    torch.manual_seed(SEED)
    return result
