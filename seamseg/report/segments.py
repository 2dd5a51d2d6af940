"""Segments of an image as compact text for the page, since browsers forbid it to read pixels of local files."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.coco_json import ListedSegments
from seamseg.errors import DataError
from seamseg.metrics.outcomes import SegmentOutcome, SideOutcomes
from seamseg.structures import VOID, Categories, PanopticSegmentation, Size
from seamseg.visualization.colors import segment_colors
from seamseg.visualization.images import resize_segmentation

_LEVEL = 9


def encode_ids(ids: NDArray[np.int64]) -> tuple[str, int]:
    """An H×W map of ids 0 … 65535 as text.

    Each row but the first is combined with the one above by exclusive or, which leaves zeros where the two are alike;
    the bytes, least significant first, are compressed by zlib and written in base64.

    Returns:
        The text, and the number of bytes of an id: 1 if all are below 256, else 2.

    Raises:
        SeamsegError: an id does not fit.
    """
    largest = int(ids.max(initial=0))
    if largest > np.iinfo(np.uint16).max or int(ids.min(initial=0)) < 0:
        raise DataError(f"an image with {largest} segments cannot be shown; 65535 are the most")
    kind = np.dtype("<u1" if largest < 256 else "<u2")
    rows = ids.astype(kind)
    rows[1:] ^= rows[:-1].copy()
    return base64.b64encode(zlib.compress(rows.tobytes(), _LEVEL)).decode(), kind.itemsize


_FULL_SCORE = 1.0


def side_record(
    segmentation: PanopticSegmentation,
    listed: ListedSegments,
    outcomes: SideOutcomes | None,
    categories: Categories,
    shown: Size,
) -> dict[str, Any]:
    """What a page knows of the segments of one side.

    Args:
        segmentation: at full size.
        listed: what the JSON file says of it.
        outcomes: Outcomes of its segments; None without an annotation.
        categories: of its segments.
        shown: height and width of the id map.

    Returns:
        ``ids`` and ``bytes`` (:func:`seamseg.report.segments.encode_ids`), and ``segments``, a list by id, with class
        (−1 for void), area in pixels at full size, color; and, where they are known, score, crowd, outcome, partner,
        iou.
    """
    text, num_bytes = encode_ids(resize_segmentation(segmentation, shown).ids.numpy())
    areas = np.bincount(segmentation.ids.numpy().ravel(), minlength=len(listed.ids))
    classes = segmentation.classes.numpy()
    colors = segment_colors(classes, categories)
    records = []
    for segment, (number, area) in enumerate(zip(classes.tolist(), areas.tolist(), strict=True)):
        record: dict[str, Any] = {"class": -1 if number == VOID else number, "area": area}
        record["color"] = "#" + bytes(colors[segment]).hex()
        if segment and _has_score(float(listed.scores[segment]), number < categories.num_stuff):
            record["score"] = round(float(listed.scores[segment]), 4)
        if listed.crowd[segment]:
            record["crowd"] = True
        if outcomes is not None:
            record |= _outcome(outcomes, segment)
        records.append(record)
    return {"ids": text, "bytes": num_bytes, "segments": records}


def _has_score(score: float, stuff: bool) -> bool:
    """Fusion gives all stuff the score 1, which says nothing."""
    return not np.isnan(score) and not (stuff and score == _FULL_SCORE)


def _outcome(side: SideOutcomes, segment: int) -> dict[str, Any]:
    record: dict[str, Any] = {"outcome": SegmentOutcome(side.outcomes[segment]).word}
    if side.partners[segment] >= 0:
        record |= {"partner": int(side.partners[segment]), "iou": round(float(side.iou[segment]), 4)}
    return record


def mean_object_score(listed: ListedSegments, areas: NDArray[np.int64], num_stuff: int) -> float | None:
    """The mean score of the things that are there; None without any."""
    things = (listed.classes >= num_stuff) & (listed.classes != VOID) & (areas > 0) & ~np.isnan(listed.scores)
    return round(float(listed.scores[things].mean()), 4) if things.any() else None
