"""Factory of the norms, with their activation, that a network is built with.

All norms are called as ``norm(x)`` or ``norm(x, residual)`` and compute ``act(norm(x) + residual)``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from seamseg.errors import SettingsError
from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.adjusted_filters import AdjustedConv2d, AdjustedConvTranspose2d, AdjustedLinear, Adjustment
from seamseg.modules.batch_renorm import BatchRenorm, RenormLimits
from seamseg.modules.inversion import gammas
from seamseg.modules.mabn import MABN, MovingAverages
from seamseg.ops.collectives import Sync
from seamseg.ops.group_norm import group_norm
from seamseg.ops.inplace_abn import Activation, Scale, activate_, check_activation, check_input, num_samples
from seamseg.ops.native import has_values
from seamseg.ops.recomputation import is_recomputing

NormName = Literal["bn", "syncbn", "plain", "gn", "affine", "brn", "mabn"]
Layer = TypeVar("Layer", bound=nn.Module)


class PlainABN(ABN):
    """Ordinary BatchNorm and activation, which may be any, with PyTorch's operators: γ is the weight itself.

    Args:
        num_channels: Number of channels C.
        activation: ``leaky_relu``, ``elu``, ``identity`` or ``relu``.
        slope: Negative slope of the leaky ReLU or α of the ELU; > 0.
        momentum: Momentum of the running statistics; None for a cumulative average.
    """

    def __init__(
        self,
        num_channels: int,
        activation: Activation = "leaky_relu",
        slope: float = 0.01,
        momentum: float | None = 0.1,
    ) -> None:
        # The base class only accepts activations that can be inverted.
        super().__init__(num_channels, "identity" if activation == "relu" else activation, slope, momentum=momentum)
        self.activation = activation

    def gamma(self) -> Tensor:
        """Return the weight itself."""
        return torch.ones_like(self.running_mean) if self.weight is None else self.weight

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute ``act(γ·x̂ + β [+ residual])``."""
        check_input(x, self.num_channels, residual)
        training, momentum = self.updates_running_stats, 0.0
        if training and (count := num_samples(x)):
            self._check_count(count)
            if not is_recomputing():
                self.num_batches_tracked.add_(1)
                momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        y = functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training, momentum, self.eps
        )
        activate_(y, self.activation, self.slope, residual)
        return y


class AffineAct(PlainABN):
    """Fixed affine map and activation, ``act(w·(x − μ)/√(σ² + ε) + b)``, for fine-tuning with tiny batches."""

    def __init__(self, num_channels: int, activation: Activation = "leaky_relu", slope: float = 0.01) -> None:
        super().__init__(num_channels, activation, slope)
        self.statistics_frozen = True


