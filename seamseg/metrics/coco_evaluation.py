"""COCO's average precision, by the library that is there."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Library = Literal["pycocotools", "hotcoco"]
Kind = Literal["bbox", "segm"]

_MAX_DETECTIONS = 100  # per class and image, as on COCO
_EVERY_AREA = [0, 1e10]


@dataclass(frozen=True)
class CocoSides:
    """True objects and detections as COCO's files have them.

    Attributes:
        images: ``id``, ``height`` and ``width`` of each; ids are numbers.
        categories: ``id`` of each.
        true, detected: annotations; their ids start at 1, since an evaluation takes a match with 0 for no match.
    """

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    true: list[dict[str, Any]]
    detected: list[dict[str, Any]]


def fastest_library() -> Library:
    """hotcoco where the extra ``fast`` is installed: the same numbers, about ten times as fast."""
    return "hotcoco" if importlib.util.find_spec("hotcoco") else "pycocotools"


def average_precision(sides: CocoSides, kind: Kind, library: Library | None = None) -> float:
    """AP@[.5:.95] in 0 … 1, at most 100 detections per class and image; NaN without a true object that counts.

    Args:
        sides: what is compared.
        kind: boxes or masks.
        library: None is :func:`fastest_library`.
    """
    precision = precisions(sides, kind, library or fastest_library())
    counted = precision[precision >= 0]
    return float(np.mean(counted)) if counted.size else float("nan")


def precisions(sides: CocoSides, kind: Kind, library: Library) -> NDArray[np.float64]:
    """The precision at 10 thresholds of IoU and 101 recalls, for every class: 10×101×K×1×1; −1 for classes without a
    true object that counts.

    Args:
        sides, kind, library: as :func:`average_precision`.
    """
    return {"pycocotools": _by_pycocotools, "hotcoco": _by_hotcoco}[library](sides, kind)


def _by_pycocotools(sides: CocoSides, kind: Kind) -> NDArray[np.float64]:
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress with print
        evaluation = COCOeval(*(_indexed(sides, annotations) for annotations in (sides.true, sides.detected)), kind)
        evaluation.params.maxDets = [_MAX_DETECTIONS]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [_EVERY_AREA], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"], np.float64)


def _indexed(sides: CocoSides, annotations: list[dict[str, Any]]) -> COCO:
    data = COCO()
    data.dataset = {"images": sides.images, "categories": sides.categories, "annotations": annotations}
    data.createIndex()
    return data


def _by_hotcoco(sides: CocoSides, kind: Kind) -> NDArray[np.float64]:
    import hotcoco  # an extra

    images, categories = sides.images, [{"name": str(one["id"])} | one for one in sides.categories]
    true, detected = (
        hotcoco.COCO({"images": images, "categories": categories, "annotations": annotations})
        for annotations in (sides.true, sides.detected)
    )
    evaluation = hotcoco.COCOeval(true, detected, kind)
    evaluation.params.max_dets = [_MAX_DETECTIONS]
    evaluation.params.area_rng, evaluation.params.area_rng_lbl = [_EVERY_AREA], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval is not None
    return np.asarray(evaluation.eval["precision"], np.float64)
