"""Geometry of boxes ``(y0, x0, y1, x1)``: area, overlap, box_deltas, clipping, crowd coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor

from seamseg.structures.images import Size

MAX_LOG_SCALE = math.log(1000.0 / 16.0)
"""Largest exponent of a decoded height or width: keeps exp finite (Detectron's constant)."""


def box_area(boxes: Tensor) -> Tensor:
    """Area of boxes …×4 in square pixels; negative sides count as zero."""
    height, width = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return height * width


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every pair.

    Args:
        boxes: …×B×4.
        others: …×O×4.

    Returns:
        …×B×O in 0 … 1; pairs without any area get 0.
    """
    intersection = _common_side(boxes, others, 0) * _common_side(boxes, others, 1)
    union = box_area(boxes)[..., :, None] + box_area(others)[..., None, :] - intersection
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))


@dataclass(frozen=True)
class BestOverlaps:
    """Who overlaps whom best, without the whole matrix of overlaps.

    Attributes:
        box_iou: B, the largest overlap of each box with any object (0 if there is none).
        box_object: B, that object; the lowest index among ties.
        object_iou: O, the largest overlap of each object with any box.
        object_box: O, that box; the lowest index among ties.
    """

    box_iou: Tensor
    box_object: Tensor
    object_iou: Tensor
    object_box: Tensor


def best_overlaps(boxes: Tensor, objects: Tensor, chunk: int = 1 << 17) -> BestOverlaps:
    """The best partner of every box and of every object.

    Works on ``chunk`` boxes at a time: two million anchors times a hundred objects would be gigabytes at once.

    Args:
        boxes: B×4.
        objects: O×4, O may be 0.
    """
    num_boxes, num_objects = len(boxes), len(objects)
    found = BestOverlaps(
        boxes.new_zeros(num_boxes),
        torch.zeros(num_boxes, dtype=torch.int64, device=boxes.device),
        boxes.new_zeros(num_objects),
        torch.zeros(num_objects, dtype=torch.int64, device=boxes.device),
    )
    if num_objects == 0:
        return found
    for start in range(0, num_boxes, chunk):
        part = slice(start, start + chunk)
        iou = box_iou(boxes[part], objects)
        found.box_iou[part], found.box_object[part] = iou.max(dim=1)
        object_iou, object_box = iou.max(dim=0)
        better = object_iou > found.object_iou
        found.object_iou[better] = object_iou[better]
        found.object_box[better] = object_box[better] + start
    return found


def encode_boxes(boxes: Tensor, targets: Tensor) -> Tensor:
    """The box_deltas ``(dy, dx, dh, dw)`` that turn boxes into targets; the inverse of :func:`decode_boxes`.

    Args:
        boxes, targets: …×4, with sides > 0.
    """
    center, size = _center_and_size(boxes)
    target_center, target_size = _center_and_size(targets)
    return torch.cat([(target_center - center) / size, (target_size / size).log()], dim=-1)


def decode_boxes(boxes: Tensor, box_deltas: Tensor) -> Tensor:
    """Moves boxes: center + d·size, size·exp(d) (Girshick et al., R-CNN, appendix C).

    Args:
        boxes: …×4, broadcast against the box_deltas.
        box_deltas: …×4, ``(dy, dx, dh, dw)``.
    """
    center, size = _center_and_size(boxes)
    center = center + box_deltas[..., :2] * size
    half = size * box_deltas[..., 2:].clamp(max=MAX_LOG_SCALE).exp() / 2
    return torch.cat([center - half, center + half], dim=-1)


def clip_boxes(boxes: Tensor, size: Size) -> Tensor:
    """Cuts boxes …×4 to an image of this height and width."""
    limit = boxes.new_tensor([size[0], size[1], size[0], size[1]])
    return torch.minimum(boxes.clamp(min=0), limit)


def scale_boxes(boxes: Tensor, size: Size, new_size: Size) -> Tensor:
    """Boxes …×4 of an image of ``size`` in the same image at ``new_size``."""
    factor_y, factor_x = new_size[0] / size[0], new_size[1] / size[1]
    return boxes * boxes.new_tensor([factor_y, factor_x, factor_y, factor_x])


def coverage(boxes: Tensor, pixels: Tensor) -> Tensor:
    """The part of each box that marked pixels cover.

    Pixels are counted inside the corners truncated to integers, and divided by the real area of the box.

    Args:
        boxes: B×4.
        pixels: H×W bool.

    Returns:
        B float32; 0 for boxes without area.
    """
    height, width = pixels.shape
    # Row and column 0 of the integral image are the empty sums, so that corner (y, x) sums what lies before it.
    integral = torch.zeros(height + 1, width + 1, dtype=torch.int64, device=pixels.device)
    integral[1:, 1:] = pixels.to(torch.int64).cumsum(0).cumsum(1)
    y0, x0, y1, x1 = boxes.to(torch.int64).unbind(-1)
    y0, y1 = y0.clamp(0, height), y1.clamp(0, height)
    x0, x1 = x0.clamp(0, width), x1.clamp(0, width)
    count = integral[y1, x1] - integral[y0, x1] - integral[y1, x0] + integral[y0, x0]
    area = box_area(boxes)
    return torch.where(area > 0, count.to(area.dtype) / area, torch.zeros_like(area))


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices that survive non-maximum suppression, by falling score (torchvision's operator).

    Args:
        boxes: B×4. Which axis is y makes no difference to the overlap.
        scores: B.
        threshold: a box goes when its overlap with a kept one is larger.
    """
    keep: Tensor = torchvision.ops.nms(boxes, scores, threshold)
    return keep


def _common_side(boxes: Tensor, others: Tensor, axis: int) -> Tensor:
    """…×B×O: how much of an axis two boxes share; one axis at a time, which halves the memory of large matrices."""
    first = torch.maximum(boxes[..., :, None, axis], others[..., None, :, axis])
    last = torch.minimum(boxes[..., :, None, 2 + axis], others[..., None, :, 2 + axis])
    return (last - first).clamp(min=0)


def _center_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low
