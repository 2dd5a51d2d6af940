"""Group norm (Wu and He, ECCV 2018, section 3) that is as fast in channels last as in the contiguous format."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seamseg.ops import native
from seamseg.ops.abn_kernels import compute_type
from seamseg.ops.inplace_abn import takes_ordinary_operators

_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def group_norm(x: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalize groups of neighboring channels of each image, and scale and shift each channel.

    On the CPU, a native operator computes inputs in channels last; all others take PyTorch's operator.

    Args:
        x: N×C×… of any floating-point type.
        num_groups: Number of groups; it divides C.
        weight: C factors.
        bias: C addends.
        eps: Constant added to the variance.

    Returns:
        N×C×… in the type and memory format of ``x``. The statistics of half-precision inputs are float32.

    Raises:
        NativeLibraryError: If the native library is missing.

    Example:
        >>> x = torch.tensor([[1.0, 3.0], [10.0, 30.0]]).view(1, 2, 2, 1)
        >>> group_norm(x, 2, torch.ones(2), torch.zeros(2)).flatten()
        tensor([-1.0000,  1.0000, -1.0000,  1.0000])
    """
    if not _has_kernel(x):
        return functional.group_norm(x, num_groups, weight, bias, eps)
    native.require("group_norm_gradient", _gradient_shapes)
    native.require("group_norm", _shapes)
    compute = compute_type(x)
    try:
        y: Tensor = _GroupNorm.apply(x, num_groups, weight.to(compute).contiguous(), bias.to(compute).contiguous(), eps)
    except RuntimeError as error:
        raise native.argument_error(error, "group_norm") from None
    return y


def _has_kernel(x: Tensor) -> bool:
    # Compilers merge PyTorch's operator with the next ones.
    if x.device.type not in ("cpu", "meta") or x.dtype not in _TYPES or torch.compiler.is_compiling():
        return False
    return x.ndim == 4 and x.stride(1) == 1 and not x.is_contiguous() and not takes_ordinary_operators()


# Not by torch.library.register_autograd, whose Python part takes longer than the kernels for small maps.
class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y: Tensor
        y, statistics = torch.ops.seamseg.group_norm(x, num_groups, weight, bias, eps)
        ctx.save_for_backward(x, statistics, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
        x, statistics, weight = ctx.saved_tensors
        dx, dweight, dbias = torch.ops.seamseg.group_norm_gradient(x, dy, statistics, weight)
        return dx, None, dweight, dbias, None


def _shapes(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(x, memory_format=torch.channels_last)
    return y, x.new_empty((x.shape[0], 2, groups), dtype=compute_type(x))


def _gradient_shapes(x: Tensor, dy: Tensor, statistics: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    return dx, torch.empty_like(weight), torch.empty_like(weight)
