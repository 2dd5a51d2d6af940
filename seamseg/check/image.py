"""Validation of one image: its files are compared with its entries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.check.findings import Findings
from seamseg.check.split import ImageTask
from seamseg.data.formats.class_table import ClassTable
from seamseg.data.formats.coco_entries import TRAINING, Fault, sound_segments
from seamseg.data.formats.coco_writer import SegmentMeasures, distinct_values, measure_segments
from seamseg.data.image_header import JPEG
from seamseg.data.image_size import has_swapped_size, image_size, size_beside
from seamseg.data.images import decode, read_bytes, size_text, uses_twelve_bits
from seamseg.data.json_fields import short_text
from seamseg.data.png import read_panoptic_png
from seamseg.errors import BrokenImageError
from seamseg.structures import VOID, PanopticSegmentation, Size

MOST_SEGMENTS = 65_535


@dataclass(frozen=True, eq=False)
class ImageReport:
    """Findings in one image.

    The arrays describe the K segments that have both pixels and an entry, except void segments. Objects of detection
    data may overlap.

    Attributes:
        findings: Faults of the image.
        readable: Whether both files exist and have the stated size.
        classes: Class of each segment, shape K.
        areas: Number of pixels of each segment, shape K.
        crowd: Crowd flag of each segment, shape K.
        size: Height and width of the image. If both files agree that the entry has swapped them, the size of the files.
        repaired: Entries with measured areas and boxes, without entries that have no pixels. None if nothing differs.
        num_shared: Sum of the areas minus the number of pixels that belong to any segment; 0 without overlaps.
    """

    findings: Findings
    readable: bool
    classes: NDArray[np.int64]
    areas: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    size: Size
    repaired: list[Any] | None = None
    num_shared: int = 0

    @property
    def labeled_pixels(self) -> int:
        """Number of pixels that belong to any segment."""
        return int(self.areas.sum()) - self.num_shared


@dataclass(frozen=True)
class ImageChecker:
    """Checker for images of one split.

    Attributes:
        table: Classes of the category ids.
        limit: Maximum number of examples kept per kind of fault.
    """

    table: ClassTable
    limit: int

    def __call__(self, task: ImageTask) -> ImageReport:
        """Check one image."""
        findings = Findings(self.limit)
        if has_swapped_size(task.image_path, task.png, task.size):
            findings.add_cause("swapped-size", "width and height are swapped", "")
            task = replace(task, size=task.size[::-1])
        fits = image_fits(task, findings)
        ids = _segment_ids(task, findings)
        stated = _stated_segments(task, self.table, findings)
        if len(task.segments) > MOST_SEGMENTS:
            findings.add("too-many-segments", f"{len(task.segments)} segments")
        if ids is None:
            none = np.zeros(0, np.int64)
            return ImageReport(findings, False, none, none, none.astype(np.bool_), task.size)
        measures = measure_segments(ids).without_void()
        _compare_ids(stated, measures, findings)
        _compare_measures(stated.segments, measures, findings)
        return self._report(task, stated, measures, findings, fits)

    def annotation(self, task: ImageTask) -> PanopticSegmentation:
        """Read the segments of an image; segments without a valid entry become void.

        Raises:
            BrokenImageError: The PNG cannot be read.
        """
        stated = _stated_segments(task, self.table, Findings(0)).segments
        values, positions = distinct_values(read_panoptic_png(task.png))
        known = [stated.get(value) for value in values.tolist()]
        # Segment 0 is void; ids that are void or have no entry are mapped to it.
        kept = [segment for segment in known if segment is not None and segment.number != VOID]
        numbers = {segment.id: number for number, segment in enumerate(kept, start=1)}
        ids = np.array([numbers.get(value, 0) for value in values.tolist()], np.int32)[positions]
        classes = torch.tensor([VOID, *(segment.number for segment in kept)])
        crowd = torch.tensor([False, *(segment.crowd for segment in kept)])
        return PanopticSegmentation(torch.from_numpy(ids), classes, crowd)

    def _report(
        self,
        task: ImageTask,
        stated: _Stated,
        measures: SegmentMeasures,
        findings: Findings,
        fits: bool,
    ) -> ImageReport:
        area_of = dict(zip(measures.ids.tolist(), measures.areas.tolist(), strict=True))
        present = [
            segment for number, segment in stated.segments.items() if number in area_of and segment.number != VOID
        ]
        classes = np.array([segment.number for segment in present], np.int64)
        crowd = np.array([segment.crowd for segment in present], np.bool_)
        if stated.faulty or any(not segment.known for segment in stated.segments.values()):
            pass  # the classes of some segments are unknown
        elif not present:
            findings.add("empty-image", "every pixel is void")
        elif not (classes >= self.table.categories.num_stuff).any():
            findings.add("image-without-things", f"{len(present)} stuff segments")
        areas = np.array([area_of[segment.id] for segment in present], np.int64)
        repaired = repaired_entries(task.segments, measures)
        return ImageReport(findings, fits, classes, areas, crowd, task.size, repaired)


@dataclass(frozen=True)
class _Segment:
    """An entry under ``segments_info``; the class is 255 if the category is void or unknown."""

    id: int
    number: int
    crowd: bool
    area: Any
    box: Any
    known: bool


@dataclass(frozen=True)
class _Stated:
    """The entries of an image.

    Attributes:
        segments: Valid entries by id.
        faulty: Ids of the entries that cannot be fully read. None stands for an id that cannot be read.
    """

    segments: dict[int, _Segment]
    faulty: set[int | None]


def image_fits(task: ImageTask, findings: Findings) -> bool:
    """Read an image completely, and return whether it has the stated size; otherwise, add the fault to the findings."""
    if not task.image_path.is_file():
        findings.add("missing-image", str(task.image_path))
        return False
    try:
        size = _image_size(task.image_path, findings)
        if size != task.size:
            size = size_beside(task.image_path, task.size)
    except BrokenImageError as error:
        findings.add("broken-image", error.reason)
        return False
    if size != task.size:
        findings.add("image-size", f"{size_text(size)} (height×width), not {size_text(task.size)}")
    return size == task.size


def _image_size(path: Path, findings: Findings) -> Size:
    """Decode an image completely, and return its height and width.

    A JPEG is decoded at one eighth of its size, which reads every compressed bit in half the time.
    """
    data = read_bytes(path)
    if data.startswith(JPEG):
        decode(path, data, cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION)
        return image_size(path)
    pixels = decode(path, data, cv2.IMREAD_UNCHANGED)
    if uses_twelve_bits(pixels):
        findings.add("dark-image", f"its maximum value is {pixels.max()} of 65535")
    return pixels.shape[0], pixels.shape[1]


def _segment_ids(task: ImageTask, findings: Findings) -> NDArray[np.int32] | None:
    """Read the H×W segment ids; return None if they are unusable."""
    if not task.png.is_file():
        findings.add("missing-png", str(task.png))
        return None
    try:
        ids = read_panoptic_png(task.png)
    except BrokenImageError as error:
        findings.add("broken-png", error.reason)
        return None
    if ids.shape != task.size:
        findings.add("png-size", f"{size_text(ids.shape)} (height×width), not {size_text(task.size)}")
        return None
    return ids


def _stated_segments(task: ImageTask, table: ClassTable, findings: Findings) -> _Stated:
    """Read the entries of an image, and add their faults to the findings."""
    faulty, malformed = set[int | None](), set[int]()

    def note(fault: Fault) -> None:
        number = fault.entry.get("id") if isinstance(fault.entry, dict) else None
        if fault.kind == "malformed-entry":
            findings.add_cause(fault.kind, fault.problem, f"segments_info {fault.position}")
            faulty.add(number if isinstance(number, int) else None)
            malformed.add(fault.position)
        elif fault.kind == "unknown-category":
            category = fault.entry["category_id"]
            findings.add_cause(fault.kind, f"there is no category {category}", f"segment {number}")
        else:
            findings.add(fault.kind, f"segment {number}")

    sound = sound_segments(task.segments, table, TRAINING, "", note)
    _find_crowds_of_stuff([one for i, one in enumerate(task.segments) if i not in malformed], table, findings)
    return _Stated({entry["id"]: _segment(entry, table) for entry in sound}, faulty)


def _find_crowds_of_stuff(entries: list[dict[str, Any]], table: ClassTable, findings: Findings) -> None:
    for entry in entries:
        number = table.class_of_id.get(entry["category_id"], VOID)
        if entry["iscrowd"] and number < table.categories.num_stuff:
            name = table.categories.classes[number].name
            findings.add_cause("crowd-on-stuff", f"a {name} segment is marked as crowd", f"segment {entry['id']}")


def _segment(entry: dict[str, Any], table: ClassTable) -> _Segment:
    category = entry["category_id"]
    crowd = bool(entry["iscrowd"]) or category in table.crowd_ids
    number, known = table.class_of_id.get(category, VOID), category in table.class_of_id
    return _Segment(entry["id"], number, crowd, entry.get("area"), entry.get("bbox"), known)


def _compare_ids(stated: _Stated, measures: SegmentMeasures, findings: Findings) -> None:
    present = dict(zip(measures.ids.tolist(), measures.areas.tolist(), strict=True))
    for number, area in present.items():
        if number not in stated.segments and not {number, None} & stated.faulty:
            findings.add("id-without-entry", f"{area} pixels have the id {number}")
    for number in stated.segments:
        if number not in present:
            findings.add("entry-without-pixels", f"segment {number}")


def _compare_measures(stated: dict[int, _Segment], measures: SegmentMeasures, findings: Findings) -> None:
    rows = zip(measures.ids.tolist(), measures.areas.tolist(), measures.coco_boxes().tolist(), strict=True)
    for number, area, box in rows:
        segment = stated.get(number)
        if segment is None:
            continue
        missing = [what for what, value in (("area", segment.area), ("box", segment.box)) if value in (None, [])]
        if missing:
            findings.add_cause("missing-measure", f"there is no {' and no '.join(missing)}", f"segment {number}")
        if segment.area is not None and not _is_list_of([segment.area], [area]):
            findings.add("wrong-area", f"segment {number} has {area} pixels, not {short_text(segment.area)}")
        if segment.box not in (None, []) and not _is_list_of(segment.box, box):
            findings.add("wrong-box", f"segment {number} has the box {box}, not {short_text(segment.box)}")


def repaired_entries(segments: list[Any], measures: SegmentMeasures) -> list[Any] | None:
    """Replace areas and boxes in ``segments_info`` by the measured ones, and drop entries without pixels.

    Returns:
        The new entries, or None if nothing changed. Malformed entries without an integer id stay unchanged.
    """
    rows = zip(measures.areas.tolist(), measures.coco_boxes().tolist(), strict=True)
    measured = dict(zip(measures.ids.tolist(), rows, strict=True))
    repaired = []
    for entry in segments:
        number = entry.get("id") if isinstance(entry, dict) else None
        if type(number) is not int:
            repaired.append(entry)
        elif number in measured:
            area, box = measured[number]
            repaired.append(entry | {"area": area, "bbox": box})
    return None if repaired == segments else repaired


def _is_list_of(stated: Any, measured: list[int]) -> bool:
    """Whether a value from a file is a list of exactly these numbers."""
    if not isinstance(stated, list) or len(stated) != len(measured):
        return False
    return all(_is_number(value) and value == number for value, number in zip(stated, measured, strict=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
