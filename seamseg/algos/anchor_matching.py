"""Which anchors should find which objects (Ren et al., Faster R-CNN, section 3.1.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.algos.sampling import sample_balanced
from seamseg.ops.boxes import best_overlaps, coverage
from seamseg.structures.images import Size


@dataclass(frozen=True)
class AnchorSample:
    """The anchors of one image that take part in the loss.

    Attributes:
        positives: P indices of anchors.
        objects: P, the object that each of them should find.
        negatives: indices of anchors that should find nothing.
    """

    positives: Tensor
    objects: Tensor
    negatives: Tensor


class AnchorMatcher:
    """Labels anchors by their overlap with the objects and samples some.

    An anchor takes part if it lies wholly inside the image and is little covered by crowd. It is positive if its
    overlap with an object reaches the positive threshold, or if it is the best one of some object; negative if its
    largest overlap stays under the negative threshold.

    Args:
        num_samples: per image at most.
        positive_fraction: of the samples at most.
        positive_threshold, negative_threshold: of the intersection over union.
        void_threshold: anchors covered by crowd to this part or more do not take part.
    """

    def __init__(
        self,
        num_samples: int = 256,
        positive_fraction: float = 0.5,
        positive_threshold: float = 0.7,
        negative_threshold: float = 0.3,
        void_threshold: float = 0.7,
    ) -> None:
        self.num_samples, self.positive_fraction = num_samples, positive_fraction
        self.positive_threshold, self.negative_threshold = positive_threshold, negative_threshold
        self.void_threshold = void_threshold

    @torch.no_grad()
    def __call__(
        self, anchors: Tensor, size: Size, objects: Tensor, crowd_pixels: Tensor, generator: torch.Generator
    ) -> AnchorSample:
        """Matches one image.

        Args:
            anchors: K×4.
            size: height and width of the valid image.
            objects: O×4 boxes; O may be 0: then there are only negatives.
            crowd_pixels: H×W bool.
            generator: of the sampling.
        """
        taking_part = torch.nonzero(self._takes_part(anchors, size, crowd_pixels)).squeeze(1)
        overlaps = best_overlaps(anchors[taking_part], objects)
        matched = overlaps.box_object.clone()
        positive = (overlaps.box_iou >= self.positive_threshold) & (len(objects) > 0)
        reached = overlaps.object_iou > 0
        best = overlaps.object_box[reached]
        positive[best] = True
        # An anchor that is the best of several objects goes to the last of them.
        for anchor, found in zip(best.tolist(), torch.nonzero(reached).squeeze(1).tolist(), strict=True):
            matched[anchor] = found
        negative = (overlaps.box_iou < self.negative_threshold) & ~positive
        positives, negatives = sample_balanced(positive, negative, self.num_samples, self.positive_fraction, generator)
        return AnchorSample(taking_part[positives], matched[positives], taking_part[negatives])

    def _takes_part(self, anchors: Tensor, size: Size, crowd_pixels: Tensor) -> Tensor:
        limit = anchors.new_tensor(size)
        inside = (anchors[:, :2] >= 0).all(dim=1) & (anchors[:, 2:] <= limit).all(dim=1)
        if crowd_pixels.any():
            inside &= coverage(anchors, crowd_pixels) < self.void_threshold
        return inside
