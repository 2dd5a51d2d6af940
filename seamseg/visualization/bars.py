"""Bar charts: grouped bars of values side by side, and stacked bars of shares one below the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seamseg.structures.categories import Color
from seamseg.visualization.colors import GRAY, INK, PAPER, RULE
from seamseg.visualization.images import Picture
from seamseg.visualization.shapes import fill_rounded
from seamseg.visualization.text import BOLD, draw_text, shorten, text_width

_SIZE, _MARGIN = 16, 40
_BAR, _PLOT = 64, 300
_LINE, _LABEL, _WHOLE = 30, 190, 560
_ROW, _GROUP, _PAIR = 20, 34, 300


@dataclass(frozen=True)
class BarGroup:
    """Group of bars side by side.

    Attributes:
        name: Label below the group.
        note: Smaller second line of the label.
        values: Values in 0 … 1, one per series; NaN for a missing value.
    """

    name: str
    note: str
    values: Sequence[float]


@dataclass(frozen=True)
class StackedBar:
    """Bar that is divided into shares.

    Attributes:
        name: Label to the left of the bar.
        counts: Counts, one per part.
        note: Label to the right of the bar.
    """

    name: str
    counts: Sequence[int]
    note: str


def grouped_bars(groups: Sequence[BarGroup], series: Sequence[tuple[str, Color]], title: str, subtitle: str) -> Picture:
    """Draw values in percent on a common axis from 0 to 100.

    Args:
        groups: Groups of bars, from left to right.
        series: Name and color of each bar of a group.
        title: Title above the chart.
        subtitle: Text below the title.

    Returns:
        The chart on white, H×W×3 uint8 RGB.
    """
    group = len(series) * _BAR + _BAR
    width = max(2 * _MARGIN + 40 + len(groups) * group, 2 * _MARGIN + text_width(subtitle, _SIZE))
    canvas = np.full((_PLOT + 2 * _MARGIN + 10 * _SIZE, width, 3), PAPER, np.uint8)
    _draw_head(canvas, title, subtitle, series)
    top = _MARGIN + 7 * _SIZE
    _draw_axis(canvas, top)
    for number, one in enumerate(groups):
        x = _MARGIN + 40 + number * group + _BAR // 2
        for place, ((_, color), value) in enumerate(zip(series, one.values, strict=True)):
            _draw_bar(canvas, x + place * _BAR, top, value, color)
        center = x + len(series) * _BAR // 2
        for line, (text, size, ink) in enumerate(((one.name, _SIZE, INK), (one.note, _SIZE - 2, GRAY))):
            draw_text(canvas, text, center - text_width(text, size) // 2, top + _PLOT + (2 + line) * _SIZE, size, ink)
    return canvas


def stacked_bars(bars: Sequence[StackedBar], parts: Sequence[tuple[str, Color]], title: str, subtitle: str) -> Picture:
    """Draw bars of the same width, divided in proportion to their counts.

    Args:
        bars: Bars, from top to bottom; a bar whose counts are all zero is drawn empty.
        parts: Name and color of each part, from left to right.
        title: Title above the chart.
        subtitle: Text below the title.

    Returns:
        The chart on white, H×W×3 uint8 RGB.
    """
    notes = max((text_width(bar.note, _SIZE - 2) for bar in bars), default=0)
    width = 2 * _MARGIN + max(_LABEL + _WHOLE + 16 + notes, text_width(subtitle, _SIZE))
    canvas = np.full((2 * _MARGIN + 6 * _SIZE + len(bars) * _LINE, width, 3), PAPER, np.uint8)
    _draw_head(canvas, title, subtitle, parts)
    for row, bar in enumerate(bars):
        y = _MARGIN + 6 * _SIZE + row * _LINE
        name = shorten(bar.name, _LABEL - 14, _SIZE)
        baseline = y + round(0.62 * _LINE)
        draw_text(canvas, name, _MARGIN + _LABEL - 12 - text_width(name, _SIZE), baseline, _SIZE, INK)
        _draw_shares(canvas, y, bar.counts, [color for _, color in parts])
        draw_text(canvas, bar.note, _MARGIN + _LABEL + _WHOLE + 16, baseline, _SIZE - 2, GRAY)
    return canvas


def _draw_head(canvas: Picture, title: str, subtitle: str, keys: Sequence[tuple[str, Color]]) -> None:
    draw_text(canvas, title, _MARGIN, _MARGIN + _SIZE, round(1.4 * _SIZE), INK, BOLD)
    draw_text(canvas, subtitle, _MARGIN, _MARGIN + round(2.6 * _SIZE), _SIZE, GRAY)
    x, y = _MARGIN, _MARGIN + round(3.6 * _SIZE)
    for name, color in keys:
        fill_rounded(canvas, (y, x, y + _SIZE, x + _SIZE), 3, color)
        draw_text(canvas, name, x + _SIZE + 8, y + round(0.85 * _SIZE), _SIZE, GRAY)
        x += 2 * _SIZE + text_width(name, _SIZE) + 16


def _draw_axis(canvas: Picture, top: int) -> None:
    for percent in range(0, 101, 25):
        y = top + round(_PLOT * (1 - percent / 100))
        canvas[y : y + 1, _MARGIN + 40 : canvas.shape[1] - _MARGIN] = RULE if percent else GRAY
        text = str(percent)
        draw_text(canvas, text, _MARGIN + 28 - text_width(text, _SIZE - 2), y + 5, _SIZE - 2, GRAY)


def _draw_bar(canvas: Picture, x: int, top: int, value: float, color: Color) -> None:
    text = "-" if math.isnan(value) else f"{100 * value:.1f}"
    height = 0 if math.isnan(value) else round(_PLOT * value)
    bottom = top + _PLOT
    if height > 0:
        canvas[bottom - height : bottom, x + 4 : x + _BAR - 4] = color
    draw_text(canvas, text, x + (_BAR - text_width(text, _SIZE)) // 2, bottom - height - 6, _SIZE, INK)


def _draw_shares(canvas: Picture, y: int, counts: Sequence[int], colors: Sequence[Color]) -> None:
    left, total = _MARGIN + _LABEL, sum(counts)
    canvas[y + 4 : y + _LINE - 4, left : left + _WHOLE] = RULE
    edges = np.rint(np.cumsum([0, *counts]) / max(total, 1) * _WHOLE).astype(int).tolist()
    for start, end, count, color in zip(edges[:-1], edges[1:], counts, colors, strict=True):
        canvas[y + 4 : y + _LINE - 4, left + start : left + end] = color
        text = str(count)
        if end - start > text_width(text, _SIZE - 2) + 6:
            x = left + (start + end - text_width(text, _SIZE - 2)) // 2
            draw_text(canvas, text, x, y + round(0.63 * _LINE), _SIZE - 2, PAPER)


@dataclass(frozen=True)
class PairedBar:
    """Two values of one thing, drawn as bars that start at two common axes.

    Attributes:
        name: Label to the left.
        color: Color of both bars.
        values: Values of both axes as a fraction of the reference, which is 1; NaN for a missing value.
    """

    name: str
    color: Color
    values: tuple[float, float]


def paired_bars(
    groups: Sequence[tuple[str, Sequence[PairedBar]]], axes: tuple[str, str], title: str, subtitle: str
) -> Picture:
    """Draw two columns of bars in percent of a reference, which is a line at 100.

    Args:
        groups: Name and bars of each group, from top to bottom.
        axes: Titles of both columns.
        title: Title above the chart.
        subtitle: Text below the title.

    Returns:
        The chart on white, H×W×3 uint8 RGB.
    """
    bars = [bar for _, group in groups for bar in group]
    labels = max(text_width(bar.name, _SIZE - 2) for bar in bars) + 14
    scale = _PAIR / max([1.0, *(value for bar in bars for value in bar.values if not math.isnan(value))])
    starts = [_MARGIN + labels + place * (_PAIR + 90) for place in (0, 1)]
    width = max(starts[1] + _PAIR + 60, text_width(subtitle, _SIZE) + _MARGIN) + _MARGIN
    top = _MARGIN + 5 * _SIZE
    canvas = np.full((top + len(bars) * _ROW + len(groups) * _GROUP + _MARGIN, width, 3), PAPER, np.uint8)
    _draw_head(canvas, title, subtitle, ())
    for start, axis in zip(starts, axes, strict=True):
        draw_text(canvas, axis, start, top, _SIZE, INK, BOLD)
    y = top
    for name, group in groups:
        draw_text(canvas, name, _MARGIN, y + _GROUP - 8, _SIZE, INK, BOLD)
        y += _GROUP
        first = y
        for bar in group:
            text = bar.name
            draw_text(canvas, text, _MARGIN + labels - 10 - text_width(text, _SIZE - 2), y + 14, _SIZE - 2, GRAY)
            for start, value in zip(starts, bar.values, strict=True):
                _draw_paired(canvas, start, y, value, scale, bar.color)
            y += _ROW
        for start in starts:
            canvas[first - 2 : y, start + round(scale)] = INK
    return canvas


def _draw_paired(canvas: Picture, x: int, y: int, value: float, scale: float, color: Color) -> None:
    end = x if math.isnan(value) else x + max(round(scale * value), 1)
    canvas[y + 2 : y + _ROW - 3, x:end] = color
    text = "not measured" if math.isnan(value) else f"{100 * value:.0f} %"
    line = x + round(scale)
    start = line if end <= line < end + text_width(text, _SIZE - 2) + 8 else end  # not across the line
    draw_text(canvas, text, start + 6, y + 14, _SIZE - 2, INK)
