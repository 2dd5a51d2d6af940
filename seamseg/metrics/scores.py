"""The numbers that an evaluation ends with."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from seamseg.metrics.image_counts import ImageCounts
from seamseg.metrics.panoptic_quality import Quality


@dataclass(frozen=True)
class ClassScores:
    """One class; fractions of 1, NaN where the class appears on neither side.

    Attributes:
        pq, sq, rq: panoptic, segmentation and recognition quality.
        tp, fp, fn: numbers of matched, false and missed segments.
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
        all, things, stuff: panoptic quality over the classes that appear.
        per_class: by class name.
        miou: mean IoU of the fused output, in which left-over pixels of thing classes are void.
        miou_semantic: mean IoU of the semantic head alone; NaN where there is none.
        box_ap, mask_ap: COCO AP of the detections before fusion; NaN without any true object.
        pq_dagger: PQ†, the mean over the classes with something to find, as ``all.pq`` but for its stuff; NaN without.
        boundary: boundary PQ; None where borders were not looked at.
        images: what each image contributes, by ascending id.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the same names; ``None`` instead of NaN, which JSON does not know."""
        plain: dict[str, Any] = _without_nan(asdict(replace(self, images=())))
        plain["images"] = [image.to_dict() for image in self.images]
        return plain

    def to_json(self) -> str:
        """The same as text, with one line per image."""
        plain = self.to_dict()
        images = ",\n".join(f"  {json.dumps(image, allow_nan=False)}" for image in plain.pop("images"))
        head = json.dumps(plain, indent=2, allow_nan=False).removesuffix("\n}")
        return f'{head},\n  "images": [\n{images}\n  ]\n}}\n'


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
