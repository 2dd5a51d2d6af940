"""Filters minus their mean, divided by their standard deviation, in one pass for each direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seamseg.ops import native
from seamseg.ops.inplace_abn import takes_ordinary_operators


def standardize_filters(weight: Tensor, eps: float) -> Tensor:
    """Return each filter minus its mean, divided by its standard deviation.

    On the CPU, a native operator also converts the filters to bfloat16 if autocast would do so for the next
    convolution; PyTorch's operators would copy each filter four times in a training step.

    Args:
        weight: O×…, one filter per row, with any number of dimensions.
        eps: Constant added to the variance of a filter.

    Returns:
        Filters of the same shape and memory format; bfloat16 as described, otherwise in the type of the weight.

    Raises:
        NativeLibraryError: If the native library is missing.

    Example:
        >>> standardize_filters(torch.tensor([[1.0, 3.0]]), eps=0.0)
        tensor([[-1.,  1.]])
    """
    if _has_kernel(weight):
        native.require("standardize_filters", _shapes)
        native.require("standardize_filters_gradient", _gradient_shapes)
        in_bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        filters: Tensor = _StandardizeFilters.apply(weight, in_bfloat16, eps)
        return filters
    # Layer norm, which has one kernel for each direction, is several times faster than var_mean.
    rows = weight.movedim(1, -1) if _is_channels_last(weight) else weight  # dense in the weight's own memory format
    rows = functional.layer_norm(rows, rows.shape[1:], eps=eps)
    return rows.movedim(-1, 1) if _is_channels_last(weight) else rows


def _is_channels_last(weight: Tensor) -> bool:
    return weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)


def _has_kernel(weight: Tensor) -> bool:
    # Compilers merge PyTorch's operators with others.
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or torch.compiler.is_compiling():
        return False
    is_dense = weight.is_contiguous() or _is_channels_last(weight)
    return is_dense and weight.ndim > 1 and weight.numel() > 0 and not takes_ordinary_operators()


# Not by torch.library.register_autograd, whose Python part takes as long as the kernel for most filters.
class _StandardizeFilters(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, in_bfloat16: bool, eps: float) -> Tensor:
        filters: Tensor
        filters, statistics = torch.ops.seamseg.standardize_filters(weight, in_bfloat16, eps)
        ctx.save_for_backward(weight, statistics)
        return filters

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dfilters: Tensor) -> tuple[Tensor, None, None]:
        weight, statistics = ctx.saved_tensors
        return torch.ops.seamseg.standardize_filters_gradient(weight, dfilters, statistics), None, None


def _shapes(weight: Tensor, in_bfloat16: bool, eps: float) -> tuple[Tensor, Tensor]:
    filters = torch.empty_like(weight, dtype=torch.bfloat16 if in_bfloat16 else torch.float32)
    return filters, weight.new_empty(len(weight), 2)


def _gradient_shapes(weight: Tensor, dfilters: Tensor, statistics: Tensor) -> Tensor:
    return torch.empty_like(weight)
