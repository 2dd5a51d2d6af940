"""Scores of masks: targets and calibrated detections (Huang et al., Mask Scoring R-CNN, CVPR 2019, section 3).

The score of a mask is its IoU with the mask of the object it shows. A head learns to predict it. The class score of a
detection times this prediction says how good class and mask are together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seamseg.algos.losses import IGNORED
from seamseg.ops.boxes import box_area
from seamseg.structures.ground_truth import Objects
from seamseg.structures.packed_sequence import PackedSequence
from seamseg.structures.panoptic_segmentation import LayeredSegmentation


def pixels_outside(annotation: LayeredSegmentation, boxes: Tensor, objects: Objects, matched: Tensor) -> Tensor:
    """Count the pixels of each region's object that lie outside of the region.

    Args:
        annotation: Segments of the image without padding.
        boxes: P×4 in pixels of the image, the regions.
        objects: O objects of the image.
        matched: P indices of the objects that the regions show.

    Returns:
        P int64. A pixel is outside if its center is.
    """
    ids = objects.segment_ids
    areas = _pixels_inside(annotation, objects.boxes, ids)[matched]
    return areas - _pixels_inside(annotation, boxes, ids[matched])


def _pixels_inside(annotation: LayeredSegmentation, boxes: Tensor, segment_ids: Tensor) -> Tensor:
    """Count the pixels of each of P segments whose centers lie inside of its box."""
    layers = annotation.layer_of_segment[segment_ids]
    # The center of pixel i is at i + 0.5, so ⌈edge − 0.5⌉ is the first pixel beyond an edge.
    corners = (boxes - 0.5).ceil().clamp(min=0).to(torch.int64)
    rows = torch.cat([layers[:, None], segment_ids[:, None], corners], dim=1).tolist()
    counts = [(annotation.ids[layer, y0:y1, x0:x1] == segment).sum() for layer, segment, y0, x0, y1, x1 in rows]
    return torch.stack(counts) if counts else segment_ids.new_zeros(0)


def mask_ious(logits: Tensor, targets: Tensor, boxes: Tensor, outside: Tensor) -> Tensor:
    """Compare predicted masks with all pixels of their objects, also with those outside of the regions.

    Args:
        logits: P×M×M, the mask that a region predicts for the true class; positive inside.
        targets: P×M×M: 1 for the object, 0 for other pixels, and −1 for ignored ones, which count neither as predicted
            nor as missing.
        boxes: P×4 in pixels of the image, the regions. Their area is > 0.
        outside: P, number of pixels of the object outside of its region.

    Returns:
        P intersections over union, in 0 … 1; 0 if there is nothing to compare.
    """
    predicted, true = (logits > 0) & (targets != IGNORED), targets == 1
    intersection = (predicted & true).sum(dim=(1, 2))
    mask_pixels_per_pixel = targets.shape[1] * targets.shape[2] / box_area(boxes)
    union = (predicted | true).sum(dim=(1, 2)) + outside * mask_pixels_per_pixel
    return intersection / union.clamp(min=1)


def calibrated(
    boxes: PackedSequence, classes: PackedSequence, scores: PackedSequence, masks: PackedSequence, ious: PackedSequence
) -> tuple[PackedSequence, PackedSequence, PackedSequence, PackedSequence]:
    """Multiply the scores of detections by the predicted IoUs of their masks, and sort each image by the result.

    Args:
        boxes: D×4 per image.
        classes: D per image.
        scores: D class probabilities per image.
        masks: D×M×M per image.
        ious: D predicted IoUs per image. Values outside of 0 … 1 are clipped.

    Returns:
        Boxes, classes, scores and masks by descending score; equal scores keep their order.
    """
    products = [score * iou.float().clamp(0, 1) for score, iou in zip(scores.present, ious.present, strict=True)]
    orders = [product.argsort(descending=True, stable=True) for product in products]

    def ordered(parts: Sequence[Tensor]) -> PackedSequence:
        return PackedSequence(part[order] for part, order in zip(parts, orders, strict=True))

    return ordered(boxes.present), ordered(classes.present), ordered(products), ordered(masks.present)
