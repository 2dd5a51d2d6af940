"""The result of a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.annotation import Annotation
from seamseg.data.check.findings import Findings
from seamseg.data.check.split import ImageTask, SplitEntries
from seamseg.data.check.statistics import Statistics


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
    read: Callable[[ImageTask], Annotation]


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
    statistics: Statistics
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
