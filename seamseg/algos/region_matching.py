"""Which regions should show which objects (Girshick, Fast R-CNN, section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.algos.sampling import sample_balanced
from seamseg.ops.boxes import best_overlaps, box_area, coverage
from seamseg.structures.ground_truth import Objects


@dataclass(frozen=True)
class RegionSample:
    """The regions of one image that take part in the losses; positives come first.

    Attributes:
        boxes: R×4.
        classes: R int64, 0 is background, 1 + t is thing t.
        objects: P int64, index of the object that each positive shows.
    """

    boxes: Tensor
    classes: Tensor
    objects: Tensor


class RegionMatcher:
    """Labels proposals by their overlap with the objects and samples some.

    Args:
        num_samples: per image at most.
        positive_fraction: of the samples at most.
        positive_threshold: overlap from which a region shows the object.
        negative_low, negative_high: a region whose largest overlap lies in [low, high) shows background.
        void_threshold: regions covered by crowd to this part or more do not take part.
        background_images: whether images without any object give background regions (the published network skips
            them).
    """

    def __init__(
        self,
        num_samples: int = 128,
        positive_fraction: float = 0.25,
        positive_threshold: float = 0.5,
        negative_low: float = 0.0,
        negative_high: float = 0.5,
        void_threshold: float = 0.7,
        background_images: bool = False,
    ) -> None:
        self.num_samples, self.positive_fraction = num_samples, positive_fraction
        self.positive_threshold, self.void_threshold = positive_threshold, void_threshold
        self.negative_low, self.negative_high = negative_low, negative_high
        self.background_images = background_images

    @torch.no_grad()
    def __call__(
        self, proposals: Tensor, objects: Objects, crowd_pixels: Tensor, generator: torch.Generator
    ) -> RegionSample:
        """Matches one image; the objects' own boxes join the proposals.

        Args:
            proposals: P×4.
            objects: of the image.
            crowd_pixels: H×W bool.
            generator: of the sampling.
        """
        candidates = torch.cat([objects.boxes, proposals])
        # A proposal that clipping left without area shows nothing: the published network drops it too.
        takes_part = (box_area(candidates) > 0) & (coverage(candidates, crowd_pixels) < self.void_threshold)
        candidates = candidates[takes_part]
        overlaps = best_overlaps(candidates, objects.boxes)
        has_objects = len(objects.boxes) > 0
        positive = (overlaps.box_iou >= self.positive_threshold) & has_objects
        negative = (overlaps.box_iou >= self.negative_low) & (overlaps.box_iou < self.negative_high)
        negative &= ~positive & (has_objects or self.background_images)
        positives, negatives = sample_balanced(positive, negative, self.num_samples, self.positive_fraction, generator)
        matched = overlaps.box_object[positives]
        classes = torch.cat([objects.classes[matched] + 1, torch.zeros_like(negatives)])
        return RegionSample(candidates[torch.cat([positives, negatives])], classes, matched)
