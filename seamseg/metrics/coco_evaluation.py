"""COCO's evaluation of boxes and masks, computed by hotcoco or pycocotools."""

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
IouType = Literal["bbox", "segm"]
"""Whether the IoU of boxes or of masks is thresholded; COCO's ``iouType``."""
IOU_TYPES: tuple[IouType, IouType] = ("bbox", "segm")

_MAX_DETECTIONS = 100  # per class and image, as in COCO
_EVERY_AREA = [0, 1e10]


@dataclass(frozen=True)
class CocoSides:
    """True objects and detections in COCO's format.

    Attributes:
        images: ``id``, ``height`` and ``width`` of each image; ids are integers.
        categories: ``id`` of each category.
        true: Annotations of the true objects. Ids start at 1, since COCO's evaluation uses 0 for "no match".
        detected: Annotations of the detections, with ids from 1 as well.
    """

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    true: list[dict[str, Any]]
    detected: list[dict[str, Any]]


def fastest_library() -> Library:
    """Return hotcoco if the extra ``fast`` is installed; it gives the same numbers about ten times as fast."""
    return "hotcoco" if importlib.util.find_spec("hotcoco") else "pycocotools"


@dataclass(frozen=True)
class CocoFigures:
    """The twelve figures of COCO's evaluation, in 0 … 1; NaN without a true object that counts.

    Attributes:
        ap: AP@[.5:.95], the mean over 10 thresholds of the IoU, with at most 100 detections per class and image.
        ap50, ap75: AP at a threshold of 0.5 and of 0.75.
        ap_small, ap_medium, ap_large: AP of objects below 32² pixels, below 96² pixels, and of all larger ones.
        ar1, ar10, ar100: Mean maximum recall over the thresholds, with 1, 10 and 100 detections per class and image.
        ar_small, ar_medium, ar_large: ``ar100`` of objects by size.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float


@dataclass(frozen=True)
class CocoTables:
    """Result of COCO's evaluation before it is averaged; -1 where there is no true object that counts.

    Attributes:
        precision: Precisions at 10 thresholds of the IoU and 101 recalls, of K classes, for A ranges of areas (all,
            small, medium, large) and M numbers of detections (1, 10, 100): 10×101×K×A×M.
        recall: Maximum recalls, 10×K×A×M.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    def figures(self) -> CocoFigures:
        """Return the twelve figures; the tables must have all ranges and numbers."""
        precision, recall = self.precision[..., -1], self.recall
        return CocoFigures(
            _mean(precision[..., 0]),
            _mean(precision[0, ..., 0]),
            _mean(precision[5, ..., 0]),
            *(_mean(precision[..., size]) for size in (1, 2, 3)),
            *(_mean(recall[:, :, 0, number]) for number in (0, 1, 2)),
            *(_mean(recall[:, :, size, -1]) for size in (1, 2, 3)),
        )

    def class_ap(self) -> list[float]:
        """Return AP@[.5:.95] of each class."""
        return [_mean(self.precision[:, :, number, 0, -1]) for number in range(self.precision.shape[2])]


def _mean(values: NDArray[np.float64]) -> float:
    counted = values[values >= 0]
    return float(np.mean(counted)) if counted.size else float("nan")


def average_precision(sides: CocoSides, kind: IouType, library: Library | None = None) -> float:
    """Compute AP@[.5:.95] with at most 100 detections per class and image.

    Args:
        sides: True objects and detections.
        kind: ``"bbox"`` for the AP of boxes, ``"segm"`` for the AP of masks.
        library: Library to use; None means :func:`fastest_library`.

    Returns:
        AP in 0 … 1; NaN if there is no true object, apart from crowd.
    """
    return _mean(precisions(sides, kind, library or fastest_library()))


def precisions(sides: CocoSides, kind: IouType, library: Library) -> NDArray[np.float64]:
    """Compute the precision of each class at 10 IoU thresholds and 101 recalls.

    Args:
        sides: True objects and detections.
        kind: ``"bbox"`` for boxes, ``"segm"`` for masks.
        library: Library to use.

    Returns:
        Precisions, 10×101×K×1×1; -1 for classes without a true object, apart from crowd.
    """
    return coco_tables(sides, kind, library, by_size=False).precision


def coco_tables(sides: CocoSides, kind: IouType, library: Library | None = None, by_size: bool = True) -> CocoTables:
    """Compute COCO's evaluation.

    Args:
        sides: True objects and detections.
        kind: ``"bbox"`` for boxes, ``"segm"`` for masks.
        library: Library to use; None means :func:`fastest_library`.
        by_size: Whether to evaluate all ranges of areas and numbers of detections, which takes several times as long.
            Otherwise, there is one range, all areas, and one number, 100.
    """
    evaluate = {"pycocotools": _by_pycocotools, "hotcoco": _by_hotcoco}[library or fastest_library()]
    precision, recall = evaluate(sides, kind, by_size)
    return CocoTables(np.asarray(precision, np.float64), np.asarray(recall, np.float64))


def _by_pycocotools(sides: CocoSides, kind: IouType, by_size: bool) -> tuple[Any, Any]:
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress with print
        evaluation = COCOeval(*(_indexed(sides, annotations) for annotations in (sides.true, sides.detected)), kind)
        if not by_size:
            evaluation.params.maxDets = [_MAX_DETECTIONS]
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [_EVERY_AREA], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _indexed(sides: CocoSides, annotations: list[dict[str, Any]]) -> COCO:
    data = COCO()
    data.dataset = {"images": sides.images, "categories": sides.categories, "annotations": annotations}
    data.createIndex()
    return data


def _by_hotcoco(sides: CocoSides, kind: IouType, by_size: bool) -> tuple[Any, Any]:
    import hotcoco  # optional: installed with the extra `fast`

    images, categories = sides.images, [{"name": str(one["id"])} | one for one in sides.categories]
    true, detected = (
        hotcoco.COCO({"images": images, "categories": categories, "annotations": annotations})
        for annotations in (sides.true, sides.detected)
    )
    evaluation = hotcoco.COCOeval(true, detected, kind)
    if not by_size:
        evaluation.params.max_dets = [_MAX_DETECTIONS]
        evaluation.params.area_rng, evaluation.params.area_rng_lbl = [_EVERY_AREA], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval is not None
    return evaluation.eval["precision"], evaluation.eval["recall"]
