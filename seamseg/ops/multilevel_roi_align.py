"""Native RoIAlign over all levels of a pyramid at once (He et al., Mask R-CNN, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seamseg.ops import native

_TYPES = (torch.float32, torch.bfloat16)
_GPU_TYPES = (*_TYPES, torch.float16)


def has_kernel(levels: Sequence[Tensor]) -> bool:
    """Return whether :func:`multilevel_roi_align` supports the type and the device of the levels."""
    first = levels[0]
    types = _GPU_TYPES if first.device.type == "cuda" else _TYPES
    are_alike = all(level.dtype == first.dtype and level.device == first.device for level in levels)
    return are_alike and first.dtype in types and native.has_kernels(first.device)


def multilevel_roi_align(
    levels: Sequence[Tensor], boxes: Tensor, image_index: Tensor, level_index: Tensor, output_size: int
) -> Tensor:
    """Sample each bin of every region once, bilinearly at its center, from one pyramid level.

    The rules follow ``torchvision.ops.roi_align`` with ``sampling_ratio=1`` and ``aligned=True``: samples up to
    one pixel outside the centers of the outermost pixels read those pixels, and all others are 0. All arithmetic is in
    float32. Gradients of a level are summed in float32. On the CPU, this happens in the order of the regions, so they
    do not depend on the number of threads. On a GPU, atomic additions happen in any order, as in torchvision, so the
    gradients differ by rounding from run to run. Boxes get no gradient.

    The operator does not wait for a GPU. There, an index out of range fails an assertion of the kernel, which is a
    later CUDA error.

    Args:
        levels: Pyramid levels, N×C×h×w each, all float32, all bfloat16, or on a GPU all float16; at most 8 on a GPU.
        boxes: R×4 float32 (y0, x0, y1, x1) in pixel edges of the region's level.
        image_index: R int64, the image of each region.
        level_index: R int64, the level of each region.
        output_size: Side of the sampled features, in bins.

    Returns:
        R×C×output×output in the type of the levels, channels last if the first level is.

    Raises:
        ValueError: If a tensor has another type or shape, an index is out of range, or a region's level has no pixels.
        NativeLibraryError: If the native library is missing.

    Example:
        >>> level = torch.arange(16.0).view(1, 1, 4, 4)
        >>> first = torch.zeros(1, dtype=torch.int64)
        >>> multilevel_roi_align([level], torch.tensor([[0.0, 0, 4, 4]]), first, first, output_size=2)
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """
    native.require("multilevel_roi_align_gradient", _gradient_shapes)
    native.require("multilevel_roi_align", _features_shape, _backward, _setup)
    try:
        features: Tensor = torch.ops.seamseg.multilevel_roi_align(
            list(levels), boxes, image_index, level_index, output_size
        )
    except RuntimeError as error:
        raise native.argument_error(error, "multilevel_roi_align") from None
    return features


def _setup(ctx: Any, inputs: tuple[list[Tensor], Tensor, Tensor, Tensor, int], output: Tensor) -> None:
    levels, *regions, _ = inputs
    ctx.save_for_backward(*regions)
    ctx.shapes, ctx.dtype = [tuple(level.shape) for level in levels], levels[0].dtype
    ctx.channels_last = _is_channels_last(levels[0])


def _backward(ctx: Any, gradient: Tensor) -> tuple[list[Tensor], None, None, None, None]:
    heights, widths = [shape[2] for shape in ctx.shapes], [shape[3] for shape in ctx.shapes]
    gradients = torch.ops.seamseg.multilevel_roi_align_gradient(
        gradient, *ctx.saved_tensors, ctx.shapes[0][0], heights, widths, ctx.channels_last
    )
    return [level.to(ctx.dtype) for level in gradients], None, None, None, None


def _is_channels_last(x: Tensor) -> bool:
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _empty(x: Tensor, shape: Sequence[int], channels_last: bool, dtype: torch.dtype) -> Tensor:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device=x.device, memory_format=memory_format)


def _features_shape(
    levels: Sequence[Tensor], boxes: Tensor, image_index: Tensor, level_index: Tensor, output_size: int
) -> Tensor:
    shape = (boxes.shape[0], levels[0].shape[1], output_size, output_size)
    return _empty(levels[0], shape, _is_channels_last(levels[0]), levels[0].dtype)


def _gradient_shapes(
    gradient: Tensor,
    boxes: Tensor,
    image_index: Tensor,
    level_index: Tensor,
    num_images: int,
    heights: Sequence[int],
    widths: Sequence[int],
    channels_last: bool,
) -> list[Tensor]:
    num_channels = gradient.shape[1]
    return [
        _empty(gradient, (num_images, num_channels, *size), channels_last, torch.float32)
        for size in zip(heights, widths, strict=True)
    ]
