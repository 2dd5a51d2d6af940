"""Geometry of boxes ``(y0, x0, y1, x1)``: area, overlap, box_deltas, clipping, crowd coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.ops import native
from seamseg.ops.constants import constant_like
from seamseg.structures.images import Size

MAX_LOG_SCALE = math.log(1000.0 / 16.0)
"""Largest exponent of a decoded height or width, which keeps ``exp`` finite (Detectron's constant)."""


def box_area(boxes: Tensor) -> Tensor:
    """Compute the area of boxes …×4 in square pixels; negative sides count as zero."""
    height, width = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return height * width


def edge_sides(boxes: Tensor, size: Size) -> Tensor:
    """Return the sides of B×4 boxes that are on the edge of an image of this height and width, B×4 bool."""
    return torch.cat([boxes[:, :2] == 0, boxes[:, 2:] == boxes.new_tensor(size)], dim=1)


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute the intersection over union of every pair.

    Args:
        boxes: …×B×4.
        others: …×O×4.

    Returns:
        …×B×O in 0 … 1; 0 for pairs without any area.
    """
    intersection = _common_side(boxes, others, 0) * _common_side(boxes, others, 1)
    union = box_area(boxes)[..., :, None] + box_area(others)[..., None, :] - intersection
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))


@dataclass(frozen=True)
class BestOverlaps:
    """Largest overlap (intersection over union) of every box and of every object.

    Attributes:
        box_iou: B, the largest overlap of each box with any object; 0 if there are no objects.
        box_object: B, the index of that object; the lowest index in a tie.
        object_iou: O, the largest overlap of each object with any box.
        object_box: O, the index of that box; the lowest index in a tie.
    """

    box_iou: Tensor
    box_object: Tensor
    object_iou: Tensor
    object_box: Tensor


def best_overlaps(boxes: Tensor, objects: Tensor, num_pairs: int | None = None) -> BestOverlaps:
    """Find the object that each box overlaps most, and the box that each object overlaps most.

    Args:
        boxes: B×4.
        objects: O×4; O may be 0.
        num_pairs: Number of pairs processed at a time; all pairs of two million anchors and a hundred objects would
            need gigabytes. None chooses so few on the CPU that they stay in the cache of a core, which is faster.
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
    if num_pairs is None:
        num_pairs = 1 << 18 if boxes.device.type == "cpu" else 1 << 24
    chunk = max(1, num_pairs // num_objects)
    for start in range(0, num_boxes, chunk):
        part = slice(start, start + chunk)
        iou = box_iou(boxes[part], objects)
        found.box_iou[part], found.box_object[part] = iou.max(dim=1)
        object_iou, object_box = iou.max(dim=0)
        better = object_iou > found.object_iou
        found.object_iou.copy_(torch.where(better, object_iou, found.object_iou))
        found.object_box.copy_(torch.where(better, object_box + start, found.object_box))
    return found


def encode_boxes(boxes: Tensor, targets: Tensor) -> Tensor:
    """Compute the box_deltas ``(dy, dx, dh, dw)`` from boxes to targets; the inverse of :func:`decode_boxes`.

    Args:
        boxes: …×4 with sides > 0.
        targets: …×4 with sides > 0.
    """
    center, size = _center_and_size(boxes)
    target_center, target_size = _center_and_size(targets)
    return torch.cat([(target_center - center) / size, (target_size / size).log()], dim=-1)


def decode_boxes(boxes: Tensor, box_deltas: Tensor) -> Tensor:
    """Apply box_deltas to boxes: center + d·size, size·exp(d) (Girshick et al., R-CNN, appendix C).

    Args:
        boxes: …×4, broadcast with the box_deltas.
        box_deltas: …×4, ``(dy, dx, dh, dw)``.
    """
    center, size = _center_and_size(boxes)
    center = center + box_deltas[..., :2] * size
    half = size * box_deltas[..., 2:].clamp(max=MAX_LOG_SCALE).exp() / 2
    return torch.cat([center - half, center + half], dim=-1)


def clip_boxes(boxes: Tensor, size: Size) -> Tensor:
    """Clip boxes …×4 to an image of this height and width."""
    limit = constant_like(boxes, [size[0], size[1], size[0], size[1]])
    return torch.minimum(boxes.clamp(min=0), limit)


def scale_boxes(boxes: Tensor, size: Size, new_size: Size) -> Tensor:
    """Scale boxes …×4 from an image of ``size`` to the same image at ``new_size``."""
    factor_y, factor_x = new_size[0] / size[0], new_size[1] / size[1]
    return boxes * constant_like(boxes, [factor_y, factor_x, factor_y, factor_x])


def coverage(boxes: Tensor, pixels: Tensor) -> Tensor:
    """Compute the fraction of each box that marked pixels cover.

    Pixels are counted inside the corners truncated to integers, and their number is divided by the exact area of the
    box.

    Args:
        boxes: B×4.
        pixels: H×W bool.

    Returns:
        B float32; 0 for boxes without area.
    """
    height, width = pixels.shape
    # Row and column 0 of the integral image are empty sums: the value at (y, x) sums all pixels above and left of it.
    integral = torch.zeros(height + 1, width + 1, dtype=torch.int64, device=pixels.device)
    integral[1:, 1:] = pixels.to(torch.int64).cumsum(0).cumsum(1)
    y0, x0, y1, x1 = boxes.to(torch.int64).unbind(-1)
    y0, y1 = y0.clamp(0, height), y1.clamp(0, height)
    x0, x1 = x0.clamp(0, width), x1.clamp(0, width)
    count = integral[y1, x1] - integral[y0, x1] - integral[y1, x0] + integral[y0, x0]
    area = box_area(boxes)
    return torch.where(area > 0, count.to(area.dtype) / area, torch.zeros_like(area))


def nms(boxes: Tensor, scores: Tensor, threshold: float, max_kept: int) -> Tensor:
    """Apply non-maximum suppression and return the indices of the best kept boxes by descending score.

    On the CPU, it ends with the last of ``max_kept`` boxes, and a box is only compared with kept ones. Torchvision
    computes the same on other devices, but compares all boxes with each other first. On a GPU that is parallel, unlike
    the greedy choice. The number of kept boxes is only known afterwards, so the result waits for the GPU in any case.

    Args:
        boxes: B×4. The order of the axes does not affect the overlap.
        scores: B.
        threshold: Maximum overlap with a kept box; a box that overlaps more is dropped.
        max_kept: Maximum number of returned boxes.
    """
    if boxes.device.type != "cpu" or boxes.dtype != torch.float32 or not native.has_values(boxes):
        import torchvision  # takes a second to import, and scoring results never needs it

        kept: Tensor = torchvision.ops.nms(boxes, scores, threshold)
        return kept[:max_kept]
    order = scores.sort(descending=True, stable=True).indices
    return order[native.call("nms", _kept_shape, boxes[order], threshold, max_kept)]


def _kept_shape(boxes: Tensor, threshold: float, max_kept: int) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


def _common_side(boxes: Tensor, others: Tensor, axis: int) -> Tensor:
    """Return the length that two boxes share along an axis, …×B×O; one axis at a time halves the memory."""
    first = torch.maximum(boxes[..., :, None, axis], others[..., None, :, axis])
    last = torch.minimum(boxes[..., :, None, 2 + axis], others[..., None, :, 2 + axis])
    return (last - first).clamp(min=0)


def _center_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low
