"""Validation of COCO detection data: outlines, boxes and categories of the objects."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from seamseg.check.findings import Findings
from seamseg.check.image import ImageReport, image_fits
from seamseg.check.split import Entries, ImageTask, first_folder_with_files
from seamseg.data.formats.coco_detection import (
    OutlinedObject,
    detection_files,
    in_layers,
    read_object,
    thing_categories,
)
from seamseg.data.formats.outlines import OutlineError, annotation_text, read_outline
from seamseg.data.images import size_text
from seamseg.data.json_fields import field, image_id_field, load_object, short_text
from seamseg.errors import SeamsegError
from seamseg.structures import Categories, ImageId, PanopticSegmentation, Size

TOLERANCE = 2.0
"""Distance in pixels by which stated boxes may differ from those of the outlines, and outlines extend beyond images."""


@dataclass(frozen=True)
class DetectionEntries:
    """Entries of a detection JSON file.

    Attributes:
        categories: Thing categories.
        tasks: Images in the order of the file, each with the annotations of its objects that have a known category.
        num_images: Number of entries under ``images``.
    """

    categories: Categories
    tasks: list[ImageTask]
    num_images: int


def read_detection_entries(root: Path, split: str, findings: Findings) -> DetectionEntries:
    """Read a JSON file; faults of single entries are added to the findings.

    Raises:
        SeamsegError: The file cannot be read at all, its categories are invalid, or it contains no images.
    """
    files = detection_files(root)[split]
    where = files.json_file.name
    content = load_object(files.json_file)
    images = field(content, "images", list, where)
    annotations = field(content, "annotations", list, where)
    categories, stuff = thing_categories(field(content, "categories", list, where), files.json_file)
    entries = Entries(where, findings)
    entries.add_images(images)
    objects = _objects_by_image(annotations, entries, categories.class_of_original_id.keys() | stuff)
    folder = first_folder_with_files(tuple(files.image_folders), [image.file_name for image in entries.images.values()])
    tasks = [
        ImageTask(
            index,
            image.file_name,
            folder / image.file_name,
            files.json_file,
            image.size,
            [entry for entry in objects[image.image_id] if entry["category_id"] not in stuff],
        )
        for index, image in enumerate(entries.images.values())
    ]
    return DetectionEntries(categories, tasks, len(images))


def _objects_by_image(annotations: list[Any], entries: Entries, known: set[int]) -> dict[ImageId, list[Any]]:
    objects: dict[ImageId, list[Any]] = defaultdict(list)
    for position, entry in enumerate(annotations):
        here = f"{entries.where}, annotation {position}"
        try:
            image_id, category_id = image_id_field(entry, "image_id", ""), field(entry, "category_id", int, "")
        except SeamsegError as error:
            entries.findings.add_cause("malformed-entry", str(error).removeprefix(": "), here)
            continue
        if category_id not in known:
            entries.findings.add_cause("unknown-category", f"there is no category {category_id}", here)
        elif image_id in entries.images:
            objects[image_id].append(entry)
        elif not {image_id, None} & entries.faulty_images:
            entries.findings.add("annotation-without-image", f"{here}: image {image_id}")
    return objects


@dataclass(frozen=True)
class DetectionChecker:
    """Checker for images of one split.

    Attributes:
        categories: Thing categories.
        limit: Maximum number of examples kept per kind of fault.
    """

    categories: Categories
    limit: int

    def __call__(self, task: ImageTask) -> ImageReport:
        """Check one image."""
        findings = Findings(self.limit)
        fits = image_fits(task, findings)
        objects = self._objects(task, findings)
        areas = np.array([int(run_lengths.area(one.counts)) for one in objects], np.int64)
        merged = run_lengths.merge([one.counts for one in objects]) if objects else None
        covered = 0 if merged is None else int(run_lengths.area(merged))
        if not task.segments:
            findings.add("image-without-things", "it has no annotation")
        return ImageReport(
            findings,
            fits,
            np.array([one.number for one in objects], np.int64),
            areas,
            np.array([one.crowd for one in objects], np.bool_),
            task.size,
            num_shared=int(areas.sum()) - covered,
        )

    def annotation(self, task: ImageTask) -> PanopticSegmentation:
        """Return the visible parts of the valid objects of an image."""
        return in_layers(self._objects(task, Findings(0)), task.size).flat

    def _objects(self, task: ImageTask, findings: Findings) -> list[OutlinedObject]:
        """Return the objects with a valid outline or box that covers a pixel, and add all faults to the findings."""
        found = []
        for entry in task.segments:
            one = self._object(entry, task.size, findings)
            if one is None:
                continue
            if not run_lengths.area(one.counts):
                findings.add("outline-without-pixels", annotation_text(entry))
                continue
            _compare_box(entry, one, findings)
            found.append(one)
        return found

    def _object(self, entry: dict[str, Any], size: Size, findings: Findings) -> OutlinedObject | None:
        outline = entry.get("segmentation")
        if not outline:
            findings.add_cause("outline-missing", "'segmentation' is missing or empty", annotation_text(entry))
        else:
            try:
                read_outline(outline, size, annotation_text(entry))
            except OutlineError as error:
                findings.add("invalid-outline", str(error))
                return None
            _find_outside(outline, size, annotation_text(entry), findings)
        try:
            return read_object(entry, size, self.categories)
        except SeamsegError as error:
            findings.add("malformed-entry" if outline else "invalid-box", str(error))
            return None


def _find_outside(outline: Any, size: Size, where: str, findings: Findings) -> None:
    """Report polygons that extend beyond the image by more than the tolerance."""
    if not isinstance(outline, list):
        return
    points = np.concatenate([np.asarray(part, np.float64).reshape(-1, 2) for part in outline if len(part) >= 6])
    beyond = max(float(-points.min()), *(points.max(axis=0) - size[::-1]).tolist())
    if beyond > TOLERANCE:
        findings.add("outline-outside", f"{where}: by {beyond:.0f} pixels beyond {size_text(size)} (height×width)")


def _compare_box(entry: dict[str, Any], one: OutlinedObject, findings: Findings) -> None:
    """Report a stated box that differs from that of the outline, for instance because it states two corners."""
    stated = entry.get("bbox")
    if stated is None or not entry.get("segmentation"):
        return
    x, y, width, height = run_lengths.toBbox(one.counts).tolist()
    edges = [x, y, x + width, y + height]
    try:
        left, top, across, down = (float(side) for side in stated)
        differs = not np.allclose([left, top, left + across, top + down], edges, rtol=0, atol=TOLERANCE)
    except (TypeError, ValueError, OverflowError):
        differs = True
    if differs:
        box = [round(side) for side in (x, y, width, height)]
        findings.add(
            "box-differs", f"{annotation_text(entry)}: the outline has the box {box}, not {short_text(stated)}"
        )
