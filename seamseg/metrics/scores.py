"""The numbers that an evaluation ends with."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from seamseg.metrics.panoptic_quality import Quality


@dataclass(frozen=True)
class ClassScores:
    """One class; fractions of 1, NaN where the class appears on neither side.

    Attributes:
        pq, sq, rq: panoptic, segmentation and recognition quality.
        tp, fp, fn: numbers of matched, false and missed segments.
        iou: intersection over union of the fused output's pixels.
        iou_semantic: the same of the semantic head alone.
    """

    pq: float
    sq: float
    rq: float
    tp: int
    fp: int
    fn: int
    iou: float
    iou_semantic: float


@dataclass(frozen=True)
class Scores:
    """All scores of one evaluation; fractions of 1.

    Attributes:
        all, things, stuff: panoptic quality over the classes that appear.
        per_class: by class name.
        miou: mean IoU of the fused output, in which left-over pixels of thing classes are void.
        miou_semantic: mean IoU of the semantic head alone.
        box_ap, mask_ap: COCO AP of the detections before fusion; NaN without any true object.
    """

    all: Quality
    things: Quality
    stuff: Quality
    per_class: dict[str, ClassScores]
    miou: float
    miou_semantic: float
    box_ap: float
    mask_ap: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the same names; ``None`` instead of NaN, which JSON does not know."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
