"""Means over blocks of 2×2 positions of maps that have another use, with one gradient for both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.ops.inplace_abn import takes_ordinary_operators


def with_half_size(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``x`` and its means over 2×2 positions without overlap, keeping nothing for the backward pass.

    Of the result, the first tensor must be used instead of ``x``: the gradients of both are then added up in the memory
    of one of them, while autograd would hold three tensors of the size of ``x``.

    Args:
        x: N×C×H×W with even H and W.

    Returns:
        N×C×H×W and N×C×H/2×W/2.
    """
    if not (torch.is_grad_enabled() and x.requires_grad) or takes_ordinary_operators() or torch.compiler.is_compiling():
        return x, functional.avg_pool2d(x, 2)
    whole, half = _WithHalfSize.apply(x)
    return whole, half


class _WithHalfSize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return x.view_as(x), functional.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, whole: Tensor | None, half: Tensor | None) -> Tensor | None:
        if half is None:
            return whole
        if whole is None:
            return functional.interpolate(half / 4, scale_factor=2, mode="nearest")
        if not whole.is_contiguous() and not whole.is_contiguous(memory_format=torch.channels_last):
            whole = whole.contiguous()  # such as an expanded number, whose elements share memory
        *leading, height, width = half.shape
        blocks = whole.view(*leading, height, 2, width, 2)
        blocks.add_(half[:, :, :, None, :, None], alpha=0.25)
        return whole
