"""RoI heads without their weights: detections and losses (Girshick, Fast R-CNN; He et al., Mask R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
import torchvision
from torch import Tensor
from torch.profiler import record_function

from seamseg.algos.box_regression import BoxLoss
from seamseg.algos.losses import (
    TARGETS,
    RoILosses,
    box_loss,
    class_loss,
    mask_loss,
    mask_score_loss,
    mask_targets,
    of_class,
    point_targets,
)
from seamseg.algos.mask_scoring import calibrated, mask_ious, pixels_outside
from seamseg.algos.matching import RoIMatcher, RoISample
from seamseg.algos.point_rendering import CoarseMasks, PointSampler, logits_at, rendered, training_points
from seamseg.algos.roi_pooling import RoIPooler, sample_points
from seamseg.ops.boxes import clip_boxes, decode_boxes, encode_boxes
from seamseg.ops.constants import constant_like
from seamseg.ops.half_size import with_half_size
from seamseg.structures.ground_truth import GroundTruth, Objects
from seamseg.structures.images import PaddedImages, Size
from seamseg.structures.losses import LossSum
from seamseg.structures.packed_sequence import PackedSequence


@dataclass(frozen=True)
class FoundBoxes:
    """Detected boxes of one image, by descending score.

    Attributes:
        boxes: D×4 in pixels.
        classes: D int64, 0-based among the things.
        scores: D float32.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor


class DetectionSelector:
    """Decode the boxes of all classes, drop unlikely and empty ones, and apply non-maximum suppression per class.

    Args:
        nms_threshold: Maximum overlap of two boxes of a class; beyond it, the box with the lower score is dropped.
        score_threshold: Probability that a detection must exceed.
        max_predictions: Maximum number of detections per image; the best ones are kept.
        shift_weights: Factors of the box_deltas in training; predictions are divided by them.
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
    def __call__(self, proposals: Tensor, logits: Tensor, box_deltas: Tensor, size: Size) -> FoundBoxes:
        """Return the detections of one image.

        Args:
            proposals: R×4.
            logits: R×(T+1); class 0 is background.
            box_deltas: R×T×4.
            size: Height and width of the image without padding.
        """
        scores = class_probabilities(logits)[:, 1:]
        region, classes = torch.nonzero(scores > self.score_threshold, as_tuple=True)
        scores = scores[region, classes]
        moves = box_deltas[region, classes].float() / constant_like(box_deltas, self.shift_weights, torch.float32)
        boxes = clip_boxes(decode_boxes(proposals[region], moves), size)
        full = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        boxes, classes, scores = boxes[full], classes[full], scores[full]
        keep = torchvision.ops.batched_nms(boxes, scores, classes, self.nms_threshold)[: self.max_predictions]
        return FoundBoxes(boxes[keep], classes[keep], scores[keep])


def class_probabilities(logits: Tensor) -> Tensor:
    """Return the R×C float32 softmax of logits; +∞ logits, possible in half precision, share the whole probability."""
    return logits.float().clamp(max=torch.finfo(torch.float32).max).softmax(dim=1)


class Head(Protocol):
    """Interface of the head that the algorithm calls; see :class:`seamseg.modules.roi_head.RoIHead`."""

    has_masks: bool
    has_mask_scores: bool
    has_points: bool

    def planned_forward(self, num_regions: int, num_masks: int, num_scores: int) -> AbstractContextManager[None]:
        """Announce the number of regions of one call of each branch inside the context."""

    def classify(self, regions: Tensor, is_halved: bool = False) -> tuple[Tensor, Tensor]:
        """Return R×(T+1) class logits and R×T×4 box_deltas of R×C×14×14 features, or of their means over 2×2 bins."""

    def masks(self, regions: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return mask logits of R×C×14×14 features, R×T×M×M, or those of some rows; only called if ``has_masks``."""

    def mask_scores(self, regions: Tensor, masks: Tensor) -> Tensor:
        """Return R×T predicted IoUs of R×M×M mask logits; only called if ``has_mask_scores``."""

    def point_logits(self, features: Tensor, coarse: Tensor) -> Tensor:
        """Return R×T×P mask logits of R×P×C features and R×P coarse logits; only called if ``has_points``."""


