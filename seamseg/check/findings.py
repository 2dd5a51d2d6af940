"""Kinds of faults in a data set, and the collected findings of each kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    Attributes:
        name: Name of the kind in reports.
        is_error: Whether training would stop or learn something wrong. Other faults are warnings.
        meaning: One-line explanation without period; examples are listed below it.
    """

    name: str
    is_error: bool
    meaning: str


FAULT_KINDS = {
    kind.name: kind
    for kind in (
        FaultKind("unreadable-split", True, "the split cannot be read at all"),
        FaultKind("different-categories", True, "the categories of the split differ from those of the first split"),
        FaultKind("malformed-entry", True, "an entry lacks a key or has a value of the wrong type"),
        FaultKind("duplicate-image", True, "two images have the same id or the same file"),
        FaultKind("duplicate-annotation", True, "an image has two annotations"),
        FaultKind("annotation-without-image", True, "an annotation refers to an image that is not listed"),
        FaultKind("missing-image", True, "the image file does not exist"),
        FaultKind("broken-image", True, "the image file is damaged or is not an image"),
        FaultKind("image-size", True, "the image size differs from the size in its entry"),
        FaultKind("missing-png", True, "the PNG with segment ids does not exist"),
        FaultKind("broken-png", True, "the PNG with segment ids is damaged or has another format"),
        FaultKind("png-size", True, "the size of the PNG with segment ids differs from the size in the image's entry"),
        FaultKind("id-without-entry", True, "pixels have a segment id without an entry"),
        FaultKind("entry-without-pixels", True, "an entry has a segment id that no pixel has"),
        FaultKind("duplicate-id", True, "two segments of an image have the same id"),
        FaultKind("impossible-id", True, "the id of a segment is not in the range 1 … 2²⁴ − 1"),
        FaultKind("unknown-category", True, "the category of a segment is not listed"),
        FaultKind("wrong-area", True, "the area of a segment differs from its number of pixels"),
        FaultKind("wrong-box", True, "the box of a segment does not enclose its pixels tightly"),
        FaultKind("crowd-on-stuff", True, "a stuff segment is marked as crowd"),
        FaultKind("too-many-segments", True, "an image has more than 65,535 segments"),
        FaultKind("invalid-outline", True, "the outline of an object cannot be read"),
        FaultKind("invalid-box", True, "an object has neither an outline nor a valid box"),
        FaultKind("empty-image", True, "an image has no labeled pixels"),
        FaultKind("unreadable-annotation", True, "the annotation of an image is invalid"),
        FaultKind("swapped-size", False, "width and height of the entry are swapped; the size of the files is used"),
        FaultKind("dark-image", False, "the image uses only 12 of its 16 bits and is nearly black when read"),
        FaultKind("missing-measure", False, "a segment has no area or no box"),
        FaultKind("image-without-annotation", False, "an image has no annotation and is left out"),
        FaultKind("image-without-things", False, "no object is labeled in an image"),
        FaultKind("outline-outside", False, "an outline extends beyond its image; the part outside is ignored"),
        FaultKind("outline-without-pixels", False, "an outline covers no pixel; the object is left out"),
        FaultKind("outline-missing", False, "an object has a box but no outline, which task=instance requires"),
        FaultKind("box-differs", False, "the box of an object does not fit its outline, which training uses instead"),
        FaultKind("shared-image", False, "an image is in two splits"),
        FaultKind("unused-category", False, "no segment has this category"),
        FaultKind("stray-file", False, "a PNG with segment ids does not belong to any entry"),
    )
}
"""All kinds of faults by name, in the order of the report: errors first."""


@dataclass
class Cause:
    """One problem that several entries share.

    Attributes:
        number: Number of entries with the problem.
        where: Location of the first of these entries.
    """

    number: int
    where: str


@dataclass
class Findings:
    """Counts and first examples of each kind of fault.

    Attributes:
        limit: Maximum number of examples kept per kind. Further faults are counted only.
        counts: Number of faults by name of the kind.
        examples: Examples by name of the kind.
        causes: Shared problems by name of the kind and description, at most ``limit`` per kind.
    """

    limit: int
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    causes: dict[str, dict[str, Cause]] = field(default_factory=dict)

    def add(self, kind: str, example: str, number: int = 1) -> None:
        """Add a fault, or several faults with one example."""
        assert kind in FAULT_KINDS, kind
        self.counts[kind] += number
        kept = self.examples.setdefault(kind, [])
        if len(kept) < self.limit:
            kept.append(example)

    def add_cause(self, kind: str, problem: str, where: str, number: int = 1) -> None:
        """Add a fault that other entries are likely to share, so that it is described once with its count."""
        assert kind in FAULT_KINDS, kind
        self.counts[kind] += number
        kept = self.causes.setdefault(kind, {})
        if problem in kept:
            kept[problem].number += number
        elif len(kept) < self.limit:
            kept[problem] = Cause(number, where)

    def merge(self, others: Findings, where: str) -> None:
        """Add all findings of one location, and prefix their examples with it."""
        self.counts.update(others.counts)
        for kind, examples in others.examples.items():
            kept = self.examples.setdefault(kind, [])
            kept.extend(f"{where}: {example}" for example in examples[: self.limit - len(kept)])
        for kind, causes in others.causes.items():
            self.counts[kind] -= sum(cause.number for cause in causes.values())
            for problem, cause in causes.items():
                self.add_cause(kind, problem, f"{where}: {cause.where}" if cause.where else where, cause.number)

    @property
    def num_errors(self) -> int:
        """Number of faults that are errors."""
        return sum(number for kind, number in self.counts.items() if FAULT_KINDS[kind].is_error)

    @property
    def num_warnings(self) -> int:
        """Number of faults that are warnings."""
        return sum(self.counts.values()) - self.num_errors

    def by_kind(self) -> list[tuple[FaultKind, int, list[str]]]:
        """List the kinds of faults that were found with count and descriptions, errors first."""
        return [
            (kind, self.counts[name], self._descriptions(name))
            for name, kind in FAULT_KINDS.items()
            if self.counts[name]
        ]

    def num_described(self, kind: str) -> int:
        """Count the faults of a kind that its descriptions cover."""
        shared = sum(cause.number for cause in self.causes.get(kind, {}).values())
        return shared + len(self.examples.get(kind, []))

    def _descriptions(self, kind: str) -> list[str]:
        shared = [
            f"{cause.where}: {problem}"
            if cause.number == 1
            else f"{problem} ({cause.number:,} times, first in {cause.where})"
            for problem, cause in self.causes.get(kind, {}).items()
        ]
        return shared + self.examples.get(kind, [])
