"""What became of every single segment: found, or in which way it went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from seamseg.metrics.matching import FloatArray, match, pair_iou
from seamseg.metrics.outcomes import POOR_IOU
from seamseg.metrics.overlaps import BoolArray, IntArray, Overlaps
from seamseg.structures import VOID


class Verdict(Enum):
    """On one segment. Panoptic quality counts all but the first and the last as missed (true segments) or false
    (predicted ones); their kinds follow Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection
    Errors", as far as segments that do not overlap can show them."""

    FOUND = "found"
    WRONG_CLASS = "wrong class"  # more than half the union is shared with a segment of another class
    BADLY_CUT = "badly cut"  # the best IoU with a segment of its own class lies between 0.1 and ½
    MISSED = "missed"  # a true segment, neither of these
    FALSE = "false"  # a predicted segment, neither of these
    NOT_COUNTED = "not counted"  # void, crowd, without pixels, or predicted mostly on void or on crowd of its class


@dataclass(frozen=True, eq=False)
class SideVerdicts:
    """The verdicts on the K segments of one side.

    Attributes:
        verdicts: K.
        partners: K, the segment of the other side that a verdict refers to; −1 where there is none.
        iou: K, with this partner; NaN where there is none.
    """

    verdicts: list[Verdict]
    partners: IntArray
    iou: FloatArray


@dataclass(frozen=True, eq=False)
class ImageVerdicts:
    """Those of an image."""

    true: SideVerdicts
    predicted: SideVerdicts


def judge(overlaps: Overlaps) -> ImageVerdicts:
    """Judges the segments of an image; matches are those of :func:`seamseg.metrics.matching.match`."""
    matching = match(overlaps)
    true_classes, predicted_classes = overlaps.class_pairs
    counted = (true_classes != VOID) & ~overlaps.true_crowd[overlaps.true] & (predicted_classes != VOID)
    iou, alike = pair_iou(overlaps, np.arange(len(overlaps.pixels))), true_classes == predicted_classes
    pairs = _Pairs(
        iou,
        found=counted & alike & (iou > 0.5),
        wrong_class=counted & ~alike & (iou > 0.5),
        badly_cut=counted & alike & (iou >= POOR_IOU) & (iou <= 0.5),
    )
    missed = np.setdiff1d(matching.present_segments, overlaps.true[pairs.found])
    return ImageVerdicts(
        true=pairs.verdicts(overlaps.true, overlaps.predicted, overlaps.num_true, missed, Verdict.MISSED),
        predicted=pairs.verdicts(
            overlaps.predicted, overlaps.true, overlaps.num_predicted, matching.false_segments, Verdict.FALSE
        ),
    )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """N pairs of segments that share a pixel, and what each of them speaks for."""

    iou: FloatArray
    found: BoolArray
    wrong_class: BoolArray
    badly_cut: BoolArray

    def verdicts(
        self, segments: IntArray, others: IntArray, num_segments: int, failed: IntArray, otherwise: Verdict
    ) -> SideVerdicts:
        """Of one side, whose segments ``segments`` are in the pairs; what speaks louder overwrites the rest."""
        verdicts = np.full(num_segments, Verdict.NOT_COUNTED, object)
        verdicts[failed] = otherwise
        may_fail = np.isin(np.arange(num_segments), failed)
        partners, iou = np.full(num_segments, -1), np.full(num_segments, np.nan)
        for verdict, chosen in (
            (Verdict.BADLY_CUT, self.badly_cut & may_fail[segments]),
            (Verdict.WRONG_CLASS, self.wrong_class & may_fail[segments]),
            (Verdict.FOUND, self.found),
        ):
            ascending = np.flatnonzero(chosen)[np.argsort(self.iou[chosen], kind="stable")]  # the best comes last
            verdicts[segments[ascending]] = verdict
            partners[segments[ascending]] = others[ascending]
            iou[segments[ascending]] = self.iou[ascending]
        return SideVerdicts(verdicts.tolist(), partners, iou)
