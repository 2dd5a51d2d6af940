"""Picture of calibration: reliability diagrams and risk-coverage curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from seamseg.structures.categories import Color
from seamseg.visualization.colors import GRAY, INK, PAPER, RULE
from seamseg.visualization.images import Picture
from seamseg.visualization.shapes import fill_rounded
from seamseg.visualization.text import BOLD, draw_text, text_width

RIGHT: Color = (23, 107, 135)
GAP: Color = (232, 170, 150)
_COUNT: Color = (170, 178, 186)
_SIZE, _MARGIN, _PLOT, _COUNTS, _GUTTER, _HEAD, _FOOT = 16, 36, 300, 54, 96, 60, 84
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Possible upper ends of the axis of risk."""


@dataclass(frozen=True)
class CalibrationRow:
    """Calibration of one kind of score.

    Attributes:
        name: Name of the predictions, such as ``things``.
        note: Numbers that belong to the reliability diagram, in one line.
        bins: Number, mean score and accuracy of the predictions in bins of equal width; NaN in empty bins.
        curve: Coverage and risk of the points of the risk-coverage curve, by ascending coverage.
        curve_note: Numbers that belong to the curve, in one line.
    """

    name: str
    note: str
    bins: Sequence[tuple[int, float, float]]
    curve: Sequence[tuple[float, float]]
    curve_note: str


def calibration_picture(rows: Sequence[CalibrationRow]) -> Picture:
    """Draw a reliability diagram and a risk-coverage curve side by side for each kind of score.

    Args:
        rows: Kinds of scores, from top to bottom.

    Returns:
        The picture on white, H×W×3 uint8 RGB.
    """
    height = _HEAD + _PLOT + _COUNTS + _FOOT
    left, right = _MARGIN + 52, _MARGIN + 52 + _PLOT + _GUTTER
    canvas = np.full((2 * _MARGIN + len(rows) * height - _SIZE, right + _PLOT + _MARGIN + 24, 3), PAPER, np.uint8)
    for number, row in enumerate(rows):
        top = _MARGIN + number * height + _HEAD
        for x, title, note in (
            (left, f"Reliability of {row.name}", row.note),
            (right, f"Risk of {row.name} by coverage", row.curve_note),
        ):
            draw_text(canvas, title, x, top - 38, round(1.15 * _SIZE), INK, BOLD)
            draw_text(canvas, note, x, top - 16, _SIZE - 2, GRAY)
        _draw_reliability(canvas, top, left, row.bins)
        _draw_curve(canvas, top, right, row.curve)
    return canvas


def _draw_reliability(canvas: Picture, top: int, left: int, bins: Sequence[tuple[int, float, float]]) -> None:
    """Draw the accuracy of each bin, the gap to its mean score, and below it the number of predictions."""
    _draw_axes(canvas, top, left, 1.0, "accuracy")
    edges = [left + round(_PLOT * number / len(bins)) for number in range(len(bins) + 1)]
    most = max((num for num, _, _ in bins), default=0)
    for (num, score, accuracy), x0, x1 in zip(bins, edges[:-1], edges[1:], strict=True):
        if num:
            bottom, low, high = (top + _PLOT - round(_PLOT * value) for value in (0, accuracy, score))
            canvas[min(low, high) : max(low, high), x0 + 1 : x1] = GAP
            canvas[max(low, high) : bottom, x0 + 1 : x1] = RIGHT
            canvas[min(low, bottom - 2) : min(low + 2, bottom), x0 + 1 : x1] = RIGHT
            base = top + _PLOT + 28 + _COUNTS
            canvas[base - max(1, round((_COUNTS - 16) * num / most)) : base, x0 + 1 : x1] = _COUNT
    _draw_line(canvas, [(left, top + _PLOT), (left + _PLOT, top)], GRAY, 1)
    for line, (color, text) in enumerate(((RIGHT, "accuracy"), (GAP, "gap to the mean score"))):
        y = top + 14 + line * (_SIZE + 8)
        fill_rounded(canvas, (y, left + 12, y + _SIZE, left + 12 + _SIZE), 3, color)
        draw_text(canvas, text, left + 20 + _SIZE, y + round(0.85 * _SIZE), _SIZE - 2, GRAY)
    base = top + _PLOT + 28 + _COUNTS
    canvas[base, left : left + _PLOT] = GRAY
    draw_text(canvas, "number", left - 10 - text_width("number", _SIZE - 3), base, _SIZE - 3, GRAY)
    _draw_centered(canvas, f"score, %; the largest bin has {most:,}", left + _PLOT // 2, base + 22)


def _draw_curve(canvas: Picture, top: int, left: int, curve: Sequence[tuple[float, float]]) -> None:
    end = next((step for step in _STEPS if step >= max((risk for _, risk in curve), default=0.0)), 1.0)
    _draw_axes(canvas, top, left, end, "risk")
    points = [(left + _PLOT * coverage, top + _PLOT * (1 - risk / end)) for coverage, risk in curve]
    if len(points) == 1:
        points = [points[0], points[0]]
    _draw_line(canvas, points, RIGHT, 3)
    _draw_centered(canvas, "coverage: % of predictions kept, most confident first", left + _PLOT // 2, top + _PLOT + 46)


def _draw_axes(canvas: Picture, top: int, left: int, end: float, title: str) -> None:
    """Draw rules at quarters, with percentages: 0 to 100 to the right, and 0 to ``end`` upward."""
    for quarter in range(5):
        y, x = top + _PLOT - round(_PLOT * quarter / 4), left + round(_PLOT * quarter / 4)
        canvas[y, left : left + _PLOT] = RULE if quarter else GRAY
        text = f"{25 * quarter * end:.3g}"
        draw_text(canvas, text, left - 10 - text_width(text, _SIZE - 2), y + 5, _SIZE - 2, GRAY)
        _draw_centered(canvas, str(25 * quarter), x, top + _PLOT + 20)
    strip = np.full((2 * _SIZE, text_width(f"{title}, %", _SIZE - 2) + 4, 3), PAPER, np.uint8)
    draw_text(strip, f"{title}, %", 0, round(1.4 * _SIZE), _SIZE - 2, GRAY)
    y, x = top + (_PLOT - strip.shape[1]) // 2, left - 72
    canvas[y : y + strip.shape[1], x : x + 2 * _SIZE] = np.rot90(strip)


def _draw_centered(canvas: Picture, text: str, x: int, baseline: int) -> None:
    draw_text(canvas, text, x - text_width(text, _SIZE - 2) // 2, baseline, _SIZE - 2, GRAY)


def _draw_line(canvas: Picture, points: Sequence[tuple[float, float]], color: Color, thickness: int) -> None:
    """Draw a smooth line through points (x, y)."""
    if points and not any(math.isnan(value) for point in points for value in point):
        fixed = np.rint(np.array(points) * 16).astype(np.int32)
        cv2.polylines(canvas, [fixed[:, None]], False, color, thickness, cv2.LINE_AA, 4)
