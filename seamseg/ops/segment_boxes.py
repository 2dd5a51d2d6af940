"""Boxes and areas of the segments of an id map."""

from __future__ import annotations

import torch
from torch import Tensor

from seamseg.ops import native


def segment_boxes(ids: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    """The tight box and the number of pixels of every segment, in one pass over the id map.

    Args:
        ids: H×W int32 or int64 on the CPU, the segment of every pixel, in 0 … num_segments − 1.
        num_segments: number of segments, those without a pixel included.

    Returns:
        boxes: num_segments×4 float32, (y0, x0, y1, x1) in pixel edges, half-open; −1 for a segment without a pixel.
        areas: num_segments int64, in pixels.

    Raises:
        ValueError: ids are not H×W int32 or int64, one is not in 0 … num_segments − 1, or num_segments is negative.
        ImportError: the native library is not built.
    """
    native.require("segment_boxes", _shapes)
    try:
        boxes, areas = torch.ops.seamseg.segment_boxes(ids, num_segments)
    except RuntimeError as error:
        raise native.argument_error(error, "segment_boxes") from None
    return boxes, areas


def _shapes(ids: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    boxes = ids.new_empty((num_segments, 4), dtype=torch.float32)
    areas = ids.new_empty((num_segments,), dtype=torch.int64)
    return boxes, areas
