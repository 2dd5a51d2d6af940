"""The RoI heads without their weights: detections and losses (Girshick, Fast R-CNN; He et al., Mask R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
import torchvision
from torch import Tensor

from seamseg.algos.losses import RoILosses, box_loss, class_loss, mask_loss, mask_targets
from seamseg.algos.matching import RoIMatcher, RoISample
from seamseg.algos.roi_pooling import RoIPooler
from seamseg.ops.boxes import clip_boxes, decode_boxes, encode_boxes
from seamseg.structures.ground_truth import GroundTruth, Objects
from seamseg.structures.images import PaddedImages, Size
from seamseg.structures.losses import LossSum
from seamseg.structures.packed_sequence import PackedSequence


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
        shift_weights: the box_deltas are trained multiplied by these.
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
        """Detections of one image.

        Args:
            proposals: R×4.
            logits: R×(T+1), 0 is background.
            box_deltas: R×T×4.
            size: height and width of the valid image.
        """
        scores = class_probabilities(logits)[:, 1:]
        region, classes = torch.nonzero(scores > self.score_threshold, as_tuple=True)
        scores = scores[region, classes]
        moves = box_deltas[region, classes].float() / box_deltas.new_tensor(self.shift_weights, dtype=torch.float32)
        boxes = clip_boxes(decode_boxes(proposals[region], moves), size)
        full = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        boxes, classes, scores = boxes[full], classes[full], scores[full]
        keep = torchvision.ops.batched_nms(boxes, scores, classes, self.nms_threshold)[: self.max_predictions]
        return FoundBoxes(boxes[keep], classes[keep], scores[keep])


def class_probabilities(logits: Tensor) -> Tensor:
    """R×C softmax in float32 of R×C logits; those at +∞, as half types have them, share all of the probability."""
    return logits.float().clamp(max=torch.finfo(torch.float32).max).softmax(dim=1)


class Head(Protocol):
    """What the algorithm asks of the weights."""

    def planned_forward(self, num_regions: int, num_masks: int) -> AbstractContextManager[None]: ...

    def classify(self, regions: Tensor) -> tuple[Tensor, Tensor]: ...

    def masks(self, regions: Tensor) -> Tensor: ...


class RoIHeads:
    """Classifies and refines proposals and cuts out their masks, and trains the head that does.

    Args:
        pooler: of the features.
        matcher: of proposals and objects.
        selector: of the detections.
        num_stuff: S, the first thing class.
        mask_size: M, side of a predicted mask.
        masks_of_positives_only: whether the mask branch runs on the positive regions alone (faster; the published
            network runs it on all, which changes its batch statistics).
        void_is_background: whether void pixels train the masks as background.
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
    ) -> None:
        self.pooler, self.matcher, self.selector = pooler, matcher, selector
        self.num_stuff, self.mask_size = num_stuff, mask_size
        self.masks_of_positives_only, self.void_is_background = masks_of_positives_only, void_is_background

    def detect(
        self, head: Head, levels: Sequence[Tensor], proposals: PackedSequence, sizes: Sequence[Size], padded_size: Size
    ) -> tuple[PackedSequence, PackedSequence, PackedSequence, PackedSequence]:
        """Detections of every image.

        Args:
            head: of the regions.
            levels: N×C×h×w each, fine to coarse.
            proposals: R×4 per image.
            sizes: of the images' valid parts.
            padded_size: of the padded images.

        Returns:
            boxes D×4, classes D (0-based among the things), scores D, mask logits D×M×M per image.
        """
        logits, box_deltas = head.classify(self.pooler(levels, proposals, padded_size))
        rows, image_index = proposals.contiguous()
        found = [
            self.selector(rows[mine], logits[mine], box_deltas[mine], size)
            for image, size in enumerate(sizes)
            for mine in [image_index == image]
        ]
        boxes = PackedSequence(image.boxes for image in found)
        classes = PackedSequence(image.classes for image in found)
        _, image_index = boxes.contiguous()
        masks = head.masks(self.pooler(levels, boxes, padded_size))
        things, _ = classes.contiguous()
        chosen = masks[torch.arange(len(masks), device=masks.device), things].float()
        scores = PackedSequence(image.scores for image in found)
        return boxes, classes, scores, PackedSequence.from_rows(chosen, image_index, len(sizes))

    def train(
        self,
        head: Head,
        levels: Sequence[Tensor],
        proposals: PackedSequence,
        images: PaddedImages,
        ground_truth: GroundTruth,
        generator: torch.Generator,
    ) -> RoILosses:
        """Losses of the head on sampled regions of all images, as one batch."""
        objects = [ground_truth.objects(image, self.num_stuff) for image in range(len(ground_truth))]
        samples = [
            self.matcher(
                proposals.entry(image), objects[image], ground_truth.crowd_pixels(image, self.num_stuff), generator
            )
            for image in range(len(ground_truth))
        ]
        regions = self.pooler(levels, PackedSequence(sample.boxes for sample in samples), images.padded_size)
        classes = torch.cat([sample.classes for sample in samples])
        num_positive = sum(len(sample.objects) for sample in samples)
        with head.planned_forward(len(classes), num_positive if self.masks_of_positives_only else len(classes)):
            logits, box_deltas = head.classify(regions)
            masks = self._mask_loss(head, regions, classes, samples, objects, ground_truth)
        return RoILosses(
            classes=class_loss(logits, classes),
            boxes=box_loss(box_deltas, self._shift_targets(samples, objects), classes),
            masks=masks,
        )

    def _shift_targets(self, samples: Sequence[RoISample], objects: Sequence[Objects]) -> Tensor:
        targets = [
            encode_boxes(sample.boxes[: len(sample.objects)], truth.boxes[sample.objects])
            for sample, truth in zip(samples, objects, strict=True)
        ]
        joined = torch.cat(targets)
        return joined * joined.new_tensor(self.selector.shift_weights)

    def _mask_loss(
        self,
        head: Head,
        regions: Tensor,
        classes: Tensor,
        samples: Sequence[RoISample],
        objects: Sequence[Objects],
        ground_truth: GroundTruth,
    ) -> LossSum:
        targets = [
            mask_targets(
                ground_truth.ids.entry(image)[0],
                sample.boxes[: len(sample.objects)],
                objects[image].segment_ids[sample.objects],
                self.mask_size,
                self.void_is_background,
            )
            for image, sample in enumerate(samples)
        ]
        positive = torch.nonzero(classes > 0).squeeze(1)
        logits = head.masks(regions[positive]) if self.masks_of_positives_only else head.masks(regions)[positive]
        return mask_loss(logits, torch.cat(targets), classes[positive] - 1)
