"""MABN and batch renormalization, one channel and one iteration at a time, with plain Python lists as state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

EPS = 1e-5


def _columns(x: Tensor) -> list[Tensor]:
    """Return the samples of every channel."""
    return list(x.movedim(1, 0).flatten(1))


@dataclass
class MovingAverageOracle:
    """State of one MABN layer without an activation; `forward` and `backward` are called in turn."""

    num_channels: int
    window: int
    momentum: float
    plain: int
    warmup: int
    squares: list[list[float]] = field(default_factory=list)
    products: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.running = [1.0] * self.num_channels

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """Return the output of the next iteration."""
        self.squares.append([float((column**2).mean()) for column in _columns(x)])
        iteration = len(self.squares)
        y = torch.empty_like(x)
        self.root, self.r = [], []
        for channel in range(self.num_channels):
            last = [squares[channel] for squares in self.squares[-self.window :]]
            mean = last[-1] if iteration <= self.plain else sum(last) / len(last)
            r = math.sqrt((mean + EPS) / (self.running[channel] + EPS))
            r = 1.0 if iteration <= self.warmup else min(max(r, 1 / 5), 5.0)
            m = max(self.momentum, 1 / iteration)
            self.running[channel] = (1 - m) * self.running[channel] + m * mean
            self.root.append(math.sqrt(mean + EPS))
            self.r.append(r)
            y[:, channel] = gamma[channel] * r * x[:, channel] / self.root[-1] + beta[channel]
        self.x, self.gamma = x.clone(), gamma
        return y

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of input, γ and β of the last iteration."""
        dx, iteration = torch.empty_like(dy), len(self.squares)
        z = torch.stack([self.x[:, c] / self.root[c] for c in range(self.num_channels)], dim=1)
        g = torch.stack([self.gamma[c] * self.r[c] * dy[:, c] for c in range(self.num_channels)], dim=1)
        self.products.append([float(column.mean()) for column in _columns(g * z)])
        for channel in range(self.num_channels):
            last = [products[channel] for products in self.products[-self.window :]]
            psi = last[-1] if iteration <= self.plain else sum(last) / len(last)
            dx[:, channel] = (g[:, channel] - z[:, channel] * psi) / self.root[channel]
        d_gamma = [float(column.sum()) * r for column, r in zip(_columns(dy * z), self.r, strict=True)]
        d_beta = [float(column.sum()) for column in _columns(dy)]
        return dx, torch.tensor(d_gamma), torch.tensor(d_beta)


def renormalize(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, max_scale: float, max_shift: float
) -> Tensor:
    """Return the output of batch renormalization without an activation; autograd gives its gradients."""
    shape = [1, -1] + [1] * (x.ndim - 2)
    dims = [0, *range(2, x.ndim)]
    batch_mean, batch_root = x.mean(dims), (x.var(dims, correction=0) + EPS).sqrt()
    root = (var + EPS).sqrt()
    r = (batch_root / root).clamp(1 / max_scale, max_scale).detach()
    d = ((batch_mean - mean) / root).clamp(-max_shift, max_shift).detach()
    normalized = (x - batch_mean.view(shape)) / batch_root.view(shape) * r.view(shape) + d.view(shape)
    return normalized * gamma.view(shape) + beta.view(shape)
