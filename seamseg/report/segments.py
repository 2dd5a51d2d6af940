"""Segments of an image as compact text, since browsers do not let a page read the pixels of local files."""

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
    """Encode an id map as text.

    Each row except the first is XORed with the row above, which leaves zeros where the two are equal. The bytes, least
    significant first, are compressed by zlib and encoded in base64.

    Args:
        ids: Ids 0 … 65535, H×W.

    Returns:
        The text, and the number of bytes per id: 1 if all ids are below 256, else 2.

    Raises:
        SeamsegError: An id is out of range.
    """
    largest = int(ids.max(initial=0))
    if largest > np.iinfo(np.uint16).max or int(ids.min(initial=0)) < 0:
        raise DataError(f"an image with {largest} segments cannot be shown; the limit is 65535 segments")
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
    """Return the data of the true or of the predicted segments of an image, for the page.

    Args:
        segmentation: Segmentation at full size.
        listed: Properties of its segments from the JSON file.
        outcomes: Outcomes of its segments; None without an annotation.
        categories: Categories of its segments.
        shown: Height and width of the id map in the report.

    Returns:
        Dictionary with ``ids`` and ``bytes`` (from :func:`encode_ids`) and ``segments``. The latter is a list by id of
        class (-1 for void), area in pixels at full size and color, and score, crowd, outcome, partner and iou if known.
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
    """Return whether a score is meaningful; fusion gives all stuff the score 1, which is not."""
    return not np.isnan(score) and not (stuff and score == _FULL_SCORE)


def _outcome(side: SideOutcomes, segment: int) -> dict[str, Any]:
    record: dict[str, Any] = {"outcome": SegmentOutcome(side.outcomes[segment]).word}
    if side.partners[segment] >= 0:
        record |= {"partner": int(side.partners[segment]), "iou": round(float(side.iou[segment]), 4)}
    return record


def mean_object_score(listed: ListedSegments, areas: NDArray[np.int64], num_stuff: int) -> float | None:
    """Return the mean score of the things with pixels; None without any.

    Args:
        listed: Segments of the image.
        areas: Number of pixels of each segment.
        num_stuff: Number of stuff classes, which come first.
    """
    things = (listed.classes >= num_stuff) & (listed.classes != VOID) & (areas > 0) & ~np.isnan(listed.scores)
    return round(float(listed.scores[things].mean()), 4) if things.any() else None
