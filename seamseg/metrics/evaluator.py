"""Evaluation of a panoptic network: all metrics, accumulated image by image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.errors import DataError
from seamseg.metrics.analysis import analyze
from seamseg.metrics.average_precision import AveragePrecision, ImageInstances
from seamseg.metrics.confusion import ConfusionMatrix
from seamseg.metrics.matching import ImageCounts, match
from seamseg.metrics.outcomes import ImageSegments
from seamseg.metrics.overlaps import Overlaps
from seamseg.metrics.panoptic_quality import PanopticQuality, StuffOverlap
from seamseg.metrics.scores import BoundaryQuality, ClassScores, Scores
from seamseg.structures import Detections, ImageId, PanopticSegmentation


@dataclass(frozen=True)
class EvaluatorState:
    """Counts of a :class:`PanopticEvaluator`; picklable.

    Attributes:
        images: Contribution of each image to panoptic quality.
        quality, boundary: States of panoptic quality and of boundary PQ, 6×C.
        stuff: State of the stuff overlap, 4×C.
        fused, semantic: Confusion matrices of the fused output and of the semantic head, C×(C+1).
        instances: True and detected objects of each image.
        segments: Segments of each image and their overlaps.
    """

    images: list[ImageCounts]
    quality: Tensor
    boundary: Tensor
    stuff: Tensor
    fused: Tensor
    semantic: Tensor
    instances: list[ImageInstances]
    segments: list[ImageSegments]


class PanopticEvaluator:
    """Evaluator of the images of one data set at their original size.

    ``update`` scores the complete predictions of an image in memory. ``count`` scores an image from the overlaps of its
    segments, for panoptic results without a semantic head.

    Args:
        num_classes: Number of stuff and thing classes.
        num_stuff: Number of stuff classes.
        boundary: Also compute boundary PQ.
    """

    def __init__(self, num_classes: int, num_stuff: int, boundary: bool = True) -> None:
        self.num_classes, self.num_stuff, self.boundary = num_classes, num_stuff, boundary
        self._images: list[ImageCounts] = []
        self._segments: list[ImageSegments] = []
        self._quality = PanopticQuality(num_classes, num_stuff)
        self._boundary = PanopticQuality(num_classes, num_stuff)
        self._stuff = StuffOverlap(num_classes, num_stuff)
        self._fused = ConfusionMatrix(num_classes)
        self._semantic = ConfusionMatrix(num_classes)
        self._precision = AveragePrecision(num_classes, num_stuff)
        self._seen: set[ImageId] = set()

    def update(
        self,
        image_id: ImageId,
        segmentation: PanopticSegmentation,
        detections: Detections,
        semantics: Tensor,
        truth: PanopticSegmentation,
    ) -> ImageCounts:
        """Score one image. All arguments must have the size of the annotation and be on the same device.

        Args:
            image_id: Id of the image in the data set.
            segmentation: Fused output.
            detections: Objects before fusion.
            semantics: Classes of the semantic head, H×W.
            truth: Annotation.

        Returns:
            The contribution of the image to panoptic quality.

        Raises:
            ValueError: The sizes differ, a class is out of range, or the image was already scored.
        """
        if not segmentation.size == tuple(semantics.shape) == truth.size:
            raise ValueError(
                f"the predictions of image {image_id} must have the size of its annotation, {truth.size} "
                f"(height, width), but its fused output has {segmentation.size} and its class map "
                f"{tuple(semantics.shape)}"
            )
        counts = self.count(image_id, Overlaps.between(segmentation, truth, self.boundary))
        self._semantic.update(semantics, truth.semantics)
        self._precision.update(image_id, detections, truth)
        return counts

    def count(self, image_id: ImageId, overlaps: Overlaps, instances: ImageInstances | None = None) -> ImageCounts:
        """Score the panoptic result of one image.

        Args:
            image_id: Id of the image in the data set.
            overlaps: Overlaps of the segments, with borders if boundary PQ is computed.
            instances: True and detected objects for average precision; None if the predictions have no scores.

        Returns:
            The contribution of the image to panoptic quality.

        Raises:
            ValueError: A class is out of range, or the image was already scored.
        """
        overlaps.check_classes(self.num_classes)
        self._mark(image_id)
        matching = match(overlaps)
        counts = matching.counts(self.num_classes)
        image = ImageCounts.of_state(image_id, counts)
        self._images.append(image)
        self._segments.append(ImageSegments.of(image_id, overlaps, matching))
        self._quality.add(counts)
        self._stuff.count(matching)
        self._fused.count(overlaps)
        if self.boundary:
            self._boundary.count(match(overlaps, boundary=True))
        if instances is not None:
            self._precision.merge([instances])
        return image

    @property
    def state(self) -> EvaluatorState:
        """Counts so far, to send to other ranks."""
        return EvaluatorState(
            self._images,
            self._quality.state,
            self._boundary.state,
            self._stuff.state,
            self._fused.state,
            self._semantic.state,
            self._precision.state,
            self._segments,
        )

    def merge(self, states: Iterable[EvaluatorState]) -> None:
        """Add the states of evaluators of other images.

        The scores are bit for bit those of a single evaluator of all images.

        Raises:
            ValueError: An image was scored twice.
        """
        for state in states:
            for image in state.images:
                self._mark(image.image_id)
            self._images += state.images
            self._segments += state.segments
            self._quality.merge(state.quality)
            self._boundary.merge(state.boundary)
            self._stuff.merge(state.stuff)
            self._fused.merge(state.fused)
            self._semantic.merge(state.semantic)
            self._precision.merge(state.instances)

    def compute(self, names: Sequence[str]) -> Scores:
        """Compute the scores over all images so far.

        Args:
            names: Names of the classes, in the network's order.

        Raises:
            ValueError: The number of names differs from the number of classes.
        """
        if len(names) != self.num_classes:
            raise ValueError(
                f"scores per class need one name per class, not {len(names)} names for {self.num_classes} classes"
            )
        quality, border = self._quality, self._boundary
        images, segments = sorted(self._images, key=_by_id), sorted(self._segments, key=_by_id)
        return Scores(
            all=quality.over_all(),
            things=quality.over_things(),
            stuff=quality.over_stuff(),
            per_class=self._per_class(names),
            miou=self._fused.mean_iou(),
            miou_semantic=self._semantic.mean_iou(),
            box_ap=self._precision.box_ap(),
            mask_ap=self._precision.mask_ap(),
            pq_dagger=float(self._stuff.pq_dagger(quality).nanmean()),
            boundary=BoundaryQuality(border.over_all(), border.over_things(), border.over_stuff())
            if self.boundary
            else None,
            images=tuple(images),
            analysis=analyze(images, segments, self._fused.state, names, self.num_stuff),
        )

    def _per_class(self, names: Sequence[str]) -> dict[str, ClassScores]:
        quality = self._quality
        rates = torch.stack([quality.pq, quality.sq, quality.rq], 1).tolist()
        counts = quality.counts[1:].long().T.tolist()
        others = [self._fused.iou(), self._semantic.iou(), self._stuff.pq_dagger(quality), self._boundary.pq]
        rows = zip(names, rates, counts, torch.stack(others, 1).tolist(), strict=True)
        return {name: ClassScores(*rate, *count, *other) for name, rate, count, other in rows}

    def _mark(self, image_id: ImageId) -> None:
        if image_id in self._seen:
            raise DataError(f"image {image_id} was scored twice; list each image only once")
        self._seen.add(image_id)


def _by_id(image: ImageCounts | ImageSegments) -> tuple[bool, ImageId]:
    """Return a sort key that puts integer ids before string ids."""
    return isinstance(image.image_id, str), image.image_id
