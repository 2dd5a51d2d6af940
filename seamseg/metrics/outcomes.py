"""Outcomes of segments, named after TIDE's types of errors (Bolya et al. 2020, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.matching import FloatArray, Matching, pair_iou
from seamseg.metrics.overlaps import IntArray
from seamseg.structures import VOID

BACKGROUND_IOU = 0.1
"""Minimum IoU with a segment of the same class for a localization error or a duplicate; t_b in TIDE."""


class SegmentOutcome(IntEnum):
    """Outcome of a segment; if several apply, the first one listed.

    The names and the thresholds of 0.1 and 0.5 come from "TIDE: A General Toolbox for Identifying Object Detection
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


def judge(matching: Matching) -> tuple[SideOutcomes, SideOutcomes]:
    """Return the outcomes of the true and of the predicted segments."""
    overlaps = matching.overlaps
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
    _ignore_others(true_side, matching.present)
    _ignore_others(predicted_side, np.append(matching.false, overlaps.predicted[matched]))
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


CASES = np.dtype(
    [
        ("is_true", "?"),
        ("class", "u1"),
        ("other", "u1"),
        ("outcome", "u1"),
        ("area", "i8"),
        ("iou", "f8"),
        ("image", "i8"),
    ]
)


def segment_cases(matching: Matching) -> NDArray[Any]:
    """Return the true segments and false predictions, as panoptic quality counts them.

    Returns:
        Array of dtype ``CASES`` with one row per true segment that counts, then one per false prediction: side, class,
        class of its partner (255 without one), outcome, area in pixels, IoU with the partner (0 without one), and
        number of the image.
    """
    overlaps, (true, predicted) = matching.overlaps, judge(matching)
    true_areas, predicted_areas = (
        np.bincount(segments, overlaps.pixels, num)
        for segments, num in ((overlaps.true, overlaps.num_true), (overlaps.predicted, overlaps.num_predicted))
    )
    classes, images = (
        (overlaps.true_classes, overlaps.predicted_classes),
        (overlaps.true_images, overlaps.predicted_images),
    )
    true_rows = _rows(true, *classes, true_areas, images[0])[matching.present]
    false_rows = _rows(predicted, *classes[::-1], predicted_areas, images[1])[matching.false]
    true_rows["is_true"] = True
    return np.concatenate([true_rows, false_rows])


def _rows(
    side: SideOutcomes, classes: IntArray, other_classes: IntArray, areas: NDArray[Any], images: IntArray
) -> NDArray[Any]:
    """Return one row per segment, with ``is_true`` unset."""
    rows = np.zeros(len(classes), CASES)
    rows["class"], rows["outcome"], rows["area"], rows["iou"] = classes, side.outcomes, areas, side.iou
    rows["image"] = images
    rows["other"] = np.append(other_classes, VOID)[side.partners]
    return rows
