"""Everything that is measured of a panoptic network, image by image."""

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
    """What a :class:`PanopticEvaluator` has counted; picklable.

    Attributes:
        images: what each image contributes to the panoptic quality.
        quality, boundary: 6×C, of the panoptic quality and of boundary PQ.
        stuff: 4×C, of the overlap of stuff.
        fused, semantic: C×(C+1), confusion matrices of the fused output and of the semantic head.
        instances: objects and detections per image.
        segments: of each image, and how they overlap.
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
    """Scores images of one data set at their original size: in memory with ``update``, or, where only panoptic results
    are there, from the overlaps of their segments with ``count``.

    Args:
        num_classes: stuff and things together.
        num_stuff: number of stuff classes.
        boundary: whether to compute boundary PQ too.
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
        """Scores one image; everything at the size of its annotation, and on one device.

        Args:
            image_id: the data set's own id.
            segmentation: the fused output.
            detections: objects before fusion.
            semantics: H×W, the semantic head's classes.
            truth: the annotation.

        Returns:
            What the image contributes to the panoptic quality.

        Raises:
            ValueError: sizes differ, a class is unknown, or the image was scored before.
        """
        if not segmentation.size == tuple(semantics.shape) == truth.size:
            raise ValueError(
                f"image {image_id} is scored at one size, but its fused output is {segmentation.size}, "
                f"its class map {tuple(semantics.shape)} and its annotation {truth.size} (height, width)"
            )
        counts = self.count(image_id, Overlaps.between(segmentation, truth, self.boundary))
        self._semantic.update(semantics, truth.semantics)
        self._precision.update(image_id, detections, truth)
        return counts

    def count(self, image_id: ImageId, overlaps: Overlaps, instances: ImageInstances | None = None) -> ImageCounts:
        """Scores the panoptic result of one image.

        Args:
            image_id: the data set's own id.
            overlaps: of its segments, with borders if boundary PQ is computed.
            instances: its objects, where predictions carry scores.

        Returns:
            What the image contributes to the panoptic quality.

        Raises:
            ValueError: a class is unknown, or the image was scored before.
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
        """To be sent to other ranks."""
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
        """Adds what other evaluators counted on other images; the scores are those of one that counted all, bit by bit.

        Raises:
            ValueError: an image was scored twice.
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
        """The scores over all images so far.

        Args:
            names: of the classes, in the network's order.

        Raises:
            ValueError: there are more or fewer names than classes.
        """
        if len(names) != self.num_classes:
            raise ValueError(
                f"scores by class need one name per class, not {len(names)} names for {self.num_classes} classes"
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
            raise DataError(f"image {image_id} was scored twice; every image counts once")
        self._seen.add(image_id)


def _by_id(image: ImageCounts | ImageSegments) -> tuple[bool, ImageId]:
    """Numbers before names."""
    return isinstance(image.image_id, str), image.image_id
