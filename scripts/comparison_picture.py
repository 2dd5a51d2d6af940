"""Draw what changes of settings do to PQ.

python -m scripts.comparison_picture COMPARISON.yaml [OUT.png]

One line per change: its PQ minus that of the config, with the 95 % interval over the images and the seeds. The results
are those that scripts/compare_settings.py recorded beside the comparison file, where the picture is written, too.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from scripts.compare_settings import Compared, Comparison, Recorded, compare_changes
from seamseg.metrics.resampling import Comparison as PQDifference
from seamseg.structures.categories import Color
from seamseg.visualization.colors import BLUE, GRAY, INK, ORANGE, PAPER, RULE, SHADE
from seamseg.visualization.images import Picture, write_image
from seamseg.visualization.shapes import fill_rounded
from seamseg.visualization.text import BOLD, draw_text, text_width

UNDECIDED: Color = (150, 158, 168)
_SIZE, _MARGIN, _LINE, _PAD = 17, 36, 22, 12
_LABELS, _PLOT, _COLUMN = 440, 520, 86
_CHARACTERS = 48
"""Length of the lines of a label."""
_COLUMNS = ("seeds", "PQ", "box AP", "mask AP", "CPU min")
_TOP = _MARGIN + 108
"""Upper edge of the plot."""
_STEP = 2
"""Points of PQ between two grid lines."""


def main(comparison: Path, output: Path | None = None) -> None:
    """Write the picture.

    Args:
        comparison: Comparison file.
        output: PNG or JPEG file to write; by default, one beside the comparison file.
    """
    content = Comparison.read(comparison)
    compared = compare_changes(content, Recorded(comparison).read())
    if not compared:
        sys.exit(
            f"{comparison} has no results; train first: python scripts/compare_settings.py train {comparison} DATA RUNS"
        )
    write_image(output or comparison.with_suffix(".png"), comparison_picture(content.config, compared))


def comparison_picture(config: str, compared: Sequence[Compared]) -> Picture:
    """Draw the differences of all changes.

    Args:
        config: Name of the config.
        compared: The config itself and its changes, from top to bottom.

    Returns:
        The chart on white, H×W×3 uint8 RGB.
    """
    labels = [balanced(one.name) for one in compared]
    heights = [len(lines) * _LINE + _PAD for lines in labels]
    low, high = axis([one.difference for one in compared if one.difference is not None])
    plot = _MARGIN + _LABELS
    width = plot + _PLOT + len(_COLUMNS) * _COLUMN + _MARGIN
    canvas = np.full((_TOP + sum(heights) + _MARGIN + _LINE, width, 3), PAPER, np.uint8)
    subtitle = f"PQ minus that of {config}, with the 95 % interval over images and seeds; gray if that contains 0"
    draw_text(canvas, "What each change does", _MARGIN, _MARGIN + _SIZE, round(1.4 * _SIZE), INK, BOLD)
    draw_text(canvas, subtitle, _MARGIN, _MARGIN + round(2.6 * _SIZE), _SIZE, GRAY)
    _draw_grid(canvas, plot, sum(heights), low, high)
    for place, title in enumerate(_COLUMNS):
        _write_right(canvas, title, plot + _PLOT + (place + 1) * _COLUMN, _TOP - 14, GRAY)
    y = _TOP
    for one, lines, height in zip(compared, labels, heights, strict=True):
        baseline = y + height // 2 + round(0.35 * _SIZE)
        for place, line in enumerate(lines):
            offset = round((place - (len(lines) - 1) / 2) * _LINE)
            _write_right(canvas, line, plot - 16, baseline + offset, INK)
        if one.difference is not None:
            _draw_interval(canvas, plot, y + height // 2, one.difference, low, high)
        for place, text in enumerate(numbers(one.results)):
            _write_right(canvas, text, plot + _PLOT + (place + 1) * _COLUMN, baseline, INK)
        y += height
    return canvas


def balanced(label: str) -> list[str]:
    """Break a label into as few lines as possible, of similar lengths."""
    fewest = len(wrap(label, _CHARACTERS))
    widths = range(len(label) // fewest, _CHARACTERS + 1)
    return next(lines for width in widths if len(lines := wrap(label, width)) == fewest)


def axis(differences: Sequence[PQDifference]) -> tuple[int, int]:
    """Return the ends of the axis in points of PQ, half a step beyond the grid lines around 0 and all intervals."""
    intervals = [one.difference_interval for one in differences]
    low = min([0.0, *(100 * one.low for one in intervals)])
    high = max([0.0, *(100 * one.high for one in intervals)])
    return math.floor(low / _STEP) * _STEP - _STEP // 2, math.ceil(high / _STEP) * _STEP + _STEP // 2


def numbers(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the number of seeds and the means of PQ, box and mask AP in percent, and of the CPU time in minutes."""
    times = [one["cpu_seconds"] / 60 for one in results if one["cpu_seconds"] is not None]
    scores = [[100 * one["pq"]["all"], 100 * one["box_ap"], 100 * one["mask_ap"]] for one in results]
    means = [f"{statistics.mean(values):.1f}" for values in zip(*scores, strict=True)]
    return [str(len(results)), *means, f"{statistics.mean(times):.1f}" if times else "-"]


def color_of(difference: PQDifference) -> Color:
    """Return the color of a difference; it is gray if its interval contains 0."""
    interval = difference.difference_interval
    return BLUE if interval.low > 0 else ORANGE if interval.high < 0 else UNDECIDED


def _draw_grid(canvas: Picture, plot: int, height: int, low: int, high: int) -> None:
    canvas[_TOP : _TOP + height, plot : plot + _PLOT] = SHADE
    for points in range(math.ceil(low / _STEP) * _STEP, high + 1, _STEP):
        x = plot + _position(points, low, high)
        canvas[_TOP : _TOP + height, x - 1 : x + 1] = INK if points == 0 else RULE
        text = f"{points:+d}" if points else "0"
        draw_text(canvas, text, x - text_width(text, _SIZE) // 2, _TOP + height + _LINE, _SIZE, GRAY)


def _draw_interval(canvas: Picture, plot: int, y: int, difference: PQDifference, low: int, high: int) -> None:
    interval = difference.difference_interval
    left, middle, right = (
        plot + _position(100 * value, low, high) for value in (interval.low, difference.difference, interval.high)
    )
    color = color_of(difference)
    canvas[y - 2 : y + 2, left : max(right, left + 1)] = color
    fill_rounded(canvas, (y - 7, middle - 7, y + 7, middle + 7), 7, color)


def _position(points: float, low: int, high: int) -> int:
    return round(_PLOT * (points - low) / (high - low))


def _write_right(canvas: Picture, text: str, right: int, baseline: int, color: Color) -> None:
    draw_text(canvas, text, right - text_width(text, _SIZE), baseline, _SIZE, color)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
