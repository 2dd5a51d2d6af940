"""Max pooling that does not keep its input for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from seamseg.ops.inplace_abn import takes_ordinary_operators


class LeanMaxPool2d(nn.MaxPool2d):
    """``nn.MaxPool2d`` that keeps only the positions of the maxima for the backward pass, as int32.

    PyTorch's layer also keeps its input, although the backward pass uses only its shape, and keeps positions as int64.
    That costs nothing after a norm with an activation, whose output is kept anyway. After a convolution or a residual
    sum, however, nothing else keeps the input, and in WideResNet-38 these inputs and positions are a third of what the
    forward pass keeps. Values and gradients equal those of PyTorch's layer.

    Args:
        kernel_size: Height and width of the window, in pixels.
        stride: Step of the window, in pixels.
        padding: Pixels added on each side.

    Shape:
        N×C×H×W to N×C×h×w.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute the maximum of each window."""
        keeps_nothing = not (x.requires_grad and torch.is_grad_enabled())
        # inductor keeps only positions by itself.
        if keeps_nothing or torch.compiler.is_compiling() or takes_ordinary_operators():
            return functional.max_pool2d(x, self.kernel_size, self.stride, self.padding)
        pooled: Tensor = _MaxPool.apply(x, self.kernel_size, self.stride, self.padding)
        return pooled


class _Context(FunctionCtx):
    saved_tensors: tuple[Tensor]
    shape: torch.Size
    memory_format: torch.memory_format
    window: tuple[int, int, int]


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Context, x: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
        size, step, border = ([value, value] for value in (kernel_size, stride, padding))
        pooled, places = functional.max_pool2d_with_indices(x, size, step, border)
        ctx.save_for_backward(places.int())
        channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        ctx.shape, ctx.memory_format = x.shape, torch.channels_last if channels_last else torch.contiguous_format
        ctx.window = kernel_size, stride, padding
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        kernel_size, stride, padding = ctx.window
        # The operator reads only shape and strides of the input, so it gets memory that is never written.
        shape = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=ctx.memory_format)
        backward = torch.ops.aten.max_pool2d_with_indices_backward.default
        window = ([size, size] for size in (kernel_size, stride, padding, 1))
        return backward(grad, shape, *window, False, places.long()), None, None, None
