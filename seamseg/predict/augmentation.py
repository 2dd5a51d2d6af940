"""Test-time augmentation: the network sees an image in several sizes, and in the mirror, and its answers are joined.

Every pass answers as it would alone. Its answer is brought back to the plain image, and then

- the class scores of all passes are resampled bilinearly to the finest of their grids and averaged as logits, which is
  the geometric mean of the probabilities, up to a factor that is common to all classes of a pixel;
- the detections of all passes, each with the mask that its own pass gave it, are thinned out class by class as those of
  one pass are (non-maximum suppression, then the best of all).

One pass without flip is the plain prediction, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor

from seamseg.ops.boxes import scale_boxes
from seamseg.ops.fusion import resample
from seamseg.structures import Detections, SemanticLogits, Size

LARGEST = 10
"""Scale: the network's memory grows with its square."""


@dataclass(frozen=True)
class Augmentation:
    """In which forms the network sees an image.

    Attributes:
        scales: factors on the sides that the network's input has otherwise; different ones, at least one.
        flip: whether it sees each also in the mirror.

    Raises:
        ValueError: there is no scale, one is not positive or too large, or one is named twice.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= LARGEST for scale in self.scales):
            raise ValueError(f"scales are one or more positive numbers up to {LARGEST}, not {self.scales}")
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"the scales {self.scales} name one twice, which would count it twice; name it once")

    @property
    def mirrors(self) -> tuple[bool, ...]:
        """Whether the image is mirrored, for the one or two passes of a scale."""
        return (False, True) if self.flip else (False,)


@dataclass(frozen=True)
class Pass:
    """What the network says of one image in one of its forms.

    Attributes:
        detections: in pixels of that form.
        semantics: covering exactly that form, without padding.
        mirrored: whether it shows the image mirrored.
    """

    detections: Detections
    semantics: SemanticLogits
    mirrored: bool


def join_passes(
    passes: Sequence[Pass], size: Size, nms_threshold: float, max_predictions: int
) -> tuple[Detections, SemanticLogits]:
    """One answer from those of several passes, in pixels of the network's input at scale 1.

    Args:
        passes: of one image, at least one.
        size: height and width of the input at scale 1.
        nms_threshold: overlap above which the lower score of a class goes.
        max_predictions: best detections that stay.
    """
    if len(passes) == 1 and not passes[0].mirrored and passes[0].semantics.size == size:
        return passes[0].detections, passes[0].semantics
    logits = [_plain_logits(one) for one in passes]
    grid = max(((one.shape[1], one.shape[2]) for one in logits), key=lambda shape: shape[0] * shape[1])
    semantics = SemanticLogits(
        torch.stack([resample(one, grid) for one in logits]).mean(dim=0), padded_size=size, size=size
    )
    return _join_detections([_plain_detections(one, size) for one in passes], nms_threshold, max_predictions), semantics


def _plain_logits(one: Pass) -> Tensor:
    assert one.semantics.padded_size == one.semantics.size, "only images of one size share a pass"
    logits = one.semantics.logits.float()
    return logits.flip(-1) if one.mirrored else logits


def _plain_detections(one: Pass, size: Size) -> Detections:
    """Not mirrored, at the size of scale 1."""
    boxes, masks = one.detections.boxes, one.detections.masks
    if one.mirrored:
        y0, x0, y1, x1 = boxes.unbind(-1)
        width = one.semantics.size[1]
        boxes, masks = torch.stack([y0, width - x1, y1, width - x0], dim=-1), masks.flip(-1)
    return Detections(
        scale_boxes(boxes, one.semantics.size, size), one.detections.classes, one.detections.scores, masks
    )


def _join_detections(found: Sequence[Detections], nms_threshold: float, max_predictions: int) -> Detections:
    boxes, classes = torch.cat([one.boxes for one in found]), torch.cat([one.classes for one in found])
    scores, masks = torch.cat([one.scores for one in found]), torch.cat([one.masks for one in found])
    keep = torchvision.ops.batched_nms(boxes, scores, classes, nms_threshold)[:max_predictions]
    return Detections(boxes[keep], classes[keep], scores[keep], masks[keep])
