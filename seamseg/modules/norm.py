"""Norm and activation as one layer, in the kinds the network can be built with.

==============  ========================================================================================
`ABN`           BatchNorm, then the activation, out of place: the reference for the others
`InPlaceABN`    the same in place, keeping only its output (Rota Bulò et al., CVPR 2018)
`InPlaceABNSync` the same with statistics over all ranks
`AffineAct`     stored statistics that never change, plain weight: a fixed affine map
`GroupNormAct`  group norm (Wu and He, ECCV 2018), no running statistics
==============  ========================================================================================
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional

from seamseg.ops.collectives import Moments, is_distributed, reduce_moments
from seamseg.ops.inplace_abn import Activation, Statistics, activate_, batch_moments, check_activation, inplace_abn

NormName = Literal["bn", "syncbn", "gn", "affine"]
Scale = Literal["abs", "signed"]


class ABN(nn.Module):
    """BatchNorm followed by an activation.

    Args:
        num_channels: C.
        activation: ``leaky_relu``, ``elu`` or ``identity``.
        slope: of the leaky ReLU, α of the ELU; > 0.
        eps: added to the variance, and to the size of the weight.
        momentum: of the running statistics ``r ← (1 − m)·r + m·new``; None for the cumulative average.
        scale: ``abs``: γ = abs(w) + ε, the paper's; ``signed``: γ = w + sign(w)·ε, which accepts the weights of an
            ordinary BatchNorm. sign(0) = +1 in both.

    Shape:
        N×C×…, of any floating type, to the same.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_channels: int,
        activation: Activation = "leaky_relu",
        slope: float = 0.01,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        scale: Scale = "abs",
    ) -> None:
        super().__init__()
        check_activation(activation, slope)
        self.num_channels, self.activation, self.slope = num_channels, activation, slope
        self.eps, self.momentum, self.scale = eps, momentum, scale
        self.statistics_frozen = False
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def gamma(self) -> Tensor:
        """The factor that the weight stands for; never zero."""
        # where() instead of abs() and sign(): their derivative at 0 is 0, and such a weight would never move again.
        if self.scale == "abs":
            return torch.where(self.weight >= 0, self.weight, -self.weight) + self.eps
        return torch.where(self.weight >= 0, self.weight + self.eps, self.weight - self.eps)

    def freeze(self) -> None:
        """Stops training of the parameters and of the running statistics, which are used from now on."""
        self.statistics_frozen = True
        self.requires_grad_(False)

    def statistics(self, x: Tensor) -> Statistics:
        """What ``x`` is normalised by; in training the running statistics move."""
        if not self.training or self.statistics_frozen:
            return Statistics(self.running_mean, self.running_var)
        moments = self.reduce(batch_moments(x.detach()))
        # Only few samples can be too few; asking for the count otherwise would make a GPU wait. A rank that has none
        # asks too, so that all ranks of a group fail together.
        if x.numel() <= self.num_channels and moments.count == 1:
            raise ValueError(
                f"a norm over {self.num_channels} channels got one sample per channel in training (input "
                f"{tuple(x.shape)}), which has no variance; use larger batches or images, or norm.name=gn"
            )
        self._update_running(moments)
        return Statistics(moments.mean, moments.var, moments.count)

    def reduce(self, local: Moments) -> Moments:
        """The moments that count: this rank's own."""
        return local

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.statistics(x)
        mean, var = statistics.mean, statistics.var
        compute = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        if statistics.count is not None and x.numel():
            # Again, with a graph: here autograd differentiates through the statistics.
            dims = [dim for dim in range(x.ndim) if dim != 1]
            var, mean = torch.var_mean(compute, dim=dims, correction=0)
        shape = [1, -1] + [1] * (x.ndim - 2)
        y = (compute - mean.view(shape)) * (self.gamma() * (var + self.eps).rsqrt()).view(shape) + self.bias.view(shape)
        activate_(y, self.activation, self.slope)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_channels}, activation={self.activation}, slope={self.slope}, scale={self.scale}"

    @torch.no_grad()
    def _update_running(self, moments: Moments) -> None:
        # Without a sample (an empty batch) nothing is learnt: it does not count, and its statistics weigh 0.
        self.num_batches_tracked += moments.count > 0
        momentum = 1 / max(int(self.num_batches_tracked), 1) if self.momentum is None else self.momentum
        new = (moments.count > 0) * momentum
        unbiased = moments.var * moments.count / (moments.count - 1).clamp(min=1)
        self.running_mean.lerp_(moments.mean.to(self.running_mean.dtype), new.to(self.running_mean.dtype))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), new.to(self.running_var.dtype))


