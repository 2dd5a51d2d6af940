"""Report of a check, and its contact sheet."""

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
    """An image with consistent files, which a contact sheet can show.

    Attributes:
        split: Name of the split.
        task: Image and its files.
        classes: N bool; whether the image shows each class.
        read: Function that reads the segments of the image.
    """

    split: str
    task: ImageTask
    classes: NDArray[np.bool_]
    read: Callable[[ImageTask], PanopticSegmentation]


@dataclass
class CheckReport:
    """Faults and statistics of a data set.

    Attributes:
        root: Folder of the data set.
        format_title: Title of its format.
        findings: Faults of the data set.
        statistics: Statistics of the data set.
        shown: Images that can be drawn.
        splits: JSON files that could be read.
        repaired: New ``segments_info`` by name of the split and position of the annotation.
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
        """Number of faults that are errors."""
        return self.findings.num_errors

    def to_dict(self) -> dict[str, Any]:
        """Convert the report to values that JSON can represent."""
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
    """Draw images next to their annotations, with a legend of the classes.

    Args:
        report: Report of the check.
        num_images: Maximum number of images.
        width: Width of the picture in pixels.

    Raises:
        SeamsegError: No image can be drawn.
    """
    categories = report.statistics.categories
    chosen = [report.shown[index] for index in choose_images([one.classes for one in report.shown], num_images)]
    if categories is None or not chosen:
        raise DataError(f"{report.root} contains no image that can be drawn; see the errors of the check")
    pictures = [AnnotatedPicture(f"{one.split}, {one.task.name}", _image(one), one.read(one.task)) for one in chosen]
    num_annotated = sum(split.annotated for split in report.statistics.splits)
    subtitle = f"{len(chosen)} of {num_annotated} images, {len(categories)} classes"
    return annotation_sheet(pictures, categories, report.root.resolve().name, subtitle, width)


def choose_images(classes: Sequence[NDArray[np.bool_]], number: int) -> list[int]:
    """Choose images that together show as many classes as possible.

    Each step picks the image that adds the most classes not seen yet, the first one in case of a tie. Once no remaining
    image adds a class, all classes count as unseen again.

    Args:
        classes: N bool per image; whether the image shows each class.
        number: Number of images to choose. If there are fewer images, all of them are chosen.

    Returns:
        The indices of the chosen images in ascending order.
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
    return read_image(shown.task.image_path, "stored", shown.task.size, "the annotation states")
