"""Calibration errors and risk-coverage areas, one prediction after the other, in exact fractions where possible."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction


def bin_of(value: float, num: int) -> int:
    """Return m - 1 for (m - 1) / num < value ≤ m / num; 0 and less are in the first bin, all above 1 in the last."""
    for number in range(num):
        if value <= (number + 1) / num:
            return number
    return num - 1


def calibration_error(
    scores: Sequence[float], right: Sequence[bool], properties: Sequence[Sequence[float]], num: int, least: int
) -> float:
    """Return the mean gap between accuracy and mean score over the bins of scores and properties.

    Args:
        scores: Score of each prediction.
        right: Whether each prediction is right.
        properties: Further values of each prediction, in 0 … 1.
        num: Number of bins of each axis.
        least: Minimum number of predictions in a bin that counts.
    """
    bins = defaultdict(list)
    for score, is_right, others in zip(scores, right, properties, strict=True):
        bins[tuple(bin_of(value, num) for value in (score, *others))].append((score, is_right))
    kept = [members for members in bins.values() if len(members) >= least]
    total = sum(len(members) for members in kept)
    if not total:
        return math.nan
    gaps = [
        abs(sum(is_right for _, is_right in members) / len(members) - sum(score for score, _ in members) / len(members))
        for members in kept
    ]
    return sum(gap * len(members) for gap, members in zip(gaps, kept, strict=True)) / total


def risks(scores: Sequence[float], right: Sequence[bool]) -> list[Fraction]:
    """Return the expected fraction of wrong predictions among the k most confident ones, for k = 1 … N.

    If only some predictions of one score are among the k, each of them has the same chance.
    """
    found = []
    for k in range(1, len(scores) + 1):
        limit = sorted(scores, reverse=True)[k - 1]
        above = [not one for score, one in zip(scores, right, strict=True) if score > limit]
        equal = [not one for score, one in zip(scores, right, strict=True) if score == limit]
        wrong = sum(above) + Fraction(sum(equal) * (k - len(above)), len(equal))
        found.append(Fraction(wrong) / k)
    return found
