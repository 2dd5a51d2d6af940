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
class SideOutcomes:
    """Of the K segments of one side, whether they count in panoptic quality or not.

    Attributes:
        outcomes: K values of :class:`Outcome`.
        partners: K, the segment of the other side that the outcome refers to, the best if there are several; −1 if
            ``ALONE``.
        iou: K, with the partner; 0 if ``ALONE``.
    """

    outcomes: IntArray
    partners: IntArray
    iou: FloatArray


def judge(overlaps: Overlaps) -> tuple[SideOutcomes, SideOutcomes]:
    """The outcomes of the true segments, and of the predicted ones."""
    true_classes, predicted_classes = overlaps.class_pairs
    known = (true_classes != VOID) & (predicted_classes != VOID) & ~overlaps.true_crowd[overlaps.true]
    pairs = np.flatnonzero(known)
    iou, alike = pair_iou(overlaps, pairs), true_classes[pairs] == predicted_classes[pairs]
    outcomes = np.select(
        [alike & (iou > 0.5), iou > 0.5, alike & (iou >= POOR_IOU)],
        [Outcome.FOUND, Outcome.CONFUSED, Outcome.POOR],
        Outcome.ALONE,
    )
    # What speaks louder comes later and so takes the place of the rest: the first outcome, then the highest IoU.
    order = np.lexsort((iou, -outcomes))
    order = order[outcomes[order] != Outcome.ALONE]
    true, predicted = overlaps.true[pairs[order]], overlaps.predicted[pairs[order]]
    told = outcomes[order], iou[order]
    return _side(true, predicted, overlaps.num_true, *told), _side(predicted, true, overlaps.num_predicted, *told)


def _side(segments: IntArray, partners: IntArray, num: int, outcomes: IntArray, iou: FloatArray) -> SideOutcomes:
    side = SideOutcomes(np.full(num, Outcome.ALONE, np.int64), np.full(num, -1), np.zeros(num))
    side.outcomes[segments], side.partners[segments], side.iou[segments] = outcomes, partners, iou
    return side


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
