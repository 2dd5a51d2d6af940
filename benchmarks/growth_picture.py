"""Draw the picture of growing costs: python -m benchmarks.growth_picture [OUT.png].

One column per cause, such as the image area, and one bar per cost, such as the time of a training step: how many times
larger the cost is when the cause is multiplied. A line shows the factor of the cause. The rows are those of the part
``growth`` in ``results/network.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.network_growth import CAUSES, Cause
from benchmarks.table import RESULTS, Row, read_rows
from seamseg.visualization.colors import BLUE, GRAY, INK, ORANGE, PAPER, SHADE
from seamseg.visualization.images import Picture, write_image
from seamseg.visualization.text import BOLD, draw_text, text_width

DEFAULT = RESULTS.parents[1] / "docs" / "growth.png"
COSTS: Mapping[str, str] = {
    "step": "training step",
    "predict": "prediction",
    "memory": "memory of a step",
    "semantic": "semantic loss",
    "targets": "targets of regions",
    "fusion": "panoptic fusion",
    "nms": "box suppression",
}
"""Label of each cost, from top to bottom."""
_SIZE, _MARGIN, _ROW = 17, 36, 34
_LABELS, _PANEL, _LINE, _GAP = 176, 190, 130, 16
_TOP = _MARGIN + 108
"""Upper edge of the bars."""


def main(output: Path = DEFAULT, results: Path = RESULTS / "network.json") -> None:
    """Write the picture.

    Args:
        output: PNG or JPEG file to write.
        results: Recorded rows.
    """
    rows = {row.slug: row for row in read_rows(results)[2] if row.slug.startswith("growth-")}
    if not rows:
        sys.exit(f"{results} has no rows of growth; measure them: make bench-network ARGS='--only growth --update'")
    write_image(output, growth_picture(rows))


def growth_picture(rows: Mapping[str, Row]) -> Picture:
    """Draw the growth of all costs.

    Args:
        rows: Rows by slug, ``growth-CAUSE-COST``; missing ones are drawn as a dash.

    Returns:
        The chart on white, H×W×3 uint8 RGB.
    """
    width = 2 * _MARGIN + _LABELS + len(CAUSES) * (_PANEL + _GAP) - _GAP
    canvas = np.full((_TOP + len(COSTS) * _ROW + _MARGIN, width, 3), PAPER, np.uint8)
    title = "How cost grows"
    subtitle = "How many times larger each cost is after one cause is multiplied; the line is the factor of the cause."
    draw_text(canvas, title, _MARGIN, _MARGIN + _SIZE, round(1.4 * _SIZE), INK, BOLD)
    draw_text(canvas, subtitle, _MARGIN, _MARGIN + round(2.6 * _SIZE), _SIZE, GRAY)
    for place, label in enumerate(COSTS.values()):
        x = _MARGIN + _LABELS - 14 - text_width(label, _SIZE)
        draw_text(canvas, label, x, _baseline(place), _SIZE, INK)
    for place, cause in enumerate(CAUSES):
        _draw_panel(canvas, _MARGIN + _LABELS + place * (_PANEL + _GAP), cause, rows)
    return canvas


def _draw_panel(canvas: Picture, x: int, cause: Cause, rows: Mapping[str, Row]) -> None:
    found = [rows.get(f"growth-{cause.slug}-{cost}") for cost in COSTS]
    largest = max((row.ratio or 0.0 for row in found if row), default=0.0) / cause.factor
    line = round(_LINE / max(1.0, largest))
    bottom = _TOP + len(COSTS) * _ROW
    draw_text(canvas, f"{cause.words} ×{cause.factor}", x, _TOP - 14, _SIZE, INK, BOLD)
    canvas[_TOP:bottom, x : x + _PANEL] = SHADE
    for place, row in enumerate(found):
        ratio = None if row is None else row.ratio
        end = x if ratio is None else x + max(1, round(line * ratio / cause.factor))
        y = _TOP + place * _ROW
        canvas[y + 7 : y + _ROW - 7, x:end] = ORANGE if row is not None and row.holds is False else BLUE
    canvas[_TOP:bottom, x + line : x + line + 2] = INK
    for place, row in enumerate(found):
        _write_growth(canvas, x, line, _baseline(place), None if row is None else row.ratio, cause.factor)


def _write_growth(canvas: Picture, x: int, line: int, baseline: int, ratio: float | None, factor: int) -> None:
    """Write the growth to the right of its bar, but not across the line of the cause."""
    text = "-" if ratio is None else f"×{ratio:.2f}"
    end = 0 if ratio is None else round(line * ratio / factor)
    if end <= line + 2 and end + 6 + text_width(text, _SIZE - 2) > line - 4:
        end = line + 2
    draw_text(canvas, text, x + end + 6, baseline, _SIZE - 2, INK)


def _baseline(place: int) -> int:
    return _TOP + place * _ROW + round(0.65 * _ROW)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
