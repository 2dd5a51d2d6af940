"""Mean over a large window at every position, in a time that does not depend on the window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.ops import native

_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def window_mean(x: Tensor, window: int) -> Tensor:
    """Average-pool with stride 1 and pad the result by replication to the size of the input.

    The window is ``min(window, size)`` per axis. Of the ``k − 1`` missing positions of a window k, ``(k − 1) // 2`` are
    added at the beginning and the rest at the end. A native operator keeps running sums on the CPU and on GPUs. Prefix
    sums are used elsewhere and in exported models; a 64×64 average pool would read every value 4096 times.

    Args:
        x: N×C×H×W.
        window: Side of the window in positions; ≥ 1.

    Returns:
        N×C×H×W. Half-precision inputs are accumulated in float32.

    Example:
        >>> window_mean(torch.tensor([[[[1.0, 2, 3, 4, 5]]]]), 3)
        tensor([[[[2., 2., 3., 4., 4.]]]])
    """
    if x.dtype not in _TYPES or torch.compiler.is_exporting() or not native.has_kernels(x.device):
        return _mean_along(_mean_along(x, window, -1), window, -2)
    native.require("window_mean_gradient", _same_shape)
    native.require("window_mean", _same_shape, _backward, _setup)
    try:
        mean: Tensor = torch.ops.seamseg.window_mean(x, window)
    except RuntimeError as error:
        raise native.argument_error(error, "window_mean") from None
    return mean


def _mean_along(x: Tensor, window: int, dim: int) -> Tensor:
    size = x.shape[dim]
    if not isinstance(size, int):
        return _mean_along_any(x, window, dim)
    if size <= window:
        return x.mean(dim=dim, keepdim=True).expand_as(x)
    compute = native.at_least_float32(x)
    before = (window - 1) // 2
    padding = (1, 0, 0, 0) if dim == -1 else (0, 0, 1, 0)
    sums = functional.pad(compute.cumsum(dim), padding)
    mean = (sums.narrow(dim, window, size - window + 1) - sums.narrow(dim, 0, size - window + 1)) / window
    after = size - mean.shape[dim] - before
    replicate = (before, after, 0, 0) if dim == -1 else (0, 0, before, after)
    return functional.pad(mean, replicate, mode="replicate").to(x.dtype)


def _mean_along_any(x: Tensor, window: int, dim: int) -> Tensor:
    """Compute the same in a graph for any size, where no operator depends on which of size and window is larger."""
    compute, size = native.at_least_float32(x), x.shape[dim]
    sums = functional.pad(compute.cumsum(dim), (1, 0, 0, 0) if dim == -1 else (0, 0, 1, 0))
    # TensorRT has no clamp of integers, and float32 holds these numbers exactly.
    position = torch.arange(size, dtype=torch.float32, device=x.device) - (window - 1) // 2
    last = (position.clamp(min=0) + window).clamp(max=size)
    first = (last - window).clamp(min=0)
    count = (last - first).to(compute.dtype)
    total = sums.index_select(dim, last.long()) - sums.index_select(dim, first.long())
    return (total / (count if dim == -1 else count[:, None])).to(x.dtype)


def _same_shape(x: Tensor, window: int) -> Tensor:
    channels_last = not x.is_contiguous() and x.stride(1) == 1
    return torch.empty_like(x, memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _setup(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    _, ctx.window = inputs


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return torch.ops.seamseg.window_mean_gradient(gradient, ctx.window), None