class InPlaceABN(ABN):
    """:class:`ABN` that overwrites its input and keeps only its output for the backward pass.

    The input must not be needed by anyone else: not by the operation that made it (convolutions, linear layers,
    additions and concatenations don't need theirs), and not by a second reader.
    """

    def forward(self, x: Tensor) -> Tensor:
        return inplace_abn(x, self.gamma(), self.bias, self.statistics(x), self.eps, self.activation, self.slope)


class InPlaceABNSync(InPlaceABN):
    """:class:`InPlaceABN` with the statistics of all ranks.

    One collective in the forward pass, one in the backward pass; exact for different numbers of samples per rank,
    none included. Without a started process group the statistics are this process's own.

    Args:
        group: the ranks that take part; None means all.
    """

    group: dist.ProcessGroup | None = None

    def statistics(self, x: Tensor) -> Statistics:
        own = super().statistics(x)
        if own.count is None or not is_distributed():
            return own
        return Statistics(own.mean, own.var, own.count, self.group, synchronised=True)

    def reduce(self, local: Moments) -> Moments:
        return reduce_moments(local, self.group) if is_distributed() else local


class AffineAct(ABN):
    """Stored statistics and a plain weight: ``act(w·(x − μ)/√(σ² + ε) + b)``, for fine-tuning with tiny batches."""

    def __init__(self, num_channels: int, activation: Activation = "leaky_relu", slope: float = 0.01) -> None:
        super().__init__(num_channels, activation, slope)
        self.statistics_frozen = True

    def gamma(self) -> Tensor:
        return self.weight


class GroupNormAct(nn.Module):
    """Group norm followed by an activation.

    Args:
        num_channels: C, a multiple of ``num_groups``.
        num_groups: of channels that share statistics.
        activation, slope: as in :class:`ABN`.

    Raises:
        ValueError: the groups don't divide the channels.
    """

    def __init__(
        self, num_channels: int, num_groups: int = 16, activation: Activation = "leaky_relu", slope: float = 0.01
    ) -> None:
        super().__init__()
        check_activation(activation, slope)
        if num_channels % num_groups:
            raise ValueError(
                f"{num_channels} channels cannot be split into {num_groups} groups; choose norm.groups so that it "
                "divides all widths of the network"
            )
        self.num_groups, self.activation, self.slope = num_groups, activation, slope
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.group_norm(x, self.num_groups, self.weight, self.bias)
        activate_(y, self.activation, self.slope)
        return y

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, groups={self.num_groups}, activation={self.activation}, slope={self.slope}"


@dataclass(frozen=True)
class Norm:
    """Which norm the network is built with; makes the layers.

    Attributes:
        name: ``bn`` (in place, this rank's statistics), ``syncbn`` (in place, all ranks'), ``gn``, ``affine``.
        activation, slope: what follows the norm.
        scale: of ``bn`` and ``syncbn``.
        groups: of ``gn``.
        momentum: of the running statistics.
    """

    name: NormName = "bn"
    activation: Activation = "leaky_relu"
    slope: float = 0.01
    scale: Scale = "abs"
    groups: int = 16
    momentum: float | None = 0.1

    def make(self, num_channels: int, activate: bool = True) -> nn.Module:
        """A norm over this many channels, with the activation or without."""
        activation: Activation = self.activation if activate else "identity"
        if self.name == "gn":
            return GroupNormAct(num_channels, self.groups, activation, self.slope)
        if self.name == "affine":
            return AffineAct(num_channels, activation, self.slope)
        kind = InPlaceABN if self.name == "bn" else InPlaceABNSync
        return kind(num_channels, activation, self.slope, momentum=self.momentum, scale=self.scale)


def uses_batch_statistics(module: nn.Module) -> bool:
    """Whether a norm of ``module`` would take its statistics from the next input."""
    norms = [child for child in module.modules() if isinstance(child, ABN)]
    return any(norm.training and not norm.statistics_frozen for norm in norms)


@contextlib.contextmanager
def running_statistics(module: nn.Module) -> Iterator[None]:
    """Within it the norms of ``module`` use their running statistics and leave them as they are."""
    norms = [child for child in module.modules() if isinstance(child, ABN) and not child.statistics_frozen]
    for norm in norms:
        norm.statistics_frozen = True
    try:
        yield
    finally:
        for norm in norms:
            norm.statistics_frozen = False


def warn_once(owner: nn.Module, message: str) -> None:
    """Says it the first time only, for this module."""
    if not getattr(owner, "_warned", False):
        owner._warned = True  # type: ignore[assignment]
        warnings.warn(message, stacklevel=3)
