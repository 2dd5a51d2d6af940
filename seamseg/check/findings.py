"""Kinds of faults in a data set, and what was found of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FaultKind:
    """One kind.

    Attributes:
        name: as the report calls it.
        is_error: whether training would stop or learn something wrong; otherwise it is worth knowing.
        meaning: a sentence without its subject, the examples name that.
    """

    name: str
    is_error: bool
    meaning: str


FAULT_KINDS = {
    kind.name: kind
    for kind in (
        FaultKind("unreadable-split", True, "cannot be read at all"),
        FaultKind("different-categories", True, "has other categories than the first split"),
        FaultKind("malformed-entry", True, "an entry lacks a key, or holds a value of the wrong type"),
        FaultKind("duplicate-image", True, "two images have the same id or the same file"),
        FaultKind("duplicate-annotation", True, "an image has two annotations"),
        FaultKind("annotation-without-image", True, "an annotation speaks of an image that is not listed"),
        FaultKind("missing-image", True, "the image is not there"),
        FaultKind("broken-image", True, "the image is damaged, or no image"),
        FaultKind("image-size", True, "the image has another size than its entry says"),
        FaultKind("missing-png", True, "the file of segment ids is not there"),
        FaultKind("broken-png", True, "the file of segment ids is damaged, or of another kind"),
        FaultKind("png-size", True, "the file of segment ids has another size than the entry of the image says"),
        FaultKind("id-without-entry", True, "pixels have an id that the entries do not describe"),
        FaultKind("entry-without-pixels", True, "an entry describes an id that no pixel has"),
        FaultKind("duplicate-id", True, "two segments of an image have the same id"),
        FaultKind("impossible-id", True, "the id of a segment does not lie in 1 … 2²⁴ − 1"),
        FaultKind("unknown-category", True, "a segment is of a category that is not listed"),
        FaultKind("wrong-area", True, "the area of a segment is not its number of pixels"),
        FaultKind("wrong-box", True, "the box of a segment is not the tight one"),
        FaultKind("crowd-on-stuff", True, "a stuff segment is marked as crowd"),
        FaultKind("too-many-segments", True, "an image has more than 65 535 segments"),
        FaultKind("empty-image", True, "nothing in an image is labeled"),
        FaultKind("unreadable-annotation", True, "the annotation of an image is wrong"),
        FaultKind("swapped-size", False, "width and height of the entry are swapped; those of the two files count"),
        FaultKind("dark-image", False, "the image uses 12 of its 16 bits, and is nearly black when it is read"),
        FaultKind("missing-measure", False, "a segment has no area or no box"),
        FaultKind("image-without-annotation", False, "an image has no annotation, and is left out"),
        FaultKind("image-without-things", False, "no object is labeled in an image"),
        FaultKind("shared-image", False, "an image is in two splits"),
        FaultKind("unused-category", False, "no segment is of this category"),
        FaultKind("stray-file", False, "a file of segment ids belongs to no entry"),
    )
}
"""By their names, in the order of the report: errors first."""


@dataclass
class Cause:
    """One problem that several entries share.

    Attributes:
        number: Number of entries that have it.
        where: Place of the first of them.
    """

    number: int
    where: str


@dataclass
class Findings:
    """How often each kind of fault was found, and the first examples.

    Attributes:
        limit: examples that are kept of each kind; more faults than that take no memory.
        counts, examples: by the name of the kind.
        causes: Shared problems by kind and description; at most ``limit`` of each kind.
    """

    limit: int
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    causes: dict[str, dict[str, Cause]] = field(default_factory=dict)

    def add(self, kind: str, example: str, number: int = 1) -> None:
        """Notes a fault, or several of which one is told."""
        assert kind in FAULT_KINDS, kind
        self.counts[kind] += number
        kept = self.examples.setdefault(kind, [])
        if len(kept) < self.limit:
            kept.append(example)

    def add_cause(self, kind: str, problem: str, where: str, number: int = 1) -> None:
        """Notes a fault that other entries are likely to have, too: it is described once, with their number."""
        assert kind in FAULT_KINDS, kind
        self.counts[kind] += number
        kept = self.causes.setdefault(kind, {})
        if problem in kept:
            kept[problem].number += number
        elif len(kept) < self.limit:
            kept[problem] = Cause(number, where)

    def merge(self, others: Findings, where: str) -> None:
        """Takes over what was found at some place, which the examples then name."""
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
        return sum(number for kind, number in self.counts.items() if FAULT_KINDS[kind].is_error)

    @property
    def num_warnings(self) -> int:
        return sum(self.counts.values()) - self.num_errors

    def by_kind(self) -> list[tuple[FaultKind, int, list[str]]]:
        """Kind, number and descriptions of what was found, errors first."""
        return [
            (kind, self.counts[name], self._descriptions(name))
            for name, kind in FAULT_KINDS.items()
            if self.counts[name]
        ]

    def num_described(self, kind: str) -> int:
        """Number of faults that the descriptions of a kind cover."""
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
