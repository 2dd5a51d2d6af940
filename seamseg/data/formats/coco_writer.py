"""Measurements of segments, and entries of COCO panoptic JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.structures import VOID, Categories, ImageId, PanopticSegmentation, Size


@dataclass(frozen=True, eq=False)
class SegmentMeasures:
    """Measurements of the K distinct values of an id map.

    Attributes:
        ids: K values in ascending order.
        areas: K int64 areas in pixels.
        boxes: K×4 int64 tight boxes (y0, x0, y1, x1) in pixel edges, half-open.
    """

    ids: NDArray[np.int64]
    areas: NDArray[np.int64]
    boxes: NDArray[np.int64]

    def without_void(self) -> SegmentMeasures:
        """Return the measurements without those of value 0."""
        is_segment = self.ids != 0
        return SegmentMeasures(self.ids[is_segment], self.areas[is_segment], self.boxes[is_segment])

    def coco_boxes(self) -> NDArray[np.int64]:
        """Return K×4 boxes (x, y, width, height), as COCO writes them."""
        y0, x0, y1, x1 = self.boxes.T
        return np.stack([x0, y0, x1 - x0, y1 - y0], axis=1)


def measure_segments(ids: NDArray[np.integer]) -> SegmentMeasures:
    """Measure all segments of an H×W id map; the ids may be large and far apart.

    Works on runs of equal ids along the rows, of which a map has about a hundred times fewer than pixels.
    """
    width = ids.shape[1]
    begins = np.ones(ids.shape, np.bool_)
    np.not_equal(ids[:, 1:], ids[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=ids.size)
    values = ids.ravel()[starts].astype(np.int64)
    order = np.argsort(values, kind="stable")  # a stable sort keeps the rows of a segment in order
    values, starts, lengths = values[order], starts[order], lengths[order]
    first = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    last = np.append(first[1:], len(values)) - 1
    rows, columns = np.divmod(starts, width)
    sides = (
        rows[first],
        np.minimum.reduceat(columns, first),
        rows[last] + 1,
        np.maximum.reduceat(columns + lengths, first),
    )
    return SegmentMeasures(values[first], np.add.reduceat(lengths, first), np.stack(sides, axis=1))


def distinct_values(numbers: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the K distinct values of an H×W map in ascending order and the H×W index of each pixel's value, 0 … K − 1.

    Equivalent to ``numpy.unique`` with ``return_inverse``, but sorts runs of equal neighbors instead of pixels.
    """
    flat = numbers.ravel()
    starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
    values, positions = np.unique(flat[starts].astype(np.int64), return_inverse=True)
    return values, np.repeat(positions, np.diff(starts, append=flat.size)).reshape(numbers.shape)


ANNOTATION_FILE = "panoptic.json"
"""Name of the JSON file that lists the results of a run."""

IdMap = NDArray[np.int32]


def panoptic_segments(segmentation: PanopticSegmentation, categories: Categories) -> tuple[IdMap, list[dict[str, Any]]]:
    """Return the id map and the ``segments_info`` of one image.

    Crowd segments, which are leftovers of thing classes that belong to no single object, become void. Segments without
    a pixel are left out. In addition to the COCO keys, each segment has a ``score`` in [0, 1], which is 1 for stuff.

    Args:
        segmentation: Segmentation on the CPU.
        categories: Categories that its classes are numbered by.

    Returns:
        H×W ids, 0 for void, and one entry for each other id, in ascending order.
    """
    ids = segmentation.ids.numpy().astype(np.int32)
    if segmentation.crowd.any():
        ids = np.where(segmentation.crowd.numpy()[ids], np.int32(0), ids)
    category_ids = {
        number: categories.classes[index].original_id
        for number, index in enumerate(segmentation.classes.tolist())
        if index != VOID
    }
    return ids, segments_info(ids, category_ids, scores=segmentation.filled_scores.tolist())


def segments_info(
    ids: NDArray[np.integer],
    category_ids: Mapping[int, int],
    crowd: Collection[int] = (),
    scores: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Return the COCO panoptic entries of the segments that have a pixel, in the order of ``category_ids``.

    Args:
        ids: H×W segment ids; 0 is void.
        category_ids: Category id of every segment id except 0.
        crowd: Segment ids that cover many objects.
        scores: Score in [0, 1] of every segment id; None writes none.
    """
    measures = measure_segments(ids).without_void()
    rows = zip(measures.areas.tolist(), measures.coco_boxes().tolist(), strict=True)
    measured = dict(zip(measures.ids.tolist(), rows, strict=True))
    entries = []
    for number, category in category_ids.items():
        if number in measured:
            area, box = measured[number]
            entry = {"id": number, "category_id": category, "area": area, "bbox": box, "iscrowd": int(number in crowd)}
            entries.append(entry if scores is None else entry | {"score": round(scores[number], 6)})
    return entries


def panoptic_entries(
    image_file: str, png_file: str, size: Size, segments: list[dict[str, Any]], image_id: ImageId | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return the ``images`` and ``annotations`` entries of one image in a panoptic JSON file.

    Args:
        image_file: Name of the image, relative to the folder of images.
        png_file: Name of the PNG, relative to the folder of PNGs.
        size: Height and width in pixels.
        segments: Entries from :func:`segments_info`.
        image_id: Id of the image; None leaves it out, for images that are numbered later.
    """
    image: dict[str, Any] = {} if image_id is None else {"id": image_id}
    annotation: dict[str, Any] = {} if image_id is None else {"image_id": image_id}
    return {
        "images": [image | {"file_name": image_file, "height": size[0], "width": size[1]}],
        "annotations": [annotation | {"file_name": png_file, "segments_info": segments}],
    }
