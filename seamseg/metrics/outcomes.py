"""What became of single segments: found, taken for another class, badly segmented, missed or invented."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from seamseg.metrics.matching import FloatArray, pair_iou
from seamseg.metrics.overlaps import IntArray, Overlaps
from seamseg.structures import VOID

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
