"""Evaluation of detections: COCO's figures of boxes and masks, accumulated image by image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from seamseg.errors import DataError
from seamseg.metrics.average_precision import AveragePrecision
from seamseg.metrics.calibration import Calibration, CalibrationCounter, object_cases
from seamseg.metrics.coco_evaluation import CocoFigures, CocoTables
from seamseg.metrics.scores import json_lines, without_nan
from seamseg.structures import ImageId, ImageInstances, Instance, Unreadable


@dataclass(frozen=True)
class ObjectClassScores:
    """Scores of one class of things in 0 … 1; NaN if the class is not annotated.

    Attributes:
        box_ap, mask_ap: AP@[.5:.95] of boxes and masks; the latter is NaN without masks.
        num_objects: Number of annotated objects, without crowd.
    """

    box_ap: float
    mask_ap: float
    num_objects: int


@dataclass(frozen=True)
class ObjectScores:
    """Scores of one evaluation in 0 … 1.

    Attributes:
        box: Figures of the boxes.
        mask: Figures of the masks; None without masks.
        per_class: Scores by class name.
        image_f1: F1 of each image by its id, see :func:`image_f1`; NaN for images without objects.
        unreadable: Images that were skipped because they could not be read.
        calibration: Calibration of the scores of all detections; None if it was not computed.
    """

    box: CocoFigures
    mask: CocoFigures | None
    per_class: dict[str, ObjectClassScores]
    image_f1: dict[ImageId, float]
    unreadable: tuple[Unreadable, ...] = ()
    calibration: Calibration | None = None

    @property
    def num_images(self) -> int:
        """Number of scored images."""
        return len(self.image_f1)

    @property
    def quality(self) -> float:
        """Score that chooses the best model: the AP of masks, or of boxes without masks."""
        return (self.mask or self.box).ap

    def to_json(self) -> str:
        """Return JSON text with the same names, null in place of NaN, and one line per class and image."""
        parts: dict[str, Any] = {
            "box": asdict(self.box),
            "mask": None if self.mask is None else asdict(self.mask),
            "per_class": {name: asdict(line) for name, line in self.per_class.items()},
            "images": [{"image_id": image, "f1": value} for image, value in self.image_f1.items()],
            "num_images": self.num_images,
            "unreadable": [asdict(image) for image in self.unreadable],
        }
        parts |= {} if self.calibration is None else {"calibration": self.calibration.to_dict()}
        return json_lines(without_nan(parts)) + "\n"


class ObjectEvaluator:
    """Evaluator of the objects of one data set at the original size of the images.

    Args:
        num_things: Number of thing classes T.
        has_masks: Whether masks are scored, too.
        score_threshold: Minimum score of the detections in ``image_f1`` (exclusive).
    """

    def __init__(self, num_things: int, has_masks: bool, score_threshold: float = 0.5) -> None:
        self.num_things, self.has_masks, self.score_threshold = num_things, has_masks, score_threshold
        self._precision = AveragePrecision(num_things, 0)
        self._seen: set[ImageId] = set()

    def update(self, image: ImageInstances) -> float:
        """Score one image.

        Args:
            image: True and detected objects.

        Returns:
            The F1 of the image, see :func:`image_f1`.

        Raises:
            SeamsegError: The image was already scored.
        """
        self.merge([[image]])
        return self._f1(image)

    @property
    def state(self) -> list[ImageInstances]:
        """Objects so far, to send to other ranks."""
        return self._precision.state

    def merge(self, states: Iterable[Sequence[ImageInstances]]) -> None:
        """Add the states of evaluators of other images.

        Raises:
            SeamsegError: An image was scored twice.
        """
        for state in states:
            for image in state:
                if image.image_id in self._seen:
                    raise DataError(f"image {image.image_id} was scored twice; list each image only once")
                self._seen.add(image.image_id)
            self._precision.merge(state)

    def compute(self, names: Sequence[str]) -> ObjectScores:
        """Compute the scores over all images so far.

        Args:
            names: Names of the T thing classes.
        """
        boxes = self._precision.tables("bbox")
        masks = self._precision.tables("segm") if self.has_masks else None
        ordered = sorted(self.state, key=lambda image: (isinstance(image.image_id, str), image.image_id))
        return ObjectScores(
            box=boxes.figures(),
            mask=None if masks is None else masks.figures(),
            per_class=self._per_class(names, boxes, masks),
            image_f1={image.image_id: self._f1(image) for image in ordered},
        )

    def calibration(self, names: Sequence[str]) -> Calibration:
        """Compute the calibration of the scores of all detections so far; a detection is right at an IoU over ½.

        Args:
            names: Names of the T thing classes.

        Raises:
            SeamsegError: A score is not in 0 … 1.
        """
        counter = CalibrationCounter(self.num_things)
        for image in self.state:
            counter.add_things(object_cases(image, *judge_detections(image, self.has_masks)))
        return counter.compute(names)

    def _per_class(
        self, names: Sequence[str], boxes: CocoTables, masks: CocoTables | None
    ) -> dict[str, ObjectClassScores]:
        true = [one.category for image in self.state for one in image.true if not one.crowd]
        counts = np.bincount(true, minlength=self.num_things).tolist()
        mask_ap = [math.nan] * self.num_things if masks is None else masks.class_ap()
        rows = zip(names, boxes.class_ap(), mask_ap, counts, strict=True)
        return {name: ObjectClassScores(*line) for name, *line in rows}

    def _f1(self, image: ImageInstances) -> float:
        return image_f1(image, self.has_masks, self.score_threshold)


_MIN_IOU = 0.5


def image_f1(image: ImageInstances, has_masks: bool, score_threshold: float) -> float:
    """Return 2 TP / (2 TP + FP + FN) at an IoU of 0.5; NaN without true and detected objects.

    Detections are matched by descending score, each with the object of its class that it overlaps most among those that
    are left. Crowds, and detections that mostly lie on a crowd of their class, do not count.

    Args:
        image: True and detected objects.
        has_masks: Whether masks are compared; otherwise boxes.
        score_threshold: Minimum score of the detections (exclusive).
    """
    num_true = sum(not one.crowd for one in image.true)
    kept = [one for one in image.detected if one.score > score_threshold]
    matched, counted = judge_detections(replace(image, detected=kept), has_masks)
    total = counted.sum() + num_true
    return float(2 * matched.sum() / total) if total else math.nan


def judge_detections(image: ImageInstances, has_masks: bool) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which detections match an object, and which detections count; see :func:`image_f1`."""
    matched = _matched(image.detected, [one for one in image.true if not one.crowd], has_masks)
    crowds = [one for one in image.true if one.crowd]
    in_crowd = _overlaps(image.detected, crowds, has_masks).max(axis=1, initial=0) > _MIN_IOU
    return matched, matched | ~in_crowd


