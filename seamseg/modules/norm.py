"""Which norm, with its activation, the network is built with.

All kinds are called as ``norm(x)`` or ``norm(x, residual)`` and give ``act(norm(x) + residual)``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seamseg.errors import SettingsError
from seamseg.modules.abn import ABN, AffineAct, InPlaceABN, InPlaceABNSync
from seamseg.modules.inversion import gammas
from seamseg.ops.collectives import Sync
from seamseg.ops.inplace_abn import Activation, Scale, activate_, check_activation

NormName = Literal["bn", "syncbn", "gn", "affine"]


class GroupNormAct(nn.Module):
    """Group norm followed by an activation.

    Args:
        num_channels: C, a multiple of ``num_groups``.
        num_groups: of channels that share statistics.
        activation, slope: as in :class:`seamseg.modules.abn.ABN`.

    Raises:
        SeamsegError: the groups don't divide the channels.
    """

    def __init__(
        self, num_channels: int, num_groups: int = 16, activation: Activation = "leaky_relu", slope: float = 0.01
    ) -> None:
        super().__init__()
        check_activation(activation, slope)
        if num_channels % num_groups:
            raise SettingsError(
                f"{num_channels} channels cannot be split into {num_groups} groups; choose norm.groups so that it "
                "divides all widths of the network"
            )
        self.num_groups, self.activation, self.slope = num_groups, activation, slope
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """``act(norm(x) [+ residual])``."""
        y = functional.group_norm(x, self.num_groups, self.weight, self.bias)
        if residual is not None:
            y += residual
        activate_(y, self.activation, self.slope)
        return y

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, groups={self.num_groups}, activation={self.activation}, slope={self.slope}"


@dataclass(frozen=True)
class NormFactory:
    """Which norm the network is built with; makes the layers.

    Attributes:
        name: ``bn`` (in place, this rank's statistics), ``syncbn`` (in place, all ranks'), ``gn``, ``affine``.
        activation, slope: what follows the norm.
        scale: of ``bn`` and ``syncbn``.
        groups: of ``gn``.
        momentum: of the running statistics.
        sync: of ``syncbn``, where some ranks have no samples: who runs the collectives.
    """

    name: NormName = "bn"
    activation: Activation = "leaky_relu"
    slope: float = 0.01
    scale: Scale = "abs"
    groups: int = 16
    momentum: float | None = 0.1
    sync: Sync = "masked"

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
    return any(norm.updates_running_stats for norm in norms)


def has_per_rank_stats(network: nn.Module) -> bool:
    """Whether ranks that train ``network`` together come to running statistics of their own."""
    norms = [child for child in network.modules() if isinstance(child, ABN) and not child.statistics_frozen]
    return any(not isinstance(norm, InPlaceABNSync) or norm.group is not None for norm in norms)


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


def cache_min_gammas(network: nn.Module) -> None:
    """Looks at weights and biases of all in-place norms at once, so that a GPU waits once per step.

    Without it, layers look one by one in half types and on CPUs; on GPUs they take wide types for accurate enough.
    """
    groups: dict[tuple[object, ...], list[InPlaceABN]] = {}
    for layer in network.modules():
        if isinstance(layer, InPlaceABN) and layer.weight is not None and layer.num_channels:
            groups.setdefault((layer.eps, layer.activation == "elu", layer.weight.is_meta), []).append(layer)
    for (*_, is_meta), group in groups.items():
        if not is_meta:
            weights = torch.cat([layer.weight for layer in group if layer.weight is not None])
            starts = np.cumsum([0] + [layer.num_channels for layer in group[:-1]])
            values = gammas(group[0], weights, torch.cat([layer.beta() for layer in group]))
            for layer, smallest in zip(group, np.minimum.reduceat(values, starts, axis=1).T.tolist(), strict=True):
                layer.inversion.learn(layer, smallest)
