"""Scores of an evaluation, and their JSON form."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from seamseg.metrics.analysis import Analysis
from seamseg.metrics.calibration import Calibration
from seamseg.metrics.coco_evaluation import CocoFigures
from seamseg.metrics.lost_things import LostThings
from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.panoptic_quality import Quality
from seamseg.structures import Unreadable


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class in 0 … 1; NaN if the class does not appear.

    Attributes:
        pq, sq, rq: Panoptic, segmentation and recognition quality.
        tp, fp, fn: Numbers of true positives, false positives and false negatives.
        iou: Pixel IoU of the fused output.
        iou_semantic: Pixel IoU of the semantic head; NaN if there is none.
        pq_dagger: PQ†, which scores the overlap of stuff without a threshold.
        boundary_pq: PQ with the smaller of the IoUs of the segments and of their borders.
    """

    pq: float
    sq: float
    rq: float
    tp: int
    fp: int
    fn: int
    iou: float
    iou_semantic: float
    pq_dagger: float
    boundary_pq: float


@dataclass(frozen=True)
class BoundaryQuality:
    """Boundary PQ (Cheng et al. 2021, "Boundary IoU").

    Attributes:
        all, things, stuff: Means over the classes that appear.
    """

    all: Quality
    things: Quality
    stuff: Quality


_GROUPS = Quality | BoundaryQuality | CocoFigures
"""Scores that are an object of their own in the JSON form."""


@dataclass(frozen=True)
class Scores:
    """All scores of one evaluation, in 0 … 1.

    Attributes:
        all, things, stuff: Panoptic quality over the classes that appear; NaN without any.
        per_class: Scores by class name.
        miou: Mean pixel IoU of the fused output. Pixels of a thing class that belong to no object are void.
        miou_semantic: Mean pixel IoU of the semantic head; NaN if there is none.
        box_ap, mask_ap: COCO AP of the detections before fusion; NaN without any true object.
        pq_dagger: Mean PQ† over stuff classes with true segments and thing classes that appear; NaN without any.
        boundary: Boundary PQ; None if it was not computed.
        images: Contribution of each image, by ascending id.
        analysis: Analysis of where panoptic quality is lost.
        box, mask: All figures of COCO's evaluation of the detections before fusion; None if they were not computed.
        unreadable: Images that were skipped because they could not be read.
        lost: Stages at which true things were lost, by class name; None if they were not traced.
        calibration: Calibration of scores of things and of confidence of pixels; None if it was not computed.
    """

    all: Quality
    things: Quality
    stuff: Quality
    per_class: dict[str, ClassScores]
    miou: float
    miou_semantic: float
    box_ap: float
    mask_ap: float
    pq_dagger: float
    boundary: BoundaryQuality | None
    images: tuple[ImageCounts, ...]
    analysis: Analysis
    box: CocoFigures | None = None
    mask: CocoFigures | None = None
    unreadable: tuple[Unreadable, ...] = ()
    lost: dict[str, LostThings] | None = None
    calibration: Calibration | None = None

    @property
    def num_images(self) -> int:
        """Number of scored images."""
        return len(self.images)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values under the same names, with ``None`` in place of NaN, which JSON does not support.

        ``lost`` is left out if lost things were not traced, and ``calibration`` if it was not computed.
        """
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        parts |= {name: asdict(part) for name, part in parts.items() if isinstance(part, _GROUPS)}
        parts["per_class"] = {name: asdict(line) for name, line in self.per_class.items()}
        parts |= {"images": [image.to_dict() for image in self.images], "analysis": self.analysis.to_dict()}
        parts["unreadable"] = [asdict(image) for image in self.unreadable]
        lost, calibration = parts.pop("lost"), parts.pop("calibration")
        parts |= {} if lost is None else {"lost": {name: asdict(one) for name, one in lost.items()}}
        parts |= {} if calibration is None else {"calibration": calibration.to_dict()}
        plain: dict[str, Any] = without_nan(parts)
        return plain

    def to_json(self) -> str:
        """Return the JSON text, with one line per class, image and matrix row."""
        return json_lines(self.to_dict()) + "\n"


def percent(value: float, digits: int = 1) -> str:
    """Format a score in 0 … 1 in percent, without a percent sign; "-" for NaN.

    Args:
        value: Score, or difference of scores.
        digits: Number of decimals.
    """
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"


def json_lines(value: Any, indent: str = "") -> str:
    """Return readable JSON: nested objects span several lines, lists of lists or objects have one line per entry.

    Args:
        value: Value to write; it must not contain NaN.
        indent: Indentation of the lines after the first.
    """
    deeper = indent + "  "
    if isinstance(value, dict) and any(isinstance(entry, dict | list) for entry in value.values()):
        lines = [f"{deeper}{json.dumps(key)}: {json_lines(entry, deeper)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value):
        lines = [deeper + json.dumps(entry, allow_nan=False) for entry in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def without_nan(value: Any) -> Any:
    """Return nested dictionaries and lists with None in place of NaN, which JSON does not support."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
