"""BatchNorm and activation in PyTorch's own layers, with the same weights as an in-place norm."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def gamma(weight: Tensor, scale: str, eps: float = 1e-5) -> Tensor:
    """Return the factor γ, channel by channel; differentiable, and a weight of 0 counts as positive."""
    factors = []
    for value in weight.unbind():
        positive = bool(value >= 0)
        if scale == "abs":
            factors.append((value if positive else -value) + eps)
        else:
            factors.append(value + eps if positive else value - eps)
    return torch.stack(factors)


def activate(y: Tensor, activation: str, slope: float) -> Tensor:
    """Apply the activation out of place."""
    if activation == "leaky_relu":
        return torch.where(y >= 0, y, slope * y)
    if activation == "elu":
        return torch.where(y >= 0, y, slope * (y.clamp(max=0).exp() - 1))
    return y


def stir(network: torch.nn.Module, seed: int = 1) -> None:
    """Set random values everywhere.

    Norm weights have both signs and are not small. Biases and running statistics differ from those of any batch.
    Convolutions and linear layers keep the magnitude of their input.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if value.ndim > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif name.endswith("weight"):
                value.uniform_(0.5, 1.5, generator=generator)
                value[::3] *= -1
            elif value.is_floating_point():
                value.normal_(generator=generator)


class NormThenActivation(torch.nn.Module):
    """PyTorch's BatchNorm with γ as its weight, followed by the activation."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: str, slope: float, scale: str) -> None:
        super().__init__()
        self.weight, self.bias = (torch.nn.Parameter(values.detach().clone()) for values in (weight, bias))
        self.activation, self.slope, self.scale = activation, slope, scale
        self.register_buffer("running_mean", torch.zeros_like(weight))
        self.register_buffer("running_var", torch.ones_like(weight))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute the output of x with any number of dimensions; a residual is added before the activation."""
        y = functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            gamma(self.weight, self.scale),
            self.bias,
            self.training,
            0.1,
            1e-5,
        )
        return activate(y if residual is None else y + residual, self.activation, self.slope)
