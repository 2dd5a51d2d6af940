"""Upsampling in the mask branch for some of the regions, with the batch statistics of all of them.

The published network runs the mask branch on all sampled regions, but only the masks of positive ones have a loss. The
others matter through the batch statistics of the norms. A transposed convolution with a stride of its kernel size
multiplies the channels at each position by a matrix, so mean and variance of its output follow from mean and covariance
of its input, and the output itself is only needed where there is a loss.

The output is the largest map of the head, and cheap to compute, so that it exists for some regions at a time only, and
again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seamseg.modules.abn import InPlaceABN, InPlaceABNSync
from seamseg.modules.recomputation import can_checkpoint, checkpoint
from seamseg.ops.inplace_abn import activate_, num_samples, takes_ordinary_operators
from seamseg.ops.native import at_least_float32

_CHUNK = 64
"""Number of regions whose upsampled or centered features exist at a time."""


def recompute_in_chunks(function: Callable[..., Tensor], x: Tensor, *parameters: Tensor) -> Tensor:
    """Return ``function(x, *parameters)`` of a few rows at a time, computed again in the backward pass.

    Few rows, and rows without gradients, are computed in one call and not again.

    Args:
        function: Function that computes each row of the result from the same row of ``x``.
        x: R×….
        parameters: Further arguments of the function.
    """
    if not can_checkpoint() or len(x) <= _CHUNK:
        return function(x, *parameters)
    return torch.cat([checkpoint(function, part, *parameters) for part in torch.split(x, _CHUNK)])


def can_upsample_rows(conv: nn.Module, norm: nn.Module) -> bool:
    """Return whether :func:`upsample_rows` computes what the two layers do in a training step."""
    return (
        isinstance(conv, nn.ConvTranspose2d)
        and type(conv) is nn.ConvTranspose2d  # other classes change their filters
        and conv.kernel_size == conv.stride
        and conv.bias is None
        and conv.groups == 1
        and isinstance(norm, InPlaceABN)
        and type(norm) in (InPlaceABN, InPlaceABNSync)  # other classes change their statistics
        and norm.updates_running_stats
        and not takes_ordinary_operators()
    )


def upsample_rows(conv: nn.Module, norm: nn.Module, output: nn.Module, x: Tensor, rows: Tensor | None = None) -> Tensor:
    """Return ``output(norm(conv(x)))[rows]`` with the batch statistics of all rows, which update the running ones.

    Values and gradients equal those of the layers up to rounding; the other rows of their output are not computed.

    Args:
        conv: Transposed convolution accepted by :func:`can_upsample_rows`.
        norm: Norm after it, likewise.
        output: Layer after the norm that computes each row on its own.
        x: R×C×h×w.
        rows: Indices of K rows; None for all.

    Returns:
        Output of the last layer for K rows.

    Raises:
        SeamsegError: There is one sample per channel.
    """
    assert isinstance(conv, nn.ConvTranspose2d)
    assert isinstance(norm, InPlaceABN)
    with torch.autocast(x.device.type, enabled=False):
        mean, covariance, chosen = _MomentsAndRows.apply(x, x.new_empty(0, dtype=torch.int64) if rows is None else rows)
        weight = conv.weight.to(mean.dtype)
        count = num_samples(x) * conv.kernel_size[0] * conv.kernel_size[1]
        mean, var = norm.share_moments(*_output_moments(mean, covariance, weight), count)
        factor = norm.gamma() * (var + norm.eps).rsqrt()
        bias = norm.beta() - mean * factor
        weight = weight * factor[:, None, None]

    def upsample(part: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = functional.conv_transpose2d(part, weight, bias, conv.stride)
        activate_(y, norm.activation, norm.slope)
        result: Tensor = output(y)
        return result

    weight, bias = weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)
    return recompute_in_chunks(upsample, x if rows is None else chosen, weight, bias)


def _output_moments(mean: Tensor, covariance: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the output of a transposed convolution with a stride of its kernel size.

    Args:
        mean: Mean of the input, C.
        covariance: Covariance of the input, C×C.
        weight: C×C'×k×k.
    """
    matrices = weight.flatten(2)
    columns = matrices.flatten(1)
    means = (mean @ columns).view(matrices.shape[1:])
    variances = ((covariance @ columns) * columns).sum(dim=0).view(matrices.shape[1:])
    mean = means.mean(dim=1)
    # Variance at each position in the kernel plus variance between these positions.
    return mean, variances.mean(dim=1) + (means - mean[:, None]).square().mean(dim=1)


class _MomentsAndRows(torch.autograd.Function):
    """Mean C and covariance C×C of the channels of N×C×h×w, in float32 or float64, and some of its rows.

    One function, so that the gradients of all three need memory of the size of the input once.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = at_least_float32(x[:0]).new_zeros(x.shape[1])
        covariance = mean.new_zeros(x.shape[1], x.shape[1])
        num_positions = max(num_samples(x), 1)
        if len(x):
            mean = x.mean(dim=(0, 2, 3), dtype=mean.dtype)
        for part in torch.split(x, _CHUNK):
            centered = _centered(part, mean)
            covariance.addmm_(centered.T, centered)
        ctx.save_for_backward(x, mean, rows)
        ctx.num_positions = num_positions
        return mean, covariance / num_positions, x[rows]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dmean: Tensor, dcovariance: Tensor, drows: Tensor) -> tuple[Tensor, None]:
        x, mean, rows = ctx.saved_tensors
        factors = (dcovariance + dcovariance.T) / ctx.num_positions
        shift = dmean / ctx.num_positions
        dx = torch.empty_like(x)
        for part, gradient in zip(torch.split(x, _CHUNK), torch.split(dx, _CHUNK), strict=True):
            product = torch.addmm(shift, _centered(part, mean), factors)
            gradient.copy_(product.view(*part.movedim(1, -1).shape).movedim(-1, 1))
        return dx.index_add_(0, rows, drows), None


def _centered(part: Tensor, mean: Tensor) -> Tensor:
    return part.movedim(1, -1).flatten(0, -2).to(mean.dtype) - mean
