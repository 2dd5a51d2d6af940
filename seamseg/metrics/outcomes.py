"""What became of single segments: found, taken for another class, badly segmented, missed or invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.matching import FloatArray, Matching, pair_iou
from seamseg.metrics.overlaps import BoolArray, IntArray, Overlaps
from seamseg.ops.overlaps import COLUMNS
from seamseg.structures import VOID, ImageId

POOR_IOU = 0.1
"""From here on a segment of the right class is badly segmented rather than missed (Bolya et al. 2020, "TIDE")."""

CASES = np.dtype([("is_true", "?"), ("class", "u1"), ("other", "u1"), ("outcome", "u1"), ("area", "i8"), ("iou", "f8")])


class Outcome(IntEnum):
    """The same words for both sides; the first that holds.

    * ``FOUND``: a match of panoptic quality; true segments alone have it, predicted ones are listed if they are false.
    * ``CONFUSED``: a segment of another class, on the other side, has an IoU over ½ with it.
    * ``POOR``: one of its own class has an IoU of at least 0.1; a false prediction may be the second on one object.
    * ``ALONE``: none of these. A true segment is missed, a predicted one invented.
    """

    FOUND = 0
    CONFUSED = 1
    POOR = 2
    ALONE = 3


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
    true_classes, predicted_classes = overlaps.class_pairs
    known = (true_classes != VOID) & (predicted_classes != VOID) & ~overlaps.true_crowd[overlaps.true]
    pairs = np.flatnonzero(known)
    iou, alike = pair_iou(overlaps, pairs), true_classes[pairs] == predicted_classes[pairs]
    true = _Side(overlaps.true, predicted_classes, overlaps.true_classes)
    predicted = _Side(overlaps.predicted, true_classes, overlaps.predicted_classes)
    rows = [
        side.cases(overlaps.pixels, pairs, iou, alike, chosen) for side, chosen in ((true, present), (predicted, false))
    ]
    rows[0]["is_true"] = True
    return np.concatenate(rows)


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


@dataclass(frozen=True, eq=False)
class _Side:
    """One side: per pair the segment and the class on the other side, per segment its class."""

    segments: IntArray
    other_classes: IntArray
    classes: IntArray

    def cases(
        self, pixels: IntArray, pairs: IntArray, iou: FloatArray, alike: BoolArray, chosen: IntArray
    ) -> NDArray[Any]:
        """One row per chosen segment, in ascending order; which side it is, is left open."""
        num = len(self.classes)
        of_pair, strong = self.segments[pairs], ~alike & (iou > 0.5)
        same, other, other_class = np.zeros(num), np.zeros(num), np.full(num, VOID)
        np.maximum.at(same, of_pair[alike], iou[alike])
        other[of_pair[strong]] = iou[strong]  # a segment has one such pair at most
        other_class[of_pair[strong]] = self.other_classes[pairs[strong]]
        states = np.select(
            [same > 0.5, other > 0.5, same >= POOR_IOU], [Outcome.FOUND, Outcome.CONFUSED, Outcome.POOR], Outcome.ALONE
        )
        confused, alone = states == Outcome.CONFUSED, states == Outcome.ALONE
        rows = np.zeros(len(chosen), CASES)
        for name, values in (
            ("class", self.classes),
            ("other", np.where(confused | alone, other_class, self.classes)),
            ("outcome", states),
            ("area", np.bincount(self.segments, pixels, num)),
            ("iou", np.where(confused, other, np.where(alone, 0, same))),
        ):
            rows[name] = values[chosen]
        return rows
