"""Means over blocks of 2×2 positions of maps that have another use, with one gradient for both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seamseg.ops.inplace_abn import takes_ordinary_operators


def with_half_size(x: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ``x``, or some of its rows, and the means of all rows over 2×2 positions without overlap.

    Nothing is kept for the backward pass, and the gradients of both results are added up in one tensor. Autograd would
    hold three of the size of ``x``.

    Args:
        x: N×C×H×W with even H and W.
        rows: Indices of K different rows; None for all.

    Returns:
        N×C×H×W or K×C×H×W, and N×C×H/2×W/2.
    """
    if not (torch.is_grad_enabled() and x.requires_grad) or takes_ordinary_operators() or torch.compiler.is_compiling():
        return x if rows is None else x[rows], functional.avg_pool2d(x, 2)
    whole, half = _WithHalfSize.apply(x, rows)
    return whole, half


class _WithHalfSize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        is_channels_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
        ctx.memory_format = torch.channels_last if is_channels_last else torch.contiguous_format
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        return x.view_as(x) if rows is None else x[rows], functional.avg_pool2d(x, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, whole: Tensor | None, half: Tensor | None) -> tuple[Tensor | None, None]:
        (rows,) = ctx.saved_tensors
        if whole is None or half is None or rows is not None:
            return _sum_of_rows(ctx, rows, whole, half), None
        # Views that share memory with others, such as an expanded number, have no dense format.
        whole = whole.contiguous(memory_format=ctx.memory_format)
        *leading, height, width = half.shape
        blocks = whole.view(*leading, height, 2, width, 2)
        blocks.add_(half[:, :, :, None, :, None], alpha=0.25)
        return whole, None


def _sum_of_rows(ctx: Any, rows: Tensor | None, whole: Tensor | None, half: Tensor | None) -> Tensor | None:
    """Return the sum of two gradients of which one may be missing or have some rows only."""
    if half is None:
        if whole is None or rows is None:
            return whole
        total = whole.new_zeros(ctx.shape)
    else:
        half = (half / 4).contiguous(memory_format=ctx.memory_format)
        total = functional.interpolate(half, scale_factor=2, mode="nearest")
    return total if whole is None or rows is None else total.index_add_(0, rows, whole)
