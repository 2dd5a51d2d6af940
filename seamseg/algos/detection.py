"""From class scores and shifts of regions to detections (Girshick, Fast R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor

from seamseg.ops.boxes import clip_boxes, decode_shifts
from seamseg.structures.images import Size


@dataclass(frozen=True)
class FoundBoxes:
    """Of one image, by falling score.

    Attributes:
        boxes: D×4 in pixels.
        classes: D int64, 0-based among the things.
        scores: D float32.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor


class DetectionSelector:
    """Decodes every class's box, drops unlikely and empty ones, and thins out class by class.

    Args:
        nms_threshold: overlap above which the lower score of a class goes.
        score_threshold: a detection's probability must exceed it.
        max_predictions: best detections of an image that stay.
        shift_weights: the shifts are trained multiplied by these.
    """

    def __init__(
        self,
        nms_threshold: float,
        score_threshold: float,
        max_predictions: int,
        shift_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
    ) -> None:
        self.nms_threshold, self.score_threshold = nms_threshold, score_threshold
        self.max_predictions, self.shift_weights = max_predictions, tuple(shift_weights)

    @torch.no_grad()
    def __call__(self, proposals: Tensor, logits: Tensor, shifts: Tensor, size: Size) -> FoundBoxes:
        """Detections of one image.

        Args:
            proposals: R×4.
            logits: R×(T+1), 0 is background.
            shifts: R×T×4.
            size: height and width of the valid image.
        """
        scores = class_probabilities(logits)[:, 1:]
        region, classes = torch.nonzero(scores > self.score_threshold, as_tuple=True)
        scores = scores[region, classes]
        moves = shifts[region, classes].float() / shifts.new_tensor(self.shift_weights, dtype=torch.float32)
        boxes = clip_boxes(decode_shifts(proposals[region], moves), size)
        full = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        boxes, classes, scores = boxes[full], classes[full], scores[full]
        keep = torchvision.ops.batched_nms(boxes, scores, classes, self.nms_threshold)[: self.max_predictions]
        return FoundBoxes(boxes[keep], classes[keep], scores[keep])


def class_probabilities(logits: Tensor) -> Tensor:
    """R×C softmax in float32 of R×C logits; those at +∞, as half types have them, share all of the probability."""
    return logits.float().clamp(max=torch.finfo(torch.float32).max).softmax(dim=1)
