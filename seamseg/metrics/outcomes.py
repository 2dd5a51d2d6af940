"""Outcomes of segments, named after TIDE's types of errors (Bolya et al. 2020, section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.matching import FloatArray, Matching, match, pair_iou
from seamseg.metrics.overlaps import BoolArray, IntArray, Overlaps
from seamseg.ops.overlaps import COLUMNS
from seamseg.structures import VOID, ImageId

BACKGROUND_IOU = 0.1
"""Minimum IoU with a segment of the same class for a localization error or a duplicate; t_b in TIDE."""


class SegmentOutcome(IntEnum):
    """Outcome of a segment; if several apply, the first one listed.

    The names and the thresholds of 0.1 and 0.5 are those of "TIDE: A General Toolbox for Identifying Object Detection
    Errors" (Bolya et al. 2020, section 2.2). The segments of one side never overlap, so two definitions differ:

    * A second prediction on one object cannot have an IoU over 0.5 with it, as TIDE's duplicates have. It is a
      duplicate if the object that it overlaps best is matched by another prediction.
    * TIDE's "both", a poor overlap with a segment of another class, is ``BACKGROUND`` or ``MISSED``: where every pixel
      has a class, almost every segment overlaps one of another class.

    Attributes:
        MATCHED: A match of panoptic quality: same class, IoU over 0.5.
        CLASSIFICATION: IoU over 0.5 with a segment of another class.
        LOCALIZATION: Best IoU with a segment of the same class between 0.1 and 0.5. This includes true segments that
            a prediction merges with the one it matches.
        DUPLICATE: False prediction whose best IoU with a segment of the same class lies between 0.1 and 0.5, where
            another prediction matches that segment.
        BACKGROUND: False prediction to which none of the above applies.
        MISSED: True segment to which none of the above applies.
        IGNORED: Segment that does not count in panoptic quality: void, crowd, without a pixel, or predicted mostly on
            void or on crowd of its class.
    """

    MATCHED = 0
    CLASSIFICATION = 1
    LOCALIZATION = 2
    DUPLICATE = 3
    BACKGROUND = 4
    MISSED = 5
    IGNORED = 6

    @property
    def word(self) -> str:
        """Name in files and on pages."""
        return self.name.lower()


TRUE_ERRORS = SegmentOutcome.CLASSIFICATION, SegmentOutcome.LOCALIZATION, SegmentOutcome.MISSED
"""Outcomes of the true segments without a match: together they are the false negatives."""

FALSE_ERRORS = (
    SegmentOutcome.CLASSIFICATION,
    SegmentOutcome.LOCALIZATION,
    SegmentOutcome.DUPLICATE,
    SegmentOutcome.BACKGROUND,
)
"""Outcomes of the false predictions: together they are the false positives."""


@dataclass(frozen=True, eq=False)
class SideOutcomes:
    """Outcomes of the K segments of one side of an image.

    Attributes:
        outcomes: K values of :class:`SegmentOutcome`.
        partners: K indices of the segment of the other side that the outcome refers to, the best one if there are
            several; -1 for ``BACKGROUND``, ``MISSED`` and ``IGNORED``.
        iou: K, IoU with the partner; 0 without one.
    """

    outcomes: IntArray
    partners: IntArray
    iou: FloatArray


def judge_image(overlaps: Overlaps) -> tuple[SideOutcomes, SideOutcomes]:
    """Return the outcomes of the true and of the predicted segments of one image."""
    matching = match(overlaps)
    return judge(overlaps, matching.present_segments, matching.false_segments)


def judge(overlaps: Overlaps, present: IntArray, false: IntArray) -> tuple[SideOutcomes, SideOutcomes]:
    """Return the outcomes of the true and of the predicted segments.

    Args:
        overlaps: Overlaps of both sides.
        present: Indices of the true segments that count, as in :class:`Matching`.
        false: Indices of the false predictions, as in :class:`Matching`.
    """
    true_classes, predicted_classes = overlaps.class_pairs
    known = (true_classes != VOID) & (predicted_classes != VOID) & ~overlaps.true_crowd[overlaps.true]
    pairs = np.flatnonzero(known)
    iou, same_class = pair_iou(overlaps, pairs), true_classes[pairs] == predicted_classes[pairs]
    outcomes = np.select(
        [same_class & (iou > 0.5), iou > 0.5, same_class & (iou >= BACKGROUND_IOU)],
        [SegmentOutcome.MATCHED, SegmentOutcome.CLASSIFICATION, SegmentOutcome.LOCALIZATION],
        SegmentOutcome.IGNORED,
    )
    matched = pairs[outcomes == SegmentOutcome.MATCHED]
    is_matched = np.zeros(overlaps.num_true, np.bool_)
    is_matched[overlaps.true[matched]] = True
    # Later pairs replace earlier ones: the first outcome wins, then the highest IoU, then a true segment without match.
    order = np.lexsort((~is_matched[overlaps.true[pairs]], iou, -outcomes))
    order = order[outcomes[order] != SegmentOutcome.IGNORED]
    true, predicted = overlaps.true[pairs[order]], overlaps.predicted[pairs[order]]
    reasons = outcomes[order], iou[order]
    true_side = _side(overlaps.num_true, SegmentOutcome.MISSED, true, predicted, *reasons)
    predicted_side = _side(overlaps.num_predicted, SegmentOutcome.BACKGROUND, predicted, true, *reasons)
    poor = np.flatnonzero(predicted_side.outcomes == SegmentOutcome.LOCALIZATION)
    predicted_side.outcomes[poor[is_matched[predicted_side.partners[poor]]]] = SegmentOutcome.DUPLICATE
    _ignore_others(true_side, present)
    _ignore_others(predicted_side, np.append(false, overlaps.predicted[matched]))
    return true_side, predicted_side


def _side(
    num: int, default: SegmentOutcome, segments: IntArray, partners: IntArray, outcomes: IntArray, iou: FloatArray
) -> SideOutcomes:
    """Return the last entry of every segment, and ``default`` for segments without an entry."""
    side = SideOutcomes(np.full(num, default, np.int64), np.full(num, -1), np.zeros(num))
    side.outcomes[segments], side.partners[segments], side.iou[segments] = outcomes, partners, iou
    return side


def _ignore_others(side: SideOutcomes, counted: IntArray) -> None:
    """Mark all segments but the counted ones as ignored, in place."""
    others = np.ones(len(side.outcomes), np.bool_)
    others[counted] = False
    side.outcomes[others], side.partners[others], side.iou[others] = SegmentOutcome.IGNORED, -1, 0


CASES = np.dtype([("is_true", "?"), ("class", "u1"), ("other", "u1"), ("outcome", "u1"), ("area", "i8"), ("iou", "f8")])


@dataclass(frozen=True, eq=False)
class ImageSegments:
    """Segments of one image and their overlaps, a few kilobytes, kept until the outcomes of all images are decided.

    Attributes:
        image_id: Id of the image in the data set.
        pairs: N×3, indices of the true and of the predicted segment of every pair that shares a pixel, and the number
            of shared pixels.
        true_classes, true_crowd, predicted_classes: Properties of the segments, as in :class:`Overlaps`.
        present, false: Indices of the true segments that count and of the false predictions, as in :class:`Matching`.
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
        """Create from the overlaps of an image and their matching."""
        pairs = np.stack([overlaps.true, overlaps.predicted, overlaps.pixels], axis=1)
        classes = overlaps.true_classes, overlaps.true_crowd, overlaps.predicted_classes
        return cls(image_id, pairs, *classes, matching.present_segments, matching.false_segments)


