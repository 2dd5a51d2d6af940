"""Scores as comma-separated tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.scores import Scores
from seamseg.structures import ImageId


def image_table(scores: Scores, file_name: Callable[[ImageId], str] | None = None) -> str:
    """A line per image, the worst first; PQ is the mean over the image's classes.

    Args:
        scores: of these images.
        file_name: of an image's files, if they have one.
    """
    lines = []
    for image in sorted(scores.images, key=lambda image: (math.isnan(image.pq), image.pq)):
        iou_sum, found, false, missed = image.counts.sum(1).tolist()
        named = [image.image_id] if file_name is None else [image.image_id, file_name(image.image_id)]
        lines.append([*named, _cell(image.pq), iou_sum, *(int(number) for number in (found, false, missed))])
    title = ["image_id"] if file_name is None else ["image_id", "file_name"]
    return _table([*title, "pq", "iou_sum", "found", "false", "missed"], lines)


def class_table(scores: Scores) -> str:
    """A line per class: its scores, its PQ by size, and what became of its segments."""
    sizes, lines = scores.analysis.by_size, []
    title: list[str] = []
    for name, line in scores.per_class.items():
        cells = {"class": name, **asdict(line)}
        cells |= {f"pq_{size}": quality.per_class[name] for size, quality in sizes.items()}
        cells |= asdict(scores.analysis.outcomes[name])
        title = list(cells)
        lines.append([_cell(value) for value in cells.values()])
    return _table(title, lines)


def confusion_table(matrix: NDArray[np.int64], classes: Iterable[str], rest: str, last_row: str = "") -> str:
    """A line per true class, a column per predicted one.

    Args:
        matrix: C or C+1 rows, C+1 columns.
        classes: C names.
        rest: name of the last column.
        last_row: name of the last row, if there is one.
    """
    names = list(classes)
    rows = [*names, last_row][: len(matrix)]
    return _table(["true", *names, rest], ([name, *row] for name, row in zip(rows, matrix.tolist(), strict=True)))


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _table(title: list[str], lines: Iterable[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(title)
    writer.writerows(lines)
    return text.getvalue()
