"""Everything that is measured of a panoptic network, image by image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.metrics.average_precision import AveragePrecision, ImageInstances
from seamseg.metrics.confusion import ConfusionMatrix
from seamseg.metrics.panoptic_quality import PanopticQuality
from seamseg.metrics.scores import ClassScores, Scores
from seamseg.metrics.segments import Segments
from seamseg.structures import Detections, ImageId, PanopticSegmentation


@dataclass(frozen=True)
class EvaluatorState:
    """What a :class:`PanopticEvaluator` has counted; picklable.

    Attributes:
        quality: 4×C, of the panoptic quality.
        fused, semantic: C×(C+1), confusion matrices of the fused output and of the semantic head.
        instances: objects and detections per image.
    """

    quality: Tensor
    fused: Tensor
    semantic: Tensor
    instances: list[ImageInstances]


class PanopticEvaluator:
    """Scores images of one data set at their original size.

    Args:
        num_classes: stuff and things together.
        num_stuff: number of stuff classes.
    """

    def __init__(self, num_classes: int, num_stuff: int) -> None:
        self._quality = PanopticQuality(num_classes, num_stuff)
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
        truth: Segments,
    ) -> None:
        """Scores one image; everything at the size of its annotation, and on one device.

        Args:
            image_id: the data set's own id.
            segmentation: the fused output.
            detections: objects before fusion.
            semantics: H×W, the semantic head's classes.
            truth: the annotation.

        Raises:
            ValueError: sizes differ, or the image was scored before.
        """
        prediction = Segments.of_prediction(segmentation)
        if not prediction.size == tuple(semantics.shape) == truth.size:
            raise ValueError(
                f"image {image_id} is scored at one size, but its fused output is {prediction.size}, "
                f"its class map {tuple(semantics.shape)} and its annotation {truth.size} (height, width)"
            )
        self._mark(image_id)
        true_classes = truth.class_map()
        self._quality.update(prediction, truth)
        self._fused.update(prediction.without_crowd().class_map(), true_classes)
        self._semantic.update(semantics, true_classes)
        self._precision.update(image_id, detections, truth)

    @property
    def state(self) -> EvaluatorState:
        """To be sent to other ranks."""
        return EvaluatorState(self._quality.state, self._fused.state, self._semantic.state, self._precision.state)

    def merge(self, states: Iterable[EvaluatorState]) -> None:
        """Adds what other evaluators counted on other images.

        Raises:
            ValueError: an image was scored twice.
        """
        for state in states:
            for image in state.instances:
                self._mark(image.image_id)
            self._quality.merge(state.quality)
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
        quality = self._quality
        num_classes = quality.state.shape[1]
        if len(names) != num_classes:
            raise ValueError(
                f"scores by class need one name per class, not {len(names)} names for {num_classes} classes"
            )
        return Scores(
            all=quality.over_all(),
            things=quality.over_things(),
            stuff=quality.over_stuff(),
            per_class=self._per_class(names),
            miou=self._fused.mean_iou(),
            miou_semantic=self._semantic.mean_iou(),
            box_ap=self._precision.box_ap(),
            mask_ap=self._precision.mask_ap(),
        )

    def _per_class(self, names: Sequence[str]) -> dict[str, ClassScores]:
        quality = self._quality
        rates = torch.stack([quality.pq, quality.sq, quality.rq], 1).tolist()
        counts = quality.state[1:].long().T.tolist()
        ious = torch.stack([self._fused.iou(), self._semantic.iou()], 1).tolist()
        rows = zip(names, rates, counts, ious, strict=True)
        return {name: ClassScores(*rate, *count, *iou) for name, rate, count, iou in rows}

    def _mark(self, image_id: ImageId) -> None:
        if image_id in self._seen:
            raise ValueError(f"image {image_id} was scored twice; every image counts once")
        self._seen.add(image_id)
