"""Matching of anchors and proposals with objects, and balanced sampling (Ren et al., Faster R-CNN)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.ops.boxes import best_overlaps, box_area, coverage
from seamseg.ops.constants import constant_like
from seamseg.structures.ground_truth import Objects
from seamseg.structures.images import Size


def sample_balanced(
    positive: Tensor, negative: Tensor, num_samples: int, positive_fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sample at most ``num_samples`` candidates; negatives fill up the places that positives leave free.

    Args:
        positive: B bool, the positive candidates.
        negative: B bool, the negative candidates, disjoint from the positive ones.
        num_samples: Maximum number of samples; > 0.
        positive_fraction: Maximum fraction of positives among ``num_samples``, in 0 … 1.
        generator: CPU random generator used for sampling.

    Returns:
        Indices of the sampled positives and of the sampled negatives, both ascending.
    """
    positives = _draw(positive, int(num_samples * positive_fraction), generator)
    negatives = _draw(negative, num_samples - len(positives), generator)
    return positives, negatives


def _draw(candidates: Tensor, at_most: int, generator: torch.Generator) -> Tensor:
    indices = torch.nonzero(candidates).squeeze(1)
    if len(indices) <= at_most:
        return indices
    chosen = torch.randperm(len(indices), generator=generator)[:at_most].sort().values
    return indices[chosen.to(indices.device)]


@dataclass(frozen=True)
class AnchorSample:
    """Anchors of one image that contribute to the loss.

    Attributes:
        positives: P indices of anchors that should find an object.
        objects: P indices of these objects.
        negatives: Indices of anchors that should find nothing.
    """

    positives: Tensor
    objects: Tensor
    negatives: Tensor


class AnchorMatcher:
    """Label anchors by their overlap (intersection over union) with objects and sample a balanced subset.

    An anchor takes part if it lies completely inside the image, or with ``border_anchors`` if its center does, and if
    crowd covers less than ``void_threshold`` of it. It is positive if its overlap with an object is at least
    ``positive_threshold``, or if it is the best anchor of some object. It is negative if its largest overlap is below
    ``negative_threshold``. Other anchors are ignored.

    Args:
        num_samples: Maximum number of anchors sampled per image.
        positive_fraction: Maximum fraction of positives among the samples.
        positive_threshold: Minimum overlap of a positive anchor.
        negative_threshold: Upper limit (exclusive) of a negative anchor's largest overlap.
        void_threshold: Fraction of an anchor covered by crowd from which the anchor is ignored.
        border_anchors: Whether anchors may cross the border of the image.
    """

    def __init__(
        self,
        num_samples: int = 256,
        positive_fraction: float = 0.5,
        positive_threshold: float = 0.7,
        negative_threshold: float = 0.3,
        void_threshold: float = 0.7,
        border_anchors: bool = False,
    ) -> None:
        self.num_samples, self.positive_fraction = num_samples, positive_fraction
        self.positive_threshold, self.negative_threshold = positive_threshold, negative_threshold
        self.void_threshold, self.border_anchors = void_threshold, border_anchors

    @torch.no_grad()
    def __call__(
        self, anchors: Tensor, size: Size, objects: Tensor, crowd_pixels: Tensor, generator: torch.Generator
    ) -> AnchorSample:
        """Match and sample the anchors of one image.

        Args:
            anchors: K×4.
            size: Height and width of the image without padding.
            objects: O×4 boxes. If O is 0, all samples are negative.
            crowd_pixels: H×W bool.
            generator: CPU random generator used for sampling.
        """
        taking_part = torch.nonzero(self._takes_part(anchors, size, crowd_pixels)).squeeze(1)
        overlaps = best_overlaps(anchors[taking_part], objects)
        matched = overlaps.box_object.clone()
        positive = (overlaps.box_iou >= self.positive_threshold) & (len(objects) > 0)
        reached = overlaps.object_iou > 0
        best = overlaps.object_box[reached]
        positive[best] = True
        # An anchor that is the best one of several objects is assigned to the last of them.
        for anchor, found in zip(best.tolist(), torch.nonzero(reached).squeeze(1).tolist(), strict=True):
            matched[anchor] = found
        negative = (overlaps.box_iou < self.negative_threshold) & ~positive
        positives, negatives = sample_balanced(positive, negative, self.num_samples, self.positive_fraction, generator)
        return AnchorSample(taking_part[positives], matched[positives], taking_part[negatives])

    def _takes_part(self, anchors: Tensor, size: Size, crowd_pixels: Tensor) -> Tensor:
        limit = constant_like(anchors, size)
        low, high = anchors[:, :2], anchors[:, 2:]
        if self.border_anchors:
            low = high = (low + high) / 2
        inside = (low >= 0).all(dim=1) & (high <= limit).all(dim=1)
        if crowd_pixels.any():
            inside &= coverage(anchors, crowd_pixels) < self.void_threshold
        return inside


@dataclass(frozen=True)
class RoISample:
    """Regions of one image that contribute to the losses; positives come first.

    Attributes:
        boxes: R×4.
        classes: R int64; 0 is background, 1 + t is thing t.
        objects: P int64, index of the object that each positive shows.
    """

    boxes: Tensor
    classes: Tensor
    objects: Tensor


class RoIMatcher:
    """Label proposals by their overlap (intersection over union) with objects and sample a balanced subset.

    Args:
        num_samples: Maximum number of regions sampled per image.
        positive_fraction: Maximum fraction of positives among the samples.
        positive_threshold: Minimum overlap of a region that shows the object.
        negative_low: Minimum of the largest overlap of a background region.
        negative_high: Upper limit (exclusive) of the largest overlap of a background region.
        void_threshold: Fraction of a region covered by crowd from which the region is ignored.
        background_images: Whether images without objects contribute background regions. The published network skips
            these images.
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
    ) -> RoISample:
        """Match and sample the regions of one image; the boxes of the objects are added to the proposals.

        Args:
            proposals: P×4.
            objects: Objects of the image.
            crowd_pixels: H×W bool.
            generator: CPU random generator used for sampling.
        """
        candidates = torch.cat([objects.boxes, proposals])
        # A proposal without area after clipping shows nothing; the published network drops it, too.
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
        return RoISample(candidates[torch.cat([positives, negatives])], classes, matched)
