"""RoI heads without their weights: detections and losses (Girshick, Fast R-CNN; He et al., Mask R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
import torchvision
from torch import Tensor
from torch.profiler import record_function

from seamseg.algos.box_regression import BoxLoss
from seamseg.algos.cascade import (
    BOX_WEIGHTS,
    BoxHead,
    BoxStage,
    class_probabilities,
    divide_gradient,
    next_proposals,
    refined_in_images,
    run_stages,
)
from seamseg.algos.losses import (
    TARGETS,
    BoxLosses,
    RoILosses,
    box_loss,
    class_loss,
    of_class,
)
from seamseg.algos.mask_losses import MaskHead, MaskLosses, PositiveRegions, mask_losses
from seamseg.algos.mask_scoring import calibrated
from seamseg.algos.matching import RoIMatcher, RoISample
from seamseg.algos.point_rendering import CoarseMasks, rendered
from seamseg.algos.roi_pooling import RoIPooler, sample_points
from seamseg.ops.boxes import clip_boxes, decode_boxes, encode_boxes
from seamseg.ops.constants import constant_like
from seamseg.ops.half_size import with_half_size
from seamseg.structures.ground_truth import GroundTruth, Objects
from seamseg.structures.images import PaddedImages, Size
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
        shift_weights: Sequence[float] = BOX_WEIGHTS,
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


class Head(BoxHead, MaskHead, Protocol):
    """Interface of the head that the algorithm calls; see :class:`seamseg.modules.roi_head.RoIHead`."""

    has_masks: bool

    @property
    def later_stages(self) -> Sequence[BoxHead]:
        """Heads of the further stages of a cascade, whose box_deltas are the same for all classes."""


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
        later_stages: Further stages of a cascade. The head then has as many ``later_stages``, its box_deltas are the
            same for all classes, and the selector has the ``shift_weights`` of the last stage.
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
        later_stages: Sequence[BoxStage] = (),
    ) -> None:
        self.box_loss = box_loss
        self.stages = (BoxStage(matcher), *later_stages)
        assert tuple(self.stages[-1].box_weights) == selector.shift_weights
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
        proposals, logits, box_deltas = run_stages(
            self.stages,
            [head, *head.later_stages],
            proposals,
            lambda boxes: self.pooler(levels, boxes, padded_size),
            lambda boxes, deltas, weights: refined_in_images(boxes, deltas, weights, sizes),
        )
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

        The IoUs are predicted for masks that no point head has refined, as in training.
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
        samples = self._samples(self.stages[0], proposals, objects, ground_truth, generator)
        classes = _classes(samples)
        positive: Tensor | None = torch.nonzero(classes > 0).squeeze(1)
        num_positive = sum(len(sample.objects) for sample in samples)
        num_masks = num_positive if self.masks_of_positives_only else len(classes)
        regions, halved = with_half_size(
            self.pooler(levels, PackedSequence(sample.boxes for sample in samples), images.padded_size),
            positive if self.masks_of_positives_only else None,
        )
        divide_gradient(halved, len(self.stages))
        masks = MaskLosses()
        with head.planned_forward(len(classes), num_masks, num_positive):
            logits, box_deltas = head.classify(halved, is_halved=True)
            if head.has_masks:
                void_is_background = self.void_is_background or ground_truth.void_is_background
                positives = PositiveRegions(classes[positive] - 1, samples, objects, ground_truth, void_is_background)
                if self.masks_of_positives_only:
                    positive = None  # all that are left
                sample = partial(sample_points, levels[0], padded_size=images.padded_size)
                targets = positives.mask_targets(self.mask_size)
                masks = mask_losses(head, regions, positive, positives, targets, sample, generator)
        first = self._box_losses(self.stages[0], logits, box_deltas, samples, objects)
        later = self._train_later_stages(
            head.later_stages, levels, samples, box_deltas, images, objects, ground_truth, generator
        )
        return RoILosses(first.classes, first.boxes, *masks, later)

    def _train_later_stages(
        self,
        heads: Sequence[BoxHead],
        levels: Sequence[Tensor],
        samples: Sequence[RoISample],
        box_deltas: Tensor,
        images: PaddedImages,
        objects: Sequence[Objects],
        ground_truth: GroundTruth,
        generator: torch.Generator,
    ) -> list[BoxLosses]:
        """Return the losses of each stage after the first, which gets the boxes that the one before it refined.

        Args:
            heads: Heads of these stages.
            levels: Pyramid levels, N×C×h×w each, fine to coarse.
            samples: Regions of every image in the first stage.
            box_deltas: R×T×4, its predictions for them.
            images: Padded images; only their sizes are used.
            objects: Objects of every image.
            ground_truth: Annotation of the images.
            generator: CPU random generator used for sampling.
        """
        losses = []
        for before, stage, head in zip(self.stages[:-1], self.stages[1:], heads, strict=True):
            with record_function(TARGETS):
                proposals = next_proposals(samples, objects, box_deltas[:, 0], before.box_weights, images.sizes)
            samples = self._samples(stage, proposals, objects, ground_truth, generator)
            boxes = PackedSequence(sample.boxes for sample in samples)
            _, halved = with_half_size(self.pooler(levels, boxes, images.padded_size))
            divide_gradient(halved, len(self.stages))
            with head.planned_forward(len(halved), 0, 0):
                logits, box_deltas = head.classify(halved, is_halved=True)
            losses.append(self._box_losses(stage, logits, box_deltas, samples, objects))
        return losses

    def _samples(
        self,
        stage: BoxStage,
        proposals: PackedSequence,
        objects: Sequence[Objects],
        ground_truth: GroundTruth,
        generator: torch.Generator,
    ) -> list[RoISample]:
        with record_function(TARGETS):
            return [
                stage.matcher(
                    proposals.entry(image), truth, ground_truth.crowd_pixels(image, self.num_stuff), generator
                )
                for image, truth in enumerate(objects)
            ]

    def _box_losses(
        self,
        stage: BoxStage,
        logits: Tensor,
        box_deltas: Tensor,
        samples: Sequence[RoISample],
        objects: Sequence[Objects],
    ) -> BoxLosses:
        classes, targets = _classes(samples), _box_delta_targets(samples, objects, stage.box_weights)
        cut = weights = None
        if self.box_loss == "crop_aware":
            cut = torch.cat([truth.cut_sides[sample.objects] for sample, truth in zip(samples, objects, strict=True)])
            weights = constant_like(targets, stage.box_weights)
        return BoxLosses(
            class_loss(logits, classes, self.class_weights, self.focal_gamma),
            box_loss(box_deltas, targets, classes, cut, weights),
        )


def _classes(samples: Sequence[RoISample]) -> Tensor:
    """Return the true classes of the regions of all images; 0 is background."""
    return torch.cat([sample.classes for sample in samples])


def _box_delta_targets(
    samples: Sequence[RoISample], objects: Sequence[Objects], box_weights: Sequence[float]
) -> Tensor:
    """Return the weighted box_deltas of the positive regions of all images, P×4."""
    with record_function(TARGETS):
        targets = [
            encode_boxes(sample.boxes[: len(sample.objects)], truth.boxes[sample.objects])
            for sample, truth in zip(samples, objects, strict=True)
        ]
        joined = torch.cat(targets)
        return joined * constant_like(joined, box_weights)
