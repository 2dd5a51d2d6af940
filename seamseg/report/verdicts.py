"""What became of every single segment, in the words of a report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from seamseg.metrics.matching import FloatArray, match
from seamseg.metrics.outcomes import Outcome, SideOutcomes, judge
from seamseg.metrics.overlaps import IntArray, Overlaps


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


def judge_segments(overlaps: Overlaps) -> ImageVerdicts:
    """Judges the segments of an image; matches are those of :func:`seamseg.metrics.matching.match`."""
    matching, (true, predicted) = match(overlaps), judge(overlaps)
    found = np.flatnonzero(predicted.outcomes == Outcome.FOUND)
    return ImageVerdicts(
        true=_side(true, matching.present_segments, Verdict.MISSED),
        predicted=_side(predicted, np.union1d(matching.false_segments, found), Verdict.FALSE),
    )


def _side(side: SideOutcomes, counted: IntArray, alone: Verdict) -> SideVerdicts:
    """In the words of one side, of the segments that count."""
    words = {
        Outcome.FOUND: Verdict.FOUND,
        Outcome.CONFUSED: Verdict.WRONG_CLASS,
        Outcome.POOR: Verdict.BADLY_CUT,
        Outcome.ALONE: alone,
    }
    verdicts = [Verdict.NOT_COUNTED] * len(side.outcomes)
    partners, iou = np.full(len(verdicts), -1), np.full(len(verdicts), np.nan)
    for segment in counted.tolist():
        verdicts[segment] = words[Outcome(side.outcomes[segment])]
    counted = counted[side.outcomes[counted] != Outcome.ALONE]
    partners[counted], iou[counted] = side.partners[counted], side.iou[counted]
    return SideVerdicts(verdicts, partners, iou)
