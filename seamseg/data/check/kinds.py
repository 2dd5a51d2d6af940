"""The kinds of faults that a data set can have."""

from __future__ import annotations

from dataclasses import dataclass


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
        FaultKind("missing-image", True, "the photograph is not there"),
        FaultKind("broken-image", True, "the photograph is damaged, or no image"),
        FaultKind("image-size", True, "the photograph has another size than its entry says"),
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
        FaultKind("empty-image", True, "nothing in an image is labelled"),
        FaultKind("unreadable-annotation", True, "the annotation of an image is wrong"),
        FaultKind("swapped-size", False, "width and height of the entry are swapped; those of the two files count"),
        FaultKind("dark-image", False, "the photograph uses 12 of its 16 bits, and is nearly black when it is read"),
        FaultKind("missing-measure", False, "a segment has no area or no box"),
        FaultKind("image-without-annotation", False, "an image has no annotation, and is left out"),
        FaultKind("image-without-things", False, "no object is labelled in an image"),
        FaultKind("shared-image", False, "a photograph is in two splits"),
        FaultKind("unused-category", False, "no segment is of this category"),
        FaultKind("stray-file", False, "a file of segment ids belongs to no entry"),
    )
}
"""By their names, in the order of the report: errors first."""
