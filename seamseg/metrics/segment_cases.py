"""What is kept of every image for a look at the outcomes of its segments, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.matching import Matching
from seamseg.metrics.outcomes import SideOutcomes, judge
from seamseg.metrics.overlaps import BoolArray, IntArray, Overlaps
from seamseg.ops.overlaps import COLUMNS
from seamseg.structures import VOID, ImageId

CASES = np.dtype([("is_true", "?"), ("class", "u1"), ("other", "u1"), ("outcome", "u1"), ("area", "i8"), ("iou", "f8")])


@dataclass(frozen=True, eq=False)
class ImageSegments:
    """What is kept of every image until the outcomes are looked at, of all images at once: a few kilobytes.

    Attributes:
        image_id: the data set's own id.
        pairs: N×3, of every pair of segments that share a pixel the true one, the predicted one and these pixels.
        true_classes, true_crowd, predicted_classes: of the segments, as in :class:`Overlaps`.
        present, false: the true segments that can be found and the false predictions, as in :class:`Matching`.
    """

    image_id: ImageId
    pairs: IntArray
    true_classes: IntArray
    true_crowd: BoolArray
    predicted_classes: IntArray
    present: IntArray
    false: IntArray

    @classmethod
    def of(cls, image_id: ImageId, overlaps: Overlaps, matching: Matching) -> ImageSegments:
        """Of an image whose segments are matched."""
        pairs = np.stack([overlaps.true, overlaps.predicted, overlaps.pixels], axis=1)
        classes = overlaps.true_classes, overlaps.true_crowd, overlaps.predicted_classes
        return cls(image_id, pairs, *classes, matching.present_segments, matching.false_segments)


def segment_cases(images: Sequence[ImageSegments]) -> NDArray[Any]:
    """The segments that count in the panoptic quality of some images.

    Returns:
        Of type ``CASES``, a row for every true segment that can be found, image by image, then one for every false
        prediction: the side, the class, the class of its counterpart (255 if ``ALONE``), the outcome, its own pixels,
        and its IoU with the counterpart (0 if ``ALONE``).
    """
    if not images:
        return np.zeros(0, CASES)
    overlaps, present, false = _joined(images)
    true, predicted = judge(overlaps)
    true_areas, predicted_areas = (
        np.bincount(segments, overlaps.pixels, num)
        for segments, num in ((overlaps.true, overlaps.num_true), (overlaps.predicted, overlaps.num_predicted))
    )
    found = _rows(true, overlaps.true_classes, overlaps.predicted_classes, true_areas)[present]
    invented = _rows(predicted, overlaps.predicted_classes, overlaps.true_classes, predicted_areas)[false]
    found["is_true"] = True
    return np.concatenate([found, invented])


def _joined(images: Sequence[ImageSegments]) -> tuple[Overlaps, IntArray, IntArray]:
    """All as if they were one image, and its segments that are present and false."""
    first_true = _starts([len(image.true_classes) for image in images])
    first_predicted = _starts([len(image.predicted_classes) for image in images])
    lengths = [len(image.pairs) for image in images]
    table = np.zeros((sum(lengths), COLUMNS), np.int64)
    table[:, :3] = np.concatenate([image.pairs for image in images])
    table[:, 0] += np.repeat(first_true, lengths)
    table[:, 1] += np.repeat(first_predicted, lengths)
    true_classes, true_crowd, predicted_classes = (
        np.concatenate([getattr(image, name) for image in images])
        for name in ("true_classes", "true_crowd", "predicted_classes")
    )
    present = np.concatenate([image.present + start for image, start in zip(images, first_true, strict=True)])
    false = np.concatenate([image.false + start for image, start in zip(images, first_predicted, strict=True)])
    return Overlaps.of_table(table, true_classes, true_crowd, predicted_classes), present, false


def _starts(lengths: list[int]) -> IntArray:
    return np.cumsum([0, *lengths[:-1]])


def _rows(side: SideOutcomes, classes: IntArray, other_classes: IntArray, areas: IntArray) -> NDArray[Any]:
    """One row per segment; which side it is, is left open."""
    rows = np.zeros(len(classes), CASES)
    rows["class"], rows["outcome"], rows["area"], rows["iou"] = classes, side.outcomes, areas, side.iou
    rows["other"] = np.append(other_classes, VOID)[side.partners]
    return rows