class GroupNormAct(nn.Module):
    """Group norm followed by an activation.

    Args:
        num_channels: Number of channels C, a multiple of ``num_groups``.
        num_groups: Number of channel groups; the channels of a group share statistics.
        activation: ``leaky_relu``, ``elu``, ``identity`` or ``relu``.
        slope: Negative slope of the leaky ReLU or α of the ELU; > 0.

    Raises:
        SeamsegError: If ``num_groups`` does not divide ``num_channels``.
    """

    def __init__(
        self, num_channels: int, num_groups: int = 16, activation: Activation = "leaky_relu", slope: float = 0.01
    ) -> None:
        super().__init__()
        if activation != "relu":
            check_activation(activation, slope)
        if num_channels % num_groups:
            raise SettingsError(
                f"{num_channels} channels cannot be split into {num_groups} groups; set norm.groups to a number that "
                "divides all channel counts of the network"
            )
        self.num_groups, self.activation, self.slope = num_groups, activation, slope
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute ``act(norm(x) [+ residual])``."""
        y = group_norm(x, self.num_groups, self.weight, self.bias)
        activate_(y, self.activation, self.slope, residual)
        return y

    def extra_repr(self) -> str:
        """Return the settings that ``print`` shows."""
        return f"{self.weight.numel()}, groups={self.num_groups}, activation={self.activation}, slope={self.slope}"


@dataclass(frozen=True)
class NormFactory:
    """Choice of the norm that a network is built with; creates the norms and the layers in front of them.

    Attributes:
        name: ``bn`` (in place, statistics of this rank), ``syncbn`` (in place, statistics of all ranks), ``plain``
            (ordinary BatchNorm), ``gn`` (group norm), ``affine`` (constant statistics), ``brn`` (batch renormalization)
            or ``mabn`` (moving averages).
        activation: Activation after the norm: ``leaky_relu``, ``elu``, ``identity`` or, for ``plain``, ``gn`` and
            ``affine``, ``relu``.
        slope: Negative slope of the leaky ReLU or α of the ELU; > 0.
        scale: Relation of weight and γ in ``bn``, ``syncbn``, ``brn`` and ``mabn``; see
            :class:`seamseg.modules.abn.ABN`.
        groups: Number of channel groups of ``gn``.
        momentum: Momentum of the running statistics of ``bn``, ``syncbn``, ``plain`` and ``brn``; None for a
            cumulative average.
        sync: Ranks that run the collectives of ``syncbn`` when some ranks have no samples:
            :data:`seamseg.ops.collectives.Sync`.
        standardize_weights: Whether the filters in front of ``gn`` are standardized.
        mabn: Lengths of the averages of ``mabn``.
        brn: Limits of the correction of ``brn``.
    """

    name: NormName = "bn"
    activation: Activation = "leaky_relu"
    slope: float = 0.01
    scale: Scale = "abs"
    groups: int = 16
    momentum: float | None = 0.1
    sync: Sync = "masked"
    standardize_weights: bool = False
    mabn: MovingAverages = field(default_factory=MovingAverages)
    brn: RenormLimits = field(default_factory=RenormLimits)

    def make(self, num_channels: int, activate: bool = True) -> nn.Module:
        """Return a norm over ``num_channels`` channels, with the activation if ``activate`` is True."""
        activation: Activation = self.activation if activate else "identity"
        slope, scale, momentum = self.slope, self.scale, self.momentum
        if self.name == "gn":
            return GroupNormAct(num_channels, self.groups, activation, slope)
        if self.name == "affine":
            return AffineAct(num_channels, activation, slope)
        if self.name == "plain":
            return PlainABN(num_channels, activation, slope, momentum)
        if self.name == "mabn":
            return MABN(num_channels, activation, slope, scale=scale, averages=self.mabn)
        if self.name == "brn":
            return BatchRenorm(num_channels, activation, slope, momentum=momentum, scale=scale, limits=self.brn)
        kind = InPlaceABN if self.name == "bn" else InPlaceABNSync
        return kind(num_channels, activation, slope, momentum=momentum, scale=scale)

    @property
    def adjustment(self) -> Adjustment | None:
        """Adjustment of the filters of the layers in front of the norms; None for ordinary layers."""
        if self.name == "mabn":
            return "center"
        return "standardize" if self.name == "gn" and self.standardize_weights else None

    def conv(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> nn.Conv2d:
        """Return a convolution in front of a norm, without bias; an odd kernel keeps the size at stride 1.

        The norm may also read a sum, a concatenation or a pool of its output.
        """
        padding = dilation * (kernel_size // 2)
        kind = nn.Conv2d if self.adjustment is None else AdjustedConv2d
        return self._adjusted(
            kind(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False)
        )

    def conv_transpose(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> nn.ConvTranspose2d:
        """Return a transposed convolution in front of a norm, without bias and padding."""
        kind = nn.ConvTranspose2d if self.adjustment is None else AdjustedConvTranspose2d
        return self._adjusted(kind(in_channels, out_channels, kernel_size, stride, bias=False))

    def linear(self, in_features: int, out_features: int) -> nn.Linear:
        """Return a linear layer in front of a norm, without bias."""
        kind = nn.Linear if self.adjustment is None else AdjustedLinear
        return self._adjusted(kind(in_features, out_features, bias=False))

    def _adjusted(self, layer: Layer) -> Layer:
        """Set the adjustment of a layer that has one, and return the layer."""
        if isinstance(layer, (AdjustedConv2d, AdjustedConvTranspose2d, AdjustedLinear)) and self.adjustment:
            layer.adjustment = self.adjustment
        return layer


def uses_batch_statistics(module: nn.Module) -> bool:
    """Return whether a norm of ``module`` would normalize the next input by its own statistics."""
    norms = [child for child in module.modules() if isinstance(child, ABN)]
    return any(norm.updates_running_stats for norm in norms)


def has_per_rank_stats(network: nn.Module) -> bool:
    """Return whether the running statistics of ``network`` can differ between ranks that train it together."""
    norms = [child for child in network.modules() if isinstance(child, _BatchNorm)]
    updated = [norm for norm in norms if not (isinstance(norm, ABN) and norm.statistics_frozen)]
    return any(not isinstance(norm, InPlaceABNSync) or norm.group is not None for norm in updated)


@contextlib.contextmanager
def running_statistics(module: nn.Module) -> Iterator[None]:
    """Let the norms of ``module`` use their running statistics, without updating them, inside the context."""
    norms = [child for child in module.modules() if isinstance(child, ABN) and not child.statistics_frozen]
    for norm in norms:
        norm.statistics_frozen = True
    try:
        yield
    finally:
        for norm in norms:
            norm.statistics_frozen = False


def cache_min_gammas(network: nn.Module) -> None:
    """Read weights and biases of all in-place norms at once, so that a GPU waits only once per step.

    Without this call, every layer reads its own values in half precision and on the CPU; float32 and float64 on a GPU
    are assumed to be accurate enough.
    """
    groups: dict[tuple[object, ...], list[InPlaceABN]] = {}
    for layer in network.modules():
        if isinstance(layer, InPlaceABN) and layer.weight is not None and layer.num_channels:
            groups.setdefault((layer.eps, layer.activation == "elu", has_values(layer.weight)), []).append(layer)
    for (*_, have_values), group in groups.items():
        if have_values:
            weights = torch.cat([layer.weight for layer in group if layer.weight is not None])
            starts = np.cumsum([0] + [layer.num_channels for layer in group[:-1]])
            values = gammas(group[0], weights, torch.cat([layer.beta() for layer in group]))
            for layer, smallest in zip(group, np.minimum.reduceat(values, starts, axis=1).T.tolist(), strict=True):
                layer.inversion.cache_min_gamma(layer, smallest)
