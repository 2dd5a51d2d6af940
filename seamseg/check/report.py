"""The result of a check, and its contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.check.findings import Findings
from seamseg.check.split import ImageTask, SplitEntries
from seamseg.check.statistics import CheckStatistics
from seamseg.data.images import read_image
from seamseg.errors import DataError
from seamseg.structures import PanopticSegmentation
from seamseg.visualization.annotation_sheet import AnnotatedPicture, annotation_sheet
from seamseg.visualization.images import Picture


@dataclass(frozen=True, eq=False)
class Shown:
    """An image whose files fit each other: one that a picture can show.

    Attributes:
        split: its name.
        task: where its files lie.
        classes: N bool, those that it shows.
        read: gives its segments.
    """

    split: str
    task: ImageTask
    classes: NDArray[np.bool_]
    read: Callable[[ImageTask], PanopticSegmentation]


@dataclass
class CheckReport:
    """What was found in a data set.

    Attributes:
        root: its folder.
        format_title: what it is.
        findings: its faults.
        statistics: numbers about it.
        shown: images that can be drawn.
        splits: the JSON files that could be read.
        repaired: new ``segments_info`` by the name of the split and the position of the annotation.
    """

    root: Path
    format_title: str
    findings: Findings
    statistics: CheckStatistics
    shown: list[Shown]
    splits: list[SplitEntries]
    repaired: dict[tuple[str, int], list[Any]]

    @property
    def num_errors(self) -> int:
        return self.findings.num_errors

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "data_set": str(self.root),
            "format": self.format_title,
            "errors": self.findings.num_errors,
            "warnings": self.findings.num_warnings,
            "faults": [
                {
                    "kind": kind.name,
                    "severity": "error" if kind.is_error else "warning",
                    "meaning": kind.meaning,
                    "count": count,
                    "examples": examples,
                }
                for kind, count, examples in self.findings.by_kind()
            ],
            "splits": [split.to_dict() for split in self.statistics.splits],
            "classes": self.statistics.class_rows(),
        }


def draw_sheet(report: CheckReport, num_images: int = 12, width: int = 2000) -> Picture:
    """Images beside their annotation, and the classes that they show.

    Args:
        report: of the check.
        num_images: at most so many.
        width: of the picture in pixels.

    Raises:
        SeamsegError: no image can be drawn.
    """
    categories = report.statistics.categories
    chosen = [report.shown[index] for index in choose_images([one.classes for one in report.shown], num_images)]
    if categories is None or not chosen:
        raise DataError(f"{report.root} holds no image that can be drawn: see the errors")
    pictures = [AnnotatedPicture(f"{one.split}, {one.task.name}", _image(one), one.read(one.task)) for one in chosen]
    num_annotated = sum(split.annotated for split in report.statistics.splits)
    subtitle = f"{len(chosen)} of {num_annotated} images, {len(categories)} classes"
    return annotation_sheet(pictures, categories, report.root.resolve().name, subtitle, width)


def choose_images(classes: Sequence[NDArray[np.bool_]], number: int) -> list[int]:
    """Which images to show, ascending: one after the other, the one that adds most classes not seen yet.

    Once all are seen, the search begins anew among the images that are left. Of equals, the first one wins.

    Args:
        classes: N bool each, the classes that an image shows.
        number: of images wanted; fewer come only where there are fewer.
    """
    if not classes:
        return []
    shows = np.stack(classes)
    left, seen = np.ones(len(shows), np.bool_), np.zeros(shows.shape[1], np.bool_)
    chosen: list[int] = []
    while len(chosen) < min(number, len(shows)):
        gains = np.where(left, (shows & ~seen).sum(axis=1), -1)
        best = int(gains.argmax())
        if gains[best] <= 0 and seen.any():
            seen[:] = False
            continue
        chosen.append(best)
        left[best] = False
        seen |= shows[best]
    return sorted(chosen)


def _image(shown: Shown) -> Picture:
    return read_image(shown.task.image_path, "stored", shown.task.size, "the annotation says")
