"""Losses of the masks of positive regions, of their points, and of the scores of the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.profiler import record_function

from seamseg.algos.losses import TARGETS, mask_loss, mask_score_loss, mask_targets, of_class, point_targets
from seamseg.algos.mask_scoring import mask_ious, pixels_outside
from seamseg.algos.matching import RoISample
from seamseg.algos.point_rendering import CoarseMasks, PointSampler, logits_at, training_points
from seamseg.structures.ground_truth import GroundTruth, Objects
from seamseg.structures.losses import LossSum
from seamseg.structures.packed_sequence import PackedSequence


class MaskHead(Protocol):
    """Interface of a head that predicts masks; see :class:`seamseg.modules.roi_head.RoIHead`."""

    has_mask_scores: bool
    has_points: bool

    def masks(self, regions: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return mask logits of R×C×14×14 features: R×T×M×M, or only some rows of them."""

    def mask_scores(self, regions: Tensor, masks: Tensor) -> Tensor:
        """Return R×T predicted IoUs of R×M×M mask logits; only called if ``has_mask_scores``."""

    def point_logits(self, features: Tensor, coarse: Tensor) -> Tensor:
        """Return R×T×P mask logits of R×P×C features and R×P coarse logits; only called if ``has_points``."""


class MaskLosses(NamedTuple):
    """Losses of the masks of positive regions, as in :class:`seamseg.algos.losses.RoILosses`."""

    masks: LossSum | None = None
    points: LossSum | None = None
    scores: LossSum | None = None


@dataclass(frozen=True)
class PositiveRegions:
    """Positive regions of a batch, ordered by image, and the objects that they show.

    Attributes:
        things: P, the true classes among the things.
        samples: Sampled regions of every image.
        objects: Objects of every image.
        ground_truth: Annotation of the images.
        void_is_background: Whether void pixels are background in the targets.
    """

    things: Tensor
    samples: Sequence[RoISample]
    objects: Sequence[Objects]
    ground_truth: GroundTruth
    void_is_background: bool

    @property
    def boxes(self) -> list[Tensor]:
        """Boxes of each image."""
        return [sample.boxes[: len(sample.objects)] for sample in self.samples]

    @property
    def segment_ids(self) -> list[Tensor]:
        """Segment ids of the objects that the regions of each image show."""
        return [truth.segment_ids[one.objects] for truth, one in zip(self.objects, self.samples, strict=True)]

    def mask_targets(self, mask_size: int) -> Tensor:
        """Return the P×M×M targets of the masks; see :func:`seamseg.algos.losses.mask_targets`."""
        with record_function(TARGETS):
            targets = [
                mask_targets(self.ground_truth.annotation(image), boxes, ids, mask_size, self.void_is_background)
                for image, (boxes, ids) in enumerate(zip(self.boxes, self.segment_ids, strict=True))
            ]
            return torch.cat(targets)

    def point_targets(self, points: Tensor) -> Tensor:
        """Return the P×N targets at P×N×2 points; see :func:`seamseg.algos.losses.point_targets`."""
        with record_function(TARGETS):
            per_image = torch.split(points, [len(boxes) for boxes in self.boxes])
            targets = [
                point_targets(self.ground_truth.annotation(image), places, ids, self.void_is_background)
                for image, (places, ids) in enumerate(zip(per_image, self.segment_ids, strict=True))
            ]
            return torch.cat(targets)

    @torch.no_grad()
    def mask_ious(self, masks: Tensor, targets: Tensor) -> Tensor:
        """Return the IoUs of P×M×M mask logits; see :func:`seamseg.algos.mask_scoring.mask_ious`."""
        with record_function(TARGETS):
            outside = [
                pixels_outside(self.ground_truth.annotation(image), boxes, truth, sample.objects)
                for image, (boxes, truth, sample) in enumerate(zip(self.boxes, self.objects, self.samples, strict=True))
            ]
            return mask_ious(masks, targets, torch.cat(self.boxes), torch.cat(outside))


def mask_losses(
    head: MaskHead,
    regions: Tensor,
    rows: Tensor | None,
    positives: PositiveRegions,
    targets: Tensor,
    sample: PointSampler,
    generator: torch.Generator,
) -> MaskLosses:
    """Return the losses of the masks of positive regions.

    Args:
        head: Head that predicts masks.
        regions: Features of the regions.
        rows: Indices of the P positive ones; None for all.
        positives: The positive ones.
        targets: P×M×M, the targets of their masks.
        sample: Sampler of the finest pyramid level.
        generator: CPU random generator used to sample points.
    """
    logits, things = head.masks(regions, rows), positives.things
    points = scores = None
    if head.has_points:
        boxes, image_index = PackedSequence(positives.boxes).contiguous()
        coarse = CoarseMasks(of_class(logits, things), things, boxes, image_index)
        places = training_points(coarse, generator)
        found = logits_at(head, coarse, places, sample)
        points = mask_loss(found, positives.point_targets(coarse.in_pixels(places)), things)
    if head.has_mask_scores:
        # Masks must not become easier to score, only better, so they get no gradient from their scores.
        masks = of_class(logits, things).detach()
        shown = regions if rows is None else regions[rows]
        scores = mask_score_loss(head.mask_scores(shown, masks), positives.mask_ious(masks, targets), things)
    return MaskLosses(mask_loss(logits, targets, things), points, scores)
