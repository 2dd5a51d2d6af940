"""Picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.structures.categories import Color
from seamseg.visualization.colors import GRAY, INK, PAPER, RULE, text_color
from seamseg.visualization.images import Picture
from seamseg.visualization.text import BOLD, CAP_HEIGHT, draw_text, shorten, text_width

AT_MOST = 24
"""Maximum number of classes that are shown, those with the most errors."""

_RIGHT, _WRONG = (23, 107, 135), (196, 69, 37)
_CELL, _SIZE, _MARGIN, _LABEL = 46, 15, 36, 190


def confusion_picture(matrix: NDArray[np.int64], names: Sequence[str], title: str, rest: str, what: str) -> Picture:
    """Draw a confusion matrix with true classes as rows and predicted classes as columns, in percent of each row.

    Args:
        matrix: Counts, C×(C+1). The last column counts segments or pixels without a predicted class. Rows without a
            count are skipped. Of more than 24 classes, those with the most errors are shown.
        names: Names of the C classes.
        title: Title above the matrix.
        rest: Name of the last column, such as ``missed``.
        what: Plural noun for the things that are counted, such as ``segments``.

    Returns:
        The picture on white, H×W×3 uint8 RGB.

    Raises:
        ValueError: The shape of the matrix does not match the number of names.
    """
    if matrix.shape != (len(names), len(names) + 1):
        raise ValueError(
            f"the confusion matrix of {len(names)} classes must have shape {(len(names), len(names) + 1)}, "
            f"not {matrix.shape}"
        )
    shown = _shown_classes(matrix)
    labels = [names[number] for number in shown]
    others = _hidden_and_rest(matrix, shown)
    ends = ["other class", rest]
    if not others[:, 0].any():
        others, ends = others[:, 1:], ends[1:]
    counts = np.concatenate([matrix[np.ix_(shown, shown)], others], axis=1)
    shares = counts / np.maximum(matrix[shown].sum(1, keepdims=True), 1)
    columns = [*labels, *ends]
    height = 2 * _MARGIN + 3 * _SIZE + _LABEL + len(shown) * _CELL + 2 * _SIZE
    width = 2 * _MARGIN + _LABEL + len(columns) * _CELL + 110
    canvas = np.full((height, max(width, 560), 3), PAPER, np.uint8)
    _draw_title(canvas, title, f"Rows: true class, columns: predicted class, % of {what} per row")
    top, left = _MARGIN + 3 * _SIZE + _LABEL, _MARGIN + _LABEL
    _draw_columns(canvas, columns, top - 10, left)
    for row, label in enumerate(labels):
        y = top + row * _CELL
        _draw_row(canvas, y, left, label, shares[row], row)
        total = f"{int(matrix[shown[row]].sum()):,}"
        draw_text(canvas, total, left + len(columns) * _CELL + 12, _baseline(y), _SIZE, GRAY)
    draw_text(canvas, what, left + len(columns) * _CELL + 12, top - 10, _SIZE, GRAY)
    note = _note(matrix, shown)
    draw_text(canvas, note, _MARGIN, height - _MARGIN, _SIZE, GRAY)
    return canvas


def _shown_classes(matrix: NDArray[np.int64]) -> list[int]:
    """Return the classes to show, ascending."""
    totals = matrix.sum(1)
    errors = totals - matrix.diagonal()
    present = np.flatnonzero(totals)
    worst = present[np.argsort(-errors[present], kind="stable")[:AT_MOST]]
    return sorted(worst.tolist())


def _hidden_and_rest(matrix: NDArray[np.int64], shown: list[int]) -> NDArray[np.int64]:
    """Return the counts of each shown class that were predicted as a class that is not shown, and as no class."""
    hidden = np.delete(matrix[shown, :-1], shown, axis=1).sum(1)
    return np.stack([hidden, matrix[shown, -1]], axis=1)


def _note(matrix: NDArray[np.int64], shown: list[int]) -> str:
    present = int((matrix.sum(1) > 0).sum())
    if present == 0:
        return "No true segments"
    return f"The {len(shown)} of {present} classes with the most errors" if len(shown) < present else ""


def _draw_title(canvas: Picture, title: str, subtitle: str) -> None:
    draw_text(canvas, title, _MARGIN, _MARGIN + _SIZE, round(1.4 * _SIZE), INK, BOLD)
    draw_text(canvas, subtitle, _MARGIN, _MARGIN + round(2.8 * _SIZE), _SIZE, GRAY)


def _draw_columns(canvas: Picture, columns: list[str], bottom: int, left: int) -> None:
    """Draw the names of the columns vertically, from bottom to top."""
    for column, name in enumerate(columns):
        text = shorten(name, _LABEL - 24, _SIZE)
        length = text_width(text, _SIZE) + 4
        strip = np.full((2 * _SIZE, length, 3), PAPER, np.uint8)
        draw_text(strip, text, 0, round(1.4 * _SIZE), _SIZE, INK)
        x = left + column * _CELL + (_CELL - 2 * _SIZE) // 2
        canvas[bottom - length : bottom, x : x + 2 * _SIZE] = np.rot90(strip)


def _draw_row(canvas: Picture, y: int, left: int, label: str, shares: NDArray[Any], row: int) -> None:
    text = shorten(label, _LABEL - 14, _SIZE)
    draw_text(canvas, text, left - 12 - text_width(text, _SIZE), _baseline(y), _SIZE, INK)
    for column, share in enumerate(shares.tolist()):
        x = left + column * _CELL
        color = _shade(_RIGHT if column == row else _WRONG, share)
        canvas[y : y + _CELL, x : x + _CELL] = RULE
        canvas[y + 1 : y + _CELL, x + 1 : x + _CELL] = color
        if share >= 0.005:
            value = f"{100 * share:.0f}"
            start = x + (_CELL - text_width(value, _SIZE)) // 2
            draw_text(canvas, value, start, _baseline(y), _SIZE, text_color(color))


def _shade(color: Color, share: float) -> Color:
    """Return a color between white and ``color``; the square root keeps small shares visible."""
    part = float(np.sqrt(share))
    red, green, blue = (round(255 + (channel - 255) * part) for channel in color)
    return red, green, blue


def _baseline(y: int) -> int:
    return y + (_CELL + round(CAP_HEIGHT * _SIZE)) // 2
