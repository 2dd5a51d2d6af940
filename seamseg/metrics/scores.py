"""The numbers that an evaluation ends with."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from seamseg.metrics.analysis import Analysis
from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.panoptic_quality import Quality
from seamseg.structures import Unreadable


@dataclass(frozen=True)
class ClassScores:
    """One class; fractions of 1, NaN where the class appears on neither side.

    Attributes:
        pq, sq, rq: panoptic, segmentation and recognition quality.
        tp, fp, fn: Numbers of true positives, false positives and false negatives.
        iou: intersection over union of the fused output's pixels.
        iou_semantic: the same of the semantic head alone.
        pq_dagger: PQ†, which takes the overlap of stuff without a threshold.
        boundary_pq: PQ with the IoU of the segments' borders where that is smaller.
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
        all, things, stuff: over the classes that appear.
    """

    all: Quality
    things: Quality
    stuff: Quality


@dataclass(frozen=True)
class Scores:
    """All scores of one evaluation; fractions of 1.

    Attributes:
        all, things, stuff: panoptic quality over the classes that appear; NaN without any.
        per_class: by class name.
        miou: mean IoU of the fused output, in which left-over pixels of thing classes are void.
        miou_semantic: mean IoU of the semantic head alone; NaN where there is none.
        box_ap, mask_ap: COCO AP of the detections before fusion; NaN without any true object.
        pq_dagger: PQ†, the mean over the classes with something to find, as ``all.pq`` but for its stuff; NaN without.
        boundary: boundary PQ; None where borders were not looked at.
        images: what each image contributes, by ascending id.
        analysis: where quality is lost.
        unreadable: Images that were left out because they could not be read.
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
    unreadable: tuple[Unreadable, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the same names; ``None`` instead of NaN, which JSON does not know."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        parts |= {name: asdict(part) for name, part in parts.items() if isinstance(part, Quality | BoundaryQuality)}
        parts["per_class"] = {name: asdict(line) for name, line in self.per_class.items()}
        parts |= {"images": [image.to_dict() for image in self.images], "analysis": self.analysis.to_dict()}
        parts["unreadable"] = [asdict(image) for image in self.unreadable]
        plain: dict[str, Any] = _without_nan(parts)
        return plain

    def to_json(self) -> str:
        """The same as text, with one line per class, image and row of a matrix."""
        return json_lines(self.to_dict()) + "\n"


def percent(value: float, digits: int = 1) -> str:
    """A score in 0 … 1 as people read it, times 100; "-" for NaN.

    Args:
        value: Score, or difference of scores.
        digits: Number of decimals.
    """
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"


def json_lines(value: Any, indent: str = "") -> str:
    """JSON that a person can read: objects of several levels over lines, lists of lists or objects a line per entry."""
    deeper = indent + "  "
    if isinstance(value, dict) and any(isinstance(entry, dict | list) for entry in value.values()):
        lines = [f"{deeper}{json.dumps(key)}: {json_lines(entry, deeper)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value):
        lines = [deeper + json.dumps(entry, allow_nan=False) for entry in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
