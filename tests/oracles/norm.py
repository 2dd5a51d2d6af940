"""BatchNorm and activation in PyTorch's own layers, with the weight that the in-place norm stands for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def gamma(weight: Tensor, scale: str, eps: float = 1e-5) -> Tensor:
    """The factor of every channel, one after the other; differentiable, a weight of 0 is positive."""
    factors = []
    for value in weight.unbind():
        positive = bool(value >= 0)
        if scale == "abs":
            factors.append((value if positive else -value) + eps)
        else:
            factors.append(value + eps if positive else value - eps)
    return torch.stack(factors)


def activate(y: Tensor, activation: str, slope: float) -> Tensor:
    """Out of place."""
    if activation == "leaky_relu":
        return torch.where(y >= 0, y, slope * y)
    if activation == "elu":
        return torch.where(y >= 0, y, slope * (y.clamp(max=0).exp() - 1))
    return y


class NormThenActivation(torch.nn.Module):
    """PyTorch's BatchNorm, fed with the factor, and the activation."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: str, slope: float, scale: str) -> None:
        super().__init__()
        self.weight, self.bias = (torch.nn.Parameter(values.detach().clone()) for values in (weight, bias))
        self.activation, self.slope, self.scale = activation, slope, scale
        self.register_buffer("running_mean", torch.zeros_like(weight))
        self.register_buffer("running_var", torch.ones_like(weight))

    def forward(self, x: Tensor, momentum: float = 0.1) -> Tensor:
        """``momentum`` of this step; x may have any number of dimensions."""
        y = functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            gamma(self.weight, self.scale),
            self.bias,
            self.training,
            momentum,
            1e-5,
        )
        return activate(y, self.activation, self.slope)