class RoIHeads:
    """Classify and refine proposals, predict, refine and score their masks if the head does, and compute its losses.

    Args:
        pooler: Pooler of the region features.
        matcher: Matcher of proposals and objects.
        selector: Selector of the detections.
        num_stuff: Number of stuff classes S, which is the first thing class.
        mask_size: Side M of a predicted mask.
        masks_of_positives_only: Whether the mask branch processes the positive regions only, which is faster. The
            published network processes all regions, which changes its batch statistics.
        void_is_background: Whether void pixels are always background in the mask targets; otherwise the ground truth
            decides whether they are background or ignored.
        class_weights: T+1 factors of the class losses of background and of each thing class; None for 1.
        focal_gamma: Exponent of the focal loss of the classes; 0 disables it.
        box_loss: Loss of the boxes: ``smooth_l1``, or ``crop_aware``, its minimum over the boxes that a crop allows.
    """

    def __init__(
        self,
        pooler: RoIPooler,
        matcher: RoIMatcher,
        selector: DetectionSelector,
        num_stuff: int,
        mask_size: int = 28,
        masks_of_positives_only: bool = False,
        void_is_background: bool = False,
        class_weights: Sequence[float] | None = None,
        focal_gamma: float = 0.0,
        box_loss: BoxLoss = "smooth_l1",
    ) -> None:
        self.box_loss = box_loss
        self.pooler, self.matcher, self.selector = pooler, matcher, selector
        self.num_stuff, self.mask_size = num_stuff, mask_size
        self.masks_of_positives_only, self.void_is_background = masks_of_positives_only, void_is_background
        self.class_weights, self.focal_gamma = class_weights, focal_gamma

    def detect(
        self, head: Head, levels: Sequence[Tensor], proposals: PackedSequence, sizes: Sequence[Size], padded_size: Size
    ) -> tuple[PackedSequence, PackedSequence, PackedSequence, PackedSequence]:
        """Return the detections of every image.

        Args:
            head: Head that classifies regions and predicts masks.
            levels: Pyramid levels, N×C×h×w each, fine to coarse.
            proposals: R×4 per image.
            sizes: Height and width of each image before padding.
            padded_size: Height and width of the padded images.

        Returns:
            Per image, by descending score: boxes D×4, classes D (0-based among the things), scores D, and mask logits
            D×M×M, D×8M×8M from a head with points, or D×0×0 from a head without masks. From a head that scores masks,
            the scores are the class probabilities times the predicted IoUs of the masks.
        """
        logits, box_deltas = head.classify(self.pooler(levels, proposals, padded_size))
        rows, image_index = proposals.contiguous()
        found = [
            self.selector(rows[in_image], logits[in_image], box_deltas[in_image], size)
            for image, size in enumerate(sizes)
            for in_image in [image_index == image]
        ]
        boxes = PackedSequence(image.boxes for image in found)
        classes = PackedSequence(image.classes for image in found)
        scores = PackedSequence(image.scores for image in found)
        if not head.has_masks:
            return (
                boxes,
                classes,
                scores,
                PackedSequence(image.boxes.new_empty(len(image.boxes), 0, 0) for image in found),
            )
        masks, ious = self._detected_masks(head, levels, boxes, classes, padded_size)
        return (boxes, classes, scores, masks) if ious is None else calibrated(boxes, classes, scores, masks, ious)

    def _detected_masks(
        self, head: Head, levels: Sequence[Tensor], boxes: PackedSequence, classes: PackedSequence, padded_size: Size
    ) -> tuple[PackedSequence, PackedSequence | None]:
        """Return masks of the classes, and their predicted IoUs; None for these from a head without scores.

        The IoUs are those of masks that no point head has refined, as in training.
        """
        rows, image_index = boxes.contiguous()
        things, _ = classes.contiguous()
        regions = self.pooler(levels, boxes, padded_size)
        masks = coarse = of_class(head.masks(regions), things).float()
        if head.has_points:
            sample = partial(sample_points, levels[0], padded_size=padded_size)
            masks = rendered(head, CoarseMasks(coarse, things, rows, image_index), sample)
        per_image = PackedSequence.from_rows(masks, image_index, len(boxes))
        if not head.has_mask_scores:
            return per_image, None
        ious = of_class(head.mask_scores(regions, coarse), things)
        return per_image, PackedSequence.from_rows(ious, image_index, len(boxes))

    def train(
        self,
        head: Head,
        levels: Sequence[Tensor],
        proposals: PackedSequence,
        images: PaddedImages,
        ground_truth: GroundTruth,
        generator: torch.Generator,
    ) -> RoILosses:
        """Compute the losses of the head on sampled regions of all images, processed as one batch.

        Args:
            head: Head that classifies regions and predicts masks.
            levels: Pyramid levels, N×C×h×w each, fine to coarse.
            proposals: P×4 per image.
            images: Padded images; only their sizes are used.
            ground_truth: Annotation of the images.
            generator: CPU random generator used for sampling.
        """
        with record_function(TARGETS):
            objects = [ground_truth.objects(image, self.num_stuff) for image in range(len(ground_truth))]
            samples = [
                self.matcher(
                    proposals.entry(image), objects[image], ground_truth.crowd_pixels(image, self.num_stuff), generator
                )
                for image in range(len(ground_truth))
            ]
        classes = torch.cat([sample.classes for sample in samples])
        positive: Tensor | None = torch.nonzero(classes > 0).squeeze(1)
        num_positive = sum(len(sample.objects) for sample in samples)
        num_masks = num_positive if self.masks_of_positives_only else len(classes)
        regions, halved = with_half_size(
            self.pooler(levels, PackedSequence(sample.boxes for sample in samples), images.padded_size),
            positive if self.masks_of_positives_only else None,
        )
        mask_losses = MaskLosses()
        with head.planned_forward(len(classes), num_masks, num_positive):
            logits, box_deltas = head.classify(halved, is_halved=True)
            if head.has_masks:
                positives = PositiveRegions(classes[positive] - 1, samples, objects, ground_truth)
                if self.masks_of_positives_only:
                    positive = None  # all that are left
                sample = partial(sample_points, levels[0], padded_size=images.padded_size)
                mask_losses = self._mask_losses(head, regions, positive, positives, sample, generator)
        return RoILosses(
            classes=class_loss(logits, classes, self.class_weights, self.focal_gamma),
            boxes=self._box_loss(box_deltas, classes, samples, objects),
            masks=mask_losses.masks,
            points=mask_losses.points,
            mask_scores=mask_losses.scores,
        )

    def _box_loss(
        self, box_deltas: Tensor, classes: Tensor, samples: Sequence[RoISample], objects: Sequence[Objects]
    ) -> LossSum:
        targets = self._box_delta_targets(samples, objects)
        if self.box_loss == "smooth_l1":
            return box_loss(box_deltas, targets, classes)
        cut = torch.cat([truth.cut_sides[sample.objects] for sample, truth in zip(samples, objects, strict=True)])
        return box_loss(box_deltas, targets, classes, cut, constant_like(targets, self.selector.shift_weights))

    def _box_delta_targets(self, samples: Sequence[RoISample], objects: Sequence[Objects]) -> Tensor:
        with record_function(TARGETS):
            targets = [
                encode_boxes(sample.boxes[: len(sample.objects)], truth.boxes[sample.objects])
                for sample, truth in zip(samples, objects, strict=True)
            ]
            joined = torch.cat(targets)
            return joined * constant_like(joined, self.selector.shift_weights)

    def _mask_losses(
        self,
        head: Head,
        regions: Tensor,
        rows: Tensor | None,
        positives: PositiveRegions,
        sample: PointSampler,
        generator: torch.Generator,
    ) -> MaskLosses:
        """Return the losses of the masks of positive regions.

        Args:
            head: Head that predicts masks.
            regions: Features of the regions.
            rows: Indices of the P positive ones; None for all.
            positives: The positive ones.
            sample: Sampler of the finest pyramid level.
            generator: CPU random generator used to sample points.
        """
        void_is_background = self.void_is_background or positives.ground_truth.void_is_background
        logits, things = head.masks(regions, rows), positives.things
        targets = positives.mask_targets(self.mask_size, void_is_background)
        points = scores = None
        if head.has_points:
            boxes, image_index = PackedSequence(positives.boxes).contiguous()
            coarse = CoarseMasks(of_class(logits, things), things, boxes, image_index)
            places = training_points(coarse, generator)
            found = logits_at(head, coarse, places, sample)
            points = mask_loss(found, positives.point_targets(coarse.in_pixels(places), void_is_background), things)
        if head.has_mask_scores:
            # Masks must not become easier to score, only better, so they get no gradient from their scores.
            masks = of_class(logits, things).detach()
            shown = regions if rows is None else regions[rows]
            scores = mask_score_loss(head.mask_scores(shown, masks), positives.mask_ious(masks, targets), things)
        return MaskLosses(mask_loss(logits, targets, things), points, scores)


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
    """

    things: Tensor
    samples: Sequence[RoISample]
    objects: Sequence[Objects]
    ground_truth: GroundTruth

    @property
    def boxes(self) -> list[Tensor]:
        """Boxes of each image."""
        return [sample.boxes[: len(sample.objects)] for sample in self.samples]

    @property
    def segment_ids(self) -> list[Tensor]:
        """Segment ids of the objects that the regions of each image show."""
        return [truth.segment_ids[one.objects] for truth, one in zip(self.objects, self.samples, strict=True)]

    def mask_targets(self, mask_size: int, void_is_background: bool) -> Tensor:
        """Return the P×M×M targets of the masks; see :func:`seamseg.algos.losses.mask_targets`."""
        with record_function(TARGETS):
            targets = [
                mask_targets(self.ground_truth.annotation(image), boxes, ids, mask_size, void_is_background)
                for image, (boxes, ids) in enumerate(zip(self.boxes, self.segment_ids, strict=True))
            ]
            return torch.cat(targets)

    def point_targets(self, points: Tensor, void_is_background: bool) -> Tensor:
        """Return the P×N targets at P×N×2 points; see :func:`seamseg.algos.losses.point_targets`."""
        with record_function(TARGETS):
            per_image = torch.split(points, [len(boxes) for boxes in self.boxes])
            targets = [
                point_targets(self.ground_truth.annotation(image), places, ids, void_is_background)
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
