"""Proposals and detections in fixed numbers: the selectors of the algorithms for graphs without dynamic shapes.

What an image lacks is filled up with rows of zeros that are marked as not valid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.algos.roi import DetectionSelector, class_probabilities
from seamseg.algos.rpn import ProposalSelector
from seamseg.export.greedy_suppression import survivors
from seamseg.ops.boxes import clip_boxes, decode_shifts
from seamseg.structures import Size


@dataclass(frozen=True)
class FixedBoxes:
    """Of one image, by falling score, the valid ones first.

    Attributes:
        boxes: n×4 float32 in pixels.
        classes: n int64, 0-based among the things.
        scores: n float32.
        valid: n bool; all else is 0 where it is not set.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    valid: Tensor


def select_proposals(
    selector: ProposalSelector, anchors: Tensor, objectness: Tensor, shifts: Tensor, size: Size
) -> tuple[Tensor, Tensor]:
    """What ``selector`` finds in one image, in a fixed number.

    Args:
        selector: with the numbers and thresholds.
        anchors: K×4.
        objectness: K logits.
        shifts: K×4.
        size: height and width of the image.

    Returns:
        boxes: P×4 by falling objectness, P the smaller one of ``num_after_nms`` and K.
        valid: P bool.
    """
    boxes = clip_boxes(decode_shifts(anchors, shifts), size)
    large = ((boxes[:, 2:] - boxes[:, :2]) >= selector.min_size).all(dim=1)
    ranking = objectness.masked_fill(~large, -torch.inf) if selector.min_size > 0 else objectness
    order = ranking.topk(min(selector.num_before_nms, len(anchors))).indices
    boxes, large = boxes[order], large[order]
    keep = survivors(boxes[None], large[None], selector.nms_threshold)[0]
    # The kept ones in their order: all of them get a number above 0, the first one the largest.
    ranking = keep.float() * torch.arange(len(order), 0, -1, device=keep.device)
    number, first = ranking.topk(min(selector.num_after_nms, len(order)))
    valid = number > 0
    return boxes[first] * valid[:, None], valid


def select_detections(
    selector: DetectionSelector, proposals: Tensor, valid: Tensor, logits: Tensor, shifts: Tensor, size: Size
) -> FixedBoxes:
    """What ``selector`` finds in one image, in a fixed number: ``max_predictions``, or R·T where that is less.

    Args:
        selector: with the number and thresholds.
        proposals: R×4.
        valid: R bool.
        logits: R×(T+1), 0 is background.
        shifts: R×T×4.
        size: height and width of the image.
    """
    scores = class_probabilities(logits)[:, 1:].T  # T×R: each class is a group of its own
    moves = shifts.transpose(0, 1) / shifts.new_tensor(selector.shift_weights)
    boxes = clip_boxes(decode_shifts(proposals, moves), size)
    full = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    found = (scores > selector.score_threshold) & full & valid
    # Of equal scores the first is first: ONNX promises it, torch does so on the CPU (a stable sort has no counterpart).
    scores, order = torch.where(found, scores, 0.0).sort(dim=1, descending=True)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    keep = survivors(boxes, found.gather(1, order), selector.nms_threshold)
    best = torch.where(keep, scores, 0.0).flatten().topk(min(selector.max_predictions, scores.numel()))
    is_found = best.values > 0
    classes = best.indices // scores.shape[1]
    return FixedBoxes(boxes.flatten(0, 1)[best.indices] * is_found[:, None], classes * is_found, best.values, is_found)
