"""The CUDA kernels of multilevel RoIAlign on the CPU, called like their operators."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from native.harness import TYPES, Operators
from torch import Tensor


class _Call(ctypes.Structure):
    """Arguments of a kernel, as in cuda_host/roi_align.cpp."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("type", "num_levels", "images", "channels", "channels_last")],
        *[(name, ctypes.c_void_p) for name in ("values", "heights", "widths", "boxes", "image_index", "level_index")],
        *[(name, ctypes.c_int64) for name in ("num", "size")],
        ("features", ctypes.c_void_p),
    ]


class RoIAlignKernels(Operators):
    """Features of regions and their gradient."""

    def multilevel_roi_align(
        self, levels: Sequence[Tensor], boxes: Tensor, image_index: Tensor, level_index: Tensor, output_size: int
    ) -> Tensor:
        channels_last = not levels[0].is_contiguous()
        shape = (len(boxes), levels[0].shape[1], output_size, output_size)
        features = _in_layout(torch.full(shape, torch.nan, dtype=levels[0].dtype), channels_last)
        regions = (boxes, image_index, level_index)
        self._run("roi_align_sample", [_in_layout(level, channels_last) for level in levels], regions, features)
        return features

    def multilevel_roi_align_gradient(self, gradient: Tensor, *arguments: Any) -> list[Tensor]:
        regions, (num_images, heights, widths, channels_last) = arguments[:3], arguments[3:]
        shapes = [(num_images, gradient.shape[1], *size) for size in zip(heights, widths, strict=True)]
        levels = [_in_layout(torch.zeros(shape), channels_last) for shape in shapes]
        self._run("roi_align_spread", levels, regions, _in_layout(gradient, channels_last))
        return levels

    def _run(self, function: str, levels: Sequence[Tensor], regions: Sequence[Tensor], features: Tensor) -> None:
        num, channels_last = len(levels), not levels[0].is_contiguous()
        values = (ctypes.c_void_p * num)(*(level.data_ptr() for level in levels))
        sizes = [(ctypes.c_int64 * num)(*(level.shape[axis] for level in levels)) for axis in (2, 3)]
        regions = tuple(tensor.contiguous() for tensor in regions)
        call = _Call(TYPES.index(features.dtype), num, *levels[0].shape[:2], channels_last)
        call.values, (call.heights, call.widths) = ctypes.addressof(values), map(ctypes.addressof, sizes)
        call.boxes, call.image_index, call.level_index = (tensor.data_ptr() for tensor in regions)
        call.num, call.size, call.features = len(regions[0]), features.shape[-1], features.data_ptr()
        if features.numel() > 0:
            self.kernels.call(function, ctypes.byref(call))


def _in_layout(x: Tensor, channels_last: bool) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