def segment_cases(images: Sequence[ImageSegments]) -> NDArray[Any]:
    """Return the true segments and false predictions of several images, as panoptic quality counts them.

    Returns:
        Array of dtype ``CASES`` with one row per true segment that counts, image by image, then one per false
        prediction: side, class, class of its partner (255 without one), outcome, area in pixels, and IoU with the
        partner (0 without one).
    """
    if not images:
        return np.zeros(0, CASES)
    overlaps, present, false = _joined(images)
    true, predicted = judge(overlaps, present, false)
    true_areas, predicted_areas = (
        np.bincount(segments, overlaps.pixels, num)
        for segments, num in ((overlaps.true, overlaps.num_true), (overlaps.predicted, overlaps.num_predicted))
    )
    true_rows = _rows(true, overlaps.true_classes, overlaps.predicted_classes, true_areas)[present]
    false_rows = _rows(predicted, overlaps.predicted_classes, overlaps.true_classes, predicted_areas)[false]
    true_rows["is_true"] = True
    return np.concatenate([true_rows, false_rows])


def _joined(images: Sequence[ImageSegments]) -> tuple[Overlaps, IntArray, IntArray]:
    """Return the overlaps, present true segments and false predictions of all images as if they were one image."""
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
    """Return one row per segment, with ``is_true`` unset."""
    rows = np.zeros(len(classes), CASES)
    rows["class"], rows["outcome"], rows["area"], rows["iou"] = classes, side.outcomes, areas, side.iou
    rows["other"] = np.append(other_classes, VOID)[side.partners]
    return rows
