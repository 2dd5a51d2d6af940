"""Matching of anchors and proposals with objects, and sampling of the matches (Ren et al., Faster R-CNN)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.ops.boxes import best_overlaps, box_area, coverage
from seamseg.structures.ground_truth import Objects
from seamseg.structures.images import Size


def sample_balanced(
    positive: Tensor, negative: Tensor, num_samples: int, positive_fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws at most ``num_samples``, of which at most the fraction is positive; negatives fill up.

    Args:
        positive, negative: B bool each, disjoint.
        num_samples: at most, > 0.
        positive_fraction: of ``num_samples``, 0 … 1.
        generator: of the draw, on the CPU.

    Returns:
        Indices of the chosen positives and of the chosen negatives, both ascending.
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


@dataclass(frozen=True)
class RoISample:
    """The regions of one image that take part in the losses; positives come first.

    Attributes:
        boxes: R×4.
        classes: R int64, 0 is background, 1 + t is thing t.
        objects: P int64, index of the object that each positive shows.
    """

    boxes: Tensor
    classes: Tensor
    objects: Tensor


class RoIMatcher:
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
    ) -> RoISample:
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
        return RoISample(candidates[torch.cat([positives, negatives])], classes, matched)