def _matched(detected: Sequence[Instance], true: Sequence[Instance], has_masks: bool) -> NDArray[np.bool_]:
    """Return which detections match an object."""
    overlaps = _overlaps(detected, true, has_masks)
    matched = np.zeros(len(detected), np.bool_)
    for row in sorted(range(len(detected)), key=lambda row: -detected[row].score):
        if overlaps.shape[1] and overlaps[row].max() > _MIN_IOU:
            matched[row] = True
            overlaps[:, overlaps[row].argmax()] = 0
    return matched


def _overlaps(detected: Sequence[Instance], true: Sequence[Instance], has_masks: bool) -> NDArray[np.float64]:
    """Return the IoU of detections and objects of the same class, D×T, and 0 for pairs of different classes.

    For a crowd, it is the fraction of the detection that lies on it.
    """
    if not detected or not true:
        return np.zeros((len(detected), len(true)))
    sides = [[_region(one, has_masks) for one in side] for side in (detected, true)]
    same = np.array([[one.category == other.category for other in true] for one in detected])
    overlaps = np.asarray(coco_mask.iou(*sides, [one.crowd for one in true]), np.float64)
    return np.asarray(np.where(same, overlaps, 0), np.float64)


def _region(instance: Instance, has_mask: bool) -> Any:
    """Return what pycocotools compares: a run-length mask, or a box (x, y, width, height)."""
    if has_mask and instance.mask is not None:
        return instance.mask.to_coco()
    y0, x0, y1, x1 = instance.box
    return [x0, y0, x1 - x0, y1 - y0]
