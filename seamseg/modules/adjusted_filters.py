"""Convolutions and linear layers that adjust their filters before they use them, for the norms that depend on it.

- ``center``: each filter minus its mean (``CenConv2d`` in Yan et al., ICLR 2020, section 4.2), for MABN.
- ``standardize``: each filter minus its mean, divided by its standard deviation (Qiao et al., "Micro-Batch Training
  with Batch-Channel Normalization and Weight Standardization", 2019, section 3), for group norm.

A filter is all weights that contribute to one output channel. The parameter is the filter before the adjustment, under
its usual name, so that state dicts, initialization and weight decay work as for an ordinary layer.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from seamseg.ops.standardized_filters import standardize_filters

Adjustment = Literal["center", "standardize"]

VARIANCE_EPS = 1e-10
"""Constant added to the variance of a filter, far below that of initial weights."""


def adjust(weight: Tensor, adjustment: Adjustment, output_dim: int = 0) -> Tensor:
    """Return the filters that a layer uses; differentiable.

    Args:
        weight: Weight of the layer with any number of dimensions.
        adjustment: Change to each filter.
        output_dim: Dimension of the output channels.
    """
    if adjustment == "center":
        dims = [dim for dim in range(weight.ndim) if dim != output_dim]
        return weight - weight.mean(dim=dims, keepdim=True)
    filters = standardize_filters(weight.movedim(output_dim, 0), VARIANCE_EPS)
    return filters.movedim(0, output_dim)


class AdjustedConv2d(nn.Conv2d):
    """``nn.Conv2d`` without bias and with the same padding on all sides, whose filters are adjusted.

    Attributes:
        adjustment: Change to each filter; see :func:`adjust`.
    """

    adjustment: Adjustment = "center"

    def adjusted_weight(self) -> Tensor:
        """Return the filters that the layer uses."""
        return adjust(self.weight, self.adjustment)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the adjusted filters."""
        output: Tensor = self._conv_forward(x, self.adjusted_weight(), self.bias)
        return output


class AdjustedConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` without groups whose filters are adjusted; see :class:`AdjustedConv2d`."""

    adjustment: Adjustment = "center"

    def adjusted_weight(self) -> Tensor:
        """Return the filters that the layer uses."""
        return adjust(self.weight, self.adjustment, output_dim=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve with the adjusted filters; the output size follows from the settings of the layer."""
        assert output_size is None
        assert self.groups == 1
        assert isinstance(self.padding, tuple)
        return functional.conv_transpose2d(
            x,
            self.adjusted_weight(),
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


class AdjustedLinear(nn.Linear):
    """``nn.Linear`` whose filters, the rows of its weight, are adjusted; see :class:`AdjustedConv2d`."""

    adjustment: Adjustment = "center"

    def adjusted_weight(self) -> Tensor:
        """Return the filters that the layer uses."""
        return adjust(self.weight, self.adjustment)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the adjusted filters."""
        return functional.linear(x, self.adjusted_weight(), self.bias)


_PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    AdjustedConv2d: nn.Conv2d,
    AdjustedConvTranspose2d: nn.ConvTranspose2d,
    AdjustedLinear: nn.Linear,
}


@torch.no_grad()
def use_adjusted_weight(layer: nn.Module) -> None:
    """Adjust the filters one last time and make an ordinary layer of ``layer``, for inference; others stay as they are.

    Args:
        layer: Any module; changed in place.
    """
    if isinstance(layer, (AdjustedConv2d, AdjustedConvTranspose2d, AdjustedLinear)):
        layer.weight = nn.Parameter(layer.adjusted_weight(), layer.weight.requires_grad)
        layer.__class__ = _PLAIN[type(layer)]  # type: ignore[assignment]
