"""Evaluation of semantic segmentations: IoU and accuracy of the classes, accumulated image by image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from seamseg.errors import DataError
from seamseg.metrics.calibration import Calibration
from seamseg.metrics.confusion import ConfusionMatrix
from seamseg.metrics.overlaps import IntArray
from seamseg.metrics.scores import json_lines, without_nan
from seamseg.structures import ImageId, Unreadable


@dataclass(frozen=True)
class SemanticClassScores:
    """Scores of one class in 0 … 1.

    Attributes:
        iou: Intersection over union of all pixels of the class; NaN if the class is neither annotated nor predicted.
        accuracy: Fraction of its annotated pixels that are predicted as this class; NaN if there are none.
        pixels: Number of its annotated pixels.
    """

    iou: float
    accuracy: float
    pixels: int


@dataclass(frozen=True)
class SemanticScores:
    """Scores of one evaluation in 0 … 1. Pixels that are annotated as void are ignored.

    Attributes:
        miou: Mean IoU over the classes that are annotated or predicted; NaN if there are none.
        pixel_accuracy: Fraction of the annotated pixels whose class is predicted; NaN if there are none.
        mean_class_accuracy: Mean accuracy over the annotated classes; NaN if there are none.
        per_class: Scores by class name.
        confusion: Numbers of pixels by true class (row) and predicted class (column), C×(C+1); the last column counts
            pixels that are predicted as void.
        num_images: Number of scored images.
        unreadable: Images that were skipped because they could not be read.
        calibration: Calibration of the confidence of pixels; None if it was not computed.
    """

    miou: float
    pixel_accuracy: float
    mean_class_accuracy: float
    per_class: dict[str, SemanticClassScores]
    confusion: IntArray
    num_images: int
    unreadable: tuple[Unreadable, ...] = ()
    calibration: Calibration | None = None

    def to_json(self) -> str:
        """Return JSON text with the same names, null in place of NaN, and one line per class and matrix row."""
        parts: dict[str, Any] = {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_class_accuracy": self.mean_class_accuracy,
            "per_class": {name: asdict(line) for name, line in self.per_class.items()},
            "confusion": self.confusion.tolist(),
            "num_images": self.num_images,
            "unreadable": [asdict(image) for image in self.unreadable],
        }
        parts |= {} if self.calibration is None else {"calibration": self.calibration.to_dict()}
        return json_lines(without_nan(parts)) + "\n"


@dataclass(frozen=True)
class SemanticState:
    """Counts of a :class:`SemanticEvaluator`; picklable.

    Attributes:
        images: Ids of the scored images.
        confusion: State of the confusion matrix, C×(C+1).
    """

    images: frozenset[ImageId]
    confusion: Tensor


class SemanticEvaluator:
    """Evaluator of the images of one data set at their original size.

    Args:
        num_classes: Number of classes C.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._images: set[ImageId] = set()
        self._confusion = ConfusionMatrix(num_classes)

    def update(self, image_id: ImageId, semantics: Tensor, truth: Tensor) -> float:
        """Score one image.

        Args:
            image_id: Id of the image in the data set.
            semantics: Predicted classes, H×W integers.
            truth: Annotated classes, H×W integers; 255 for void.

        Returns:
            The mean IoU over the classes in this image; NaN if there are none.

        Raises:
            ValueError: The sizes differ, or a class is out of range.
            SeamsegError: The image was already scored.
        """
        self._mark(frozenset([image_id]))
        image = ConfusionMatrix(self.num_classes)
        image.update(semantics, truth)
        self._confusion.merge(image.state)
        return image.mean_iou()

    @property
    def state(self) -> SemanticState:
        """Counts so far, to send to other ranks."""
        return SemanticState(frozenset(self._images), self._confusion.state)

    def merge(self, states: Iterable[SemanticState]) -> None:
        """Add the states of evaluators of other images.

        Raises:
            SeamsegError: An image was scored twice.
        """
        for state in states:
            self._mark(state.images)
            self._confusion.merge(state.confusion)

    def compute(self, names: Sequence[str]) -> SemanticScores:
        """Compute the scores over all images so far.

        Args:
            names: Names of the classes, in the network's order.
        """
        matrix = self._confusion.state.double()
        hits, pixels = matrix.diagonal(), matrix.sum(1)
        accuracy = hits / pixels
        rows = zip(names, self._confusion.iou().tolist(), accuracy.tolist(), pixels.tolist(), strict=True)
        return SemanticScores(
            miou=self._confusion.mean_iou(),
            pixel_accuracy=float(hits.sum() / pixels.sum()) if pixels.any() else math.nan,
            mean_class_accuracy=float(torch.nanmean(accuracy)),
            per_class={name: SemanticClassScores(iou, right, int(count)) for name, iou, right, count in rows},
            confusion=self._confusion.state.numpy(),
            num_images=len(self._images),
        )

    def _mark(self, images: frozenset[ImageId]) -> None:
        for image_id in images & self._images:
            raise DataError(f"image {image_id} was scored twice; list each image only once")
        self._images |= images
