"""Evaluation of a panoptic network: all metrics, accumulated image by image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.errors import DataError
from seamseg.metrics.analysis import analyze
from seamseg.metrics.average_precision import AveragePrecision
from seamseg.metrics.coco_evaluation import IOU_TYPES
from seamseg.metrics.confusion import ConfusionMatrix
from seamseg.metrics.matching import ImageCounts, match
from seamseg.metrics.outcomes import CASES, segment_cases
from seamseg.metrics.overlaps import Overlaps
from seamseg.metrics.panoptic_quality import PanopticQuality, StuffOverlap
from seamseg.metrics.scores import BoundaryQuality, ClassScores, Scores
from seamseg.structures import Detections, ImageId, ImageInstances, PanopticSegmentation


@dataclass(frozen=True)
class EvaluatorState:
    """Counts of a :class:`PanopticEvaluator`; picklable.

    Attributes:
        images: Contribution of each image to panoptic quality.
        quality, boundary: States of panoptic quality and of boundary PQ, 6×C.
        stuff: State of the stuff overlap, 4×C.
        fused, semantic: Confusion matrices of the fused output and of the semantic head, C×(C+1).
        instances: True and detected objects of each image.
        cases: Outcomes of the segments from :func:`~seamseg.metrics.outcomes.segment_cases`, with indices of
            ``images``.
    """

    images: list[ImageCounts]
    quality: Tensor
    boundary: Tensor
    stuff: Tensor
    fused: Tensor
    semantic: Tensor
    instances: list[ImageInstances]
    cases: NDArray[Any]


class PanopticEvaluator:
    """Evaluator of the images of one data set at their original size.

    ``update`` scores the complete predictions of an image in memory. ``count`` scores images from the overlaps of their
    segments, for panoptic results without a semantic head.

    Args:
        num_classes: Number of stuff and thing classes.
        num_stuff: Number of stuff classes.
        boundary: Also compute boundary PQ.
    """

    def __init__(self, num_classes: int, num_stuff: int, boundary: bool = True) -> None:
        self.num_classes, self.num_stuff, self.boundary = num_classes, num_stuff, boundary
        self._images: list[ImageCounts] = []
        self._cases: list[NDArray[Any]] = [np.zeros(0, CASES)]
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
        semantics: Tensor | None,
        truth: PanopticSegmentation,
    ) -> ImageCounts:
        """Score one image. All arguments must have the size of the annotation and be on the same device.

        Args:
            image_id: Id of the image in the data set.
            segmentation: Fused output.
            detections: Objects before fusion.
            semantics: Classes of the semantic head, H×W; None without such a head.
            truth: Annotation.

        Returns:
            The contribution of the image to panoptic quality.

        Raises:
            ValueError: The sizes differ, a class is out of range, or the image was already scored.
        """
        map_size = truth.size if semantics is None else tuple(semantics.shape)
        if not segmentation.size == map_size == truth.size:
            raise ValueError(
                f"the predictions of image {image_id} must have the size of its annotation, {truth.size} "
                f"(height, width), but its fused output has {segmentation.size} and its class map {map_size}"
            )
        (counts,) = self.count([image_id], Overlaps.between(segmentation, truth, self.boundary))
        if semantics is not None:
            self._semantic.update(semantics, truth.semantics)
        self._precision.update(image_id, detections, truth)
        return counts

    def count(
        self, image_ids: Sequence[ImageId], overlaps: Overlaps, instances: Iterable[ImageInstances] = ()
    ) -> list[ImageCounts]:
        """Score the panoptic results of images.

        Args:
            image_ids: Ids of the images in the data set.
            overlaps: Overlaps of the segments, with borders if boundary PQ is computed.
            instances: True and detected objects for average precision; none if the predictions have no scores.

        Returns:
            The contribution of each image to panoptic quality.

        Raises:
            ValueError: A class is out of range, or the image was already scored.
        """
        overlaps.check_classes(self.num_classes)
        self._mark(image_ids)
        matching = match(overlaps)
        counts = matching.counts(self.num_classes)
        images = [ImageCounts.of_state(image_id, counts[:, image]) for image, image_id in enumerate(image_ids)]
        self._add(images, segment_cases(matching))
        self._quality.add(counts)
        self._stuff.count(matching)
        self._fused.count(overlaps)
        if self.boundary:
            self._boundary.count(match(overlaps, boundary=True))
        self._precision.merge(instances)
        return images

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
            np.concatenate(self._cases),
        )

    def merge(self, states: Iterable[EvaluatorState]) -> None:
        """Add the states of evaluators of other images.

        The scores are bit for bit those of a single evaluator of all images.

        Raises:
            ValueError: An image was scored twice.
        """
        for state in states:
            self._mark([image.image_id for image in state.images])
            self._add(state.images, state.cases)
            self._quality.merge(state.quality)
            self._boundary.merge(state.boundary)
            self._stuff.merge(state.stuff)
            self._fused.merge(state.fused)
            self._semantic.merge(state.semantic)
            self._precision.merge(state.instances)

    def compute(self, names: Sequence[str], coco_figures: bool = False) -> Scores:
        """Compute the scores over all images so far.

        Args:
            names: Names of the classes, in the network's order.
            coco_figures: Whether to compute all figures of COCO's evaluation, which takes several times as long as the
                average precision.

        Raises:
            ValueError: The number of names differs from the number of classes.
        """
        if len(names) != self.num_classes:
            raise ValueError(
                f"scores per class need one name per class, not {len(names)} names for {self.num_classes} classes"
            )
        quality, border = self._quality, self._boundary
        images, cases = self._sorted_by_id()
        box, mask = (self._precision.tables(kind).figures() if coco_figures else None for kind in IOU_TYPES)
        return Scores(
            all=quality.over_all(),
            things=quality.over_things(),
            stuff=quality.over_stuff(),
            per_class=self._per_class(names),
            miou=self._fused.mean_iou(),
            miou_semantic=self._semantic.mean_iou(),
            box_ap=self._precision.box_ap() if box is None else box.ap,
            mask_ap=self._precision.mask_ap() if mask is None else mask.ap,
            pq_dagger=float(self._stuff.pq_dagger(quality).nanmean()),
            boundary=BoundaryQuality(border.over_all(), border.over_things(), border.over_stuff())
            if self.boundary
            else None,
            images=tuple(images),
            analysis=analyze(images, cases, self._fused.state, names, self.num_stuff),
            box=box,
            mask=mask,
        )

    def _per_class(self, names: Sequence[str]) -> dict[str, ClassScores]:
        quality = self._quality
        rates = torch.stack([quality.pq, quality.sq, quality.rq], 1).tolist()
        counts = quality.counts[1:].long().T.tolist()
        others = [self._fused.iou(), self._semantic.iou(), self._stuff.pq_dagger(quality), self._boundary.pq]
        rows = zip(names, rates, counts, torch.stack(others, 1).tolist(), strict=True)
        return {name: ClassScores(*rate, *count, *other) for name, rate, count, other in rows}

    def _mark(self, image_ids: Iterable[ImageId]) -> None:
        for image_id in image_ids:
            if image_id in self._seen:
                raise DataError(f"image {image_id} was scored twice; list each image only once")
            self._seen.add(image_id)

    def _add(self, images: Sequence[ImageCounts], cases: NDArray[Any]) -> None:
        cases = cases.copy()
        cases["image"] += len(self._images)
        self._cases.append(cases)
        self._images += images

    def _sorted_by_id(self) -> tuple[list[ImageCounts], NDArray[Any]]:
        """Return images and cases, true segments first, in an order that does not depend on which rank counted them."""
        ids = [image.image_id for image in self._images]
        order = sorted(range(len(ids)), key=lambda image: (isinstance(ids[image], str), ids[image]))
        cases = np.concatenate(self._cases)
        places = np.argsort(order)[cases["image"]]
        return [self._images[image] for image in order], cases[np.lexsort((places, ~cases["is_true"]))]
