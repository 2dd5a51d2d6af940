"""Entries of a COCO panoptic JSON file, with a choice on faults: raise the first one or pass each to a collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from seamseg.data.formats.class_table import ClassTable
from seamseg.data.json_fields import field, file_field, flag_field, image_id_field, short_text
from seamseg.data.png import MAX_SEGMENT_ID
from seamseg.errors import DataError
from seamseg.structures import ImageId, Size


@dataclass(frozen=True)
class Fault:
    """A fault in one entry of a file.

    Attributes:
        kind: Kind of the fault, one of :data:`seamseg.check.findings.FAULT_KINDS`.
        place: Place in the file, stated by ids where these can be read.
        problem: Description of the fault, worded to follow the place and a colon.
        position: Index of the entry in its list.
        entry: Entry as it is in the file.
    """

    kind: str
    place: str
    problem: str
    position: int
    entry: Any


OnFault = Callable[[Fault], None]
"""Function that raises the fault, or records it so that reading continues with the next entry."""


def refuse(fault: Fault) -> None:
    """Raise the fault as an error: the strict policy."""
    raise DataError(f"{fault.place}: {fault.problem}")


class SegmentKeys(NamedTuple):
    """Keys read from each segment in addition to its id and category.

    Attributes:
        crowd: Whether ``iscrowd`` is required and read.
        measures: Whether ``area`` and ``score`` are read if present.
    """

    crowd: bool
    measures: bool


TRAINING, TRUTH, RESULTS = SegmentKeys(True, False), SegmentKeys(True, True), SegmentKeys(False, True)


class ImageEntry(NamedTuple):
    """Valid entry of ``images``: id, file name of the image, and height and width."""

    image_id: ImageId
    file_name: str
    size: Size


class AnnotationEntry(NamedTuple):
    """Valid entry of ``annotations``: index, image id, file name of the PNG, and unchecked segments."""

    position: int
    image_id: ImageId
    png_file: str
    segments_info: list[Any]


def image_entries(entries: list[Any], where: str, on_fault: OnFault = refuse) -> Iterator[ImageEntry]:
    """Read ``images`` one by one; entries with a fault are skipped.

    Args:
        entries: Unchecked list from the file.
        where: Name of the file, for faults.
        on_fault: Function called with each fault.
    """
    for position, entry in enumerate(entries):
        image_id: ImageId = position
        try:
            image_id = image_id_field(entry, "id", "")
            size = field(entry, "height", int, ""), field(entry, "width", int, "")
            if min(size) < 1:
                raise DataError(f"a size of {size[0]}×{size[1]} (height×width) is impossible")
            file_name = file_field(entry, "file_name", "")
        except ValueError as error:
            on_fault(_malformed(error, f"{where}, image {image_id}", position, entry))
        else:
            yield ImageEntry(image_id, file_name, size)


def annotation_entries(entries: list[Any], where: str, on_fault: OnFault = refuse) -> Iterator[AnnotationEntry]:
    """Read ``annotations`` one by one without their segments; entries with a fault are skipped.

    Args:
        entries: Unchecked list from the file.
        where: Name of the file, for faults.
        on_fault: Function called with each fault.
    """
    for position, entry in enumerate(entries):
        place = ""
        try:
            image_id = image_id_field(entry, "image_id", "")
            place = f" of image {image_id}"
            png_file, info = file_field(entry, "file_name", ""), field(entry, "segments_info", list, "")
        except ValueError as error:
            on_fault(_malformed(error, f"{where}, annotation {position}{place}", position, entry))
        else:
            yield AnnotationEntry(position, image_id, png_file, info)


def sound_segments(
    info: list[Any], table: ClassTable, keys: SegmentKeys, where: str, on_fault: OnFault = refuse
) -> list[dict[str, Any]]:
    """Return the usable entries of ``segments_info``; of several with the same id, only the first.

    A category that is not in the table is a fault, but its segment is still usable.

    Args:
        info: Unchecked list from the file.
        table: Meaning of category ids.
        keys: Keys to read from each segment.
        where: Place of the annotation in the file, for faults.
        on_fault: Function called with each fault.
    """
    sound: dict[int, dict[str, Any]] = {}
    for position, entry in enumerate(info):
        place = f"{where}, a segment"
        try:
            segment_id = field(entry, "id", int, "")
            place = f"{where}, segment {segment_id}"
            category_id = field(entry, "category_id", int, "")
            _check_keys(entry, keys)
        except ValueError as error:
            on_fault(_malformed(error, place, position, entry))
            continue
        if category_id not in table.class_of_id:
            name = f" ({table.names[category_id]!r})" if category_id in table.names else ""
            problem = f"its category_id {category_id}{name} is not among the categories of the annotation"
            on_fault(Fault("unknown-category", place, problem, position, entry))
        if not 1 <= segment_id <= MAX_SEGMENT_ID:
            on_fault(Fault("impossible-id", place, f"segment ids must be in 1 … {MAX_SEGMENT_ID}", position, entry))
        elif segment_id in sound:
            on_fault(Fault("duplicate-id", place, "two segments have this id", position, entry))
        else:
            sound[segment_id] = entry
    return list(sound.values())


def _check_keys(entry: dict[str, Any], keys: SegmentKeys) -> None:
    if keys.crowd:
        flag_field(entry, "iscrowd", "")
    for key in ("area", "score") if keys.measures else ():
        if key in entry and not _is_number(entry[key]):
            raise DataError(f"{key!r} is {short_text(entry[key])}, expected a number")


def _is_number(value: Any) -> bool:
    """Return whether the value fits into a 64-bit float, as every JSON number with a decimal point does."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1023)


def _malformed(error: ValueError, place: str, position: int, entry: Any) -> Fault:
    return Fault("malformed-entry", place, str(error).removeprefix(": "), position, entry)
