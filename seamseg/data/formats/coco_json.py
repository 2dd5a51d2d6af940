"""The only reader of COCO panoptic JSON files: compact records for training, scoring, submissions and reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.class_table import ClassTable, coco_categories, coco_classes, match_categories
from seamseg.data.formats.coco_entries import (
    RESULTS,
    TRAINING,
    TRUTH,
    ImageEntry,
    SegmentKeys,
    annotation_entries,
    image_entries,
    sound_segments,
)
from seamseg.data.formats.coco_files import choose_folder, png_folders
from seamseg.data.json_fields import field, file_field, image_id_field, load_object
from seamseg.data.png import MAX_SEGMENT_ID
from seamseg.errors import DataError
from seamseg.structures import VOID, Categories, ImageId, Size

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class ListedSegments:
    """One entry of ``annotations``; entry 0 of every array is void.

    Attributes:
        image_id: Id of the image in the data set.
        png_folder: Folder of the PNGs.
        png_file: Name of the PNG of segment ids, relative to that folder.
        ids: K + 1 ids in the PNG, in the order of the file; entry 0 is 0.
        classes: K + 1 classes; entry 0 and segments that count as void are 255.
        crowd: K + 1 bool, whether a segment covers many objects; all False in results.
        areas: K + 1 areas in pixels as stated by the file, −1 if not stated; empty if the file is read only for
            training.
        scores: K + 1 scores, NaN if not stated; empty if the file is read only for training.
    """

    image_id: ImageId
    png_folder: Path
    png_file: str
    ids: IntArray
    classes: IntArray
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def png(self) -> Path:
        """Path of the PNG of segment ids."""
        return self.png_folder / self.png_file


@dataclass(frozen=True, eq=False, slots=True)
class ImageRecord:
    """An annotated image.

    Attributes:
        image_file: Name of the image, relative to the folder of images.
        size: Height and width as stated by the file.
        segments: Entry of ``annotations`` for this image.
    """

    image_file: str
    size: Size
    segments: ListedSegments


@dataclass(frozen=True, eq=False)
class PanopticFiles:
    """A panoptic JSON file and its folder of PNGs.

    Attributes:
        json_file: Path of the JSON file.
        png_folder: Folder of the PNGs.
        categories: Categories of the segments.
        images: Segments by image id, in the order of the file.
        names: Names of the images by id; empty if the file has no ``images``.
        notes: Sentences on how the file's own categories differ from ``categories``.
    """

    json_file: Path
    png_folder: Path
    categories: Categories
    images: dict[ImageId, ListedSegments]
    names: dict[ImageId, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_index(
    path: Path,
    classes: Callable[[list[Any], Path], ClassTable] = coco_classes,
    folders: Sequence[Path] | None = None,
) -> tuple[Categories, list[ImageRecord]]:
    """Read an annotation file for training.

    Args:
        path: Path of the JSON file.
        classes: Function that makes the class table from the file's ``categories`` and its path.
        folders: Folders that may contain the PNGs, most likely first; None looks next to the JSON file.

    Returns:
        The categories, and one record per annotation in the order of the file. Images without annotation are left out.

    Raises:
        SeamsegError: The file is not panoptic, contradicts itself, has no annotations, names files outside of their
            folder, has no thing or no stuff class, or no PNG is found.
    """
    content = load_object(path)
    table = classes(field(content, "categories", list, str(path)), path)
    return table.categories, read_records(content, path, table, TRAINING, folders)


def open_annotation(json_file: Path, folder: Path | None) -> PanopticFiles:
    """Read an annotation file to score against.

    Args:
        json_file: Path of a file with ``categories`` and ``annotations``.
        folder: Folder of the PNGs; None looks next to the JSON file.

    Raises:
        SeamsegError: The file does not have this format, or no PNG is found.
    """
    content = load_object(json_file)
    categories = listed_categories(content, json_file)
    return _panoptic_files(content, json_file, folder, ClassTable(categories, categories.class_of_original_id), TRUTH)


def open_results(json_file: Path, folder: Path | None, categories: Categories) -> PanopticFiles:
    """Read results to score.

    The file only needs ``annotations``; crowd flags are ignored. Its own ``categories``, if it has any, are matched by
    name with those of the annotation.

    Args:
        json_file: Path of a file with ``annotations``.
        folder: Folder of the PNGs; None looks next to the JSON file.
        categories: Categories of the annotation.

    Raises:
        SeamsegError: The file does not have this format, names a category that the annotation lacks, or no PNG is
            found.
    """
    content = load_object(json_file)
    table = match_categories(content.get("categories"), categories, str(json_file))
    return _panoptic_files(content, json_file, folder, table, RESULTS)


def listed_categories(content: dict[str, Any], json_file: Path) -> Categories:
    """Return the categories of a file from its ``categories``.

    Raises:
        SeamsegError: There are none, or one of them is wrong.
    """
    return coco_categories(field(content, "categories", list, str(json_file)), json_file)


def read_records(
    content: dict[str, Any], path: Path, table: ClassTable, keys: SegmentKeys, folders: Sequence[Path] | None = None
) -> list[ImageRecord]:
    """Join ``annotations`` with ``images``.

    Args:
        content: JSON object of the file.
        path: Path of the file.
        table: Meaning of its category ids.
        keys: Keys to read from each segment.
        folders: Folders that may contain the PNGs, most likely first; None looks next to the JSON file.

    Returns:
        One record per annotation in the order of the file.

    Raises:
        SeamsegError: The file contradicts itself, has no annotations, names files outside of their folder, or no PNG is
            found.
    """
    images = images_by_id(field(content, "images", list, str(path)), path)
    folders = png_folders(path) if folders is None else folders
    records = []
    for position, segments in enumerate(listed_annotations(content, str(path), table, keys, folders).values()):
        image = images.get(segments.image_id)
        if image is None:
            raise DataError(f"{path}, annotation {position}: its image {segments.image_id} is not among the images")
        records.append(ImageRecord(image.file_name, image.size, segments))
    return records


def _panoptic_files(
    content: dict[str, Any], json_file: Path, folder: Path | None, table: ClassTable, keys: SegmentKeys
) -> PanopticFiles:
    if any(isinstance(one, dict) and "video_id" in one for one in field(content, "annotations", list, str(json_file))):
        raise DataError(f"{json_file} lists videos in VIPSeg's layout, not images; `seamseg score --video` reads it")
    folders = png_folders(json_file) if folder is None else [folder]
    images = listed_annotations(content, str(json_file), table, keys, folders)
    png_folder = next(iter(images.values())).png_folder
    return PanopticFiles(json_file, png_folder, table.categories, images, image_names(content, json_file), table.notes)


def listed_annotations(
    content: dict[str, Any], source: str, table: ClassTable, keys: SegmentKeys, folders: Sequence[Path]
) -> dict[ImageId, ListedSegments]:
    """Read ``annotations``.

    Args:
        content: JSON object with ``annotations``.
        source: Name of its file, for error messages.
        table: Meaning of its category ids.
        keys: Keys to read from each segment.
        folders: Folders that may contain the PNGs, most likely first.

    Returns:
        Segments by image id, in the order of the file; at least one.

    Raises:
        SeamsegError: An entry is wrong, two have the same image, there are none, or no PNG is found.
    """
    entries = list(annotation_entries(field(content, "annotations", list, source), source))
    if not entries:
        raise DataError(f"{source} contains no annotations")
    names = [entry.png_file for entry in entries]
    folder = choose_folder(folders, names, f"PNG files of {source}")
    images: dict[ImageId, ListedSegments] = {}
    for position, image_id, png_file, info in entries:
        if image_id in images:
            raise DataError(f"{source}: image {image_id} has two annotations")
        arrays = _arrays(info, table, keys)
        if arrays is None:
            sound_segments(info, table, keys, f"{source}, annotation {position} of image {image_id}")
            raise AssertionError(f"{source}: nothing is wrong with the segments of image {image_id}")
        images[image_id] = ListedSegments(image_id, folder, png_file, *arrays)
    return images


def image_names(content: dict[str, Any], json_file: Path) -> dict[ImageId, str]:
    """Return the names of the ``images`` of a COCO panoptic file by id.

    Args:
        content: Content of the file. Results often have no ``images``; the result is empty then.
        json_file: Path of the file, for error messages.

    Raises:
        SeamsegError: An entry has no id or no name, or two entries have the same id.
    """
    names: dict[ImageId, str] = {}
    for position, entry in enumerate(field(content, "images", list, str(json_file)) if "images" in content else []):
        image_id = image_id_field(entry, "id", f"{json_file}, image {position}")
        if image_id in names:
            raise DataError(f"{json_file} has two images with id {image_id}; make the ids unique")
        names[image_id] = file_field(entry, "file_name", f"{json_file}, image {image_id}")
    return names


def images_by_id(entries: list[Any], path: Path) -> dict[ImageId, ImageEntry]:
    """Return the ``images`` of a file by id.

    Raises:
        SeamsegError: An entry is wrong, or two share an id.
    """
    images: dict[ImageId, ImageEntry] = {}
    for entry in image_entries(entries, str(path)):
        if entry.image_id in images:
            raise DataError(f"{path}, image {entry.image_id}: two images have this id")
        images[entry.image_id] = entry
    return images


_Arrays = tuple[IntArray, IntArray, NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]
_NOT_READ = np.empty(0)


def _arrays(info: list[Any], table: ClassTable, keys: SegmentKeys) -> _Arrays | None:
    """Return ids, classes, crowd flags, areas and scores of void and all segments; None if any segment is wrong.

    Checking whole columns takes a fraction of the time of checking every entry.
    """
    try:
        ids = [0, *[segment["id"] for segment in info]]
        category_ids = [segment["category_id"] for segment in info]
        classes = [VOID, *[table.class_of_id[category_id] for category_id in category_ids]]
        crowd = [False, *[segment["iscrowd"] for segment in info]] if keys.crowd else [False] * len(ids)
        areas = scores = _NOT_READ
        if keys.measures:
            areas = np.array([-1.0, *[float(segment.get("area", -1)) for segment in info]])
            scores = np.array([0.0, *[float(segment.get("score", np.nan)) for segment in info]])
        sound = {*map(type, ids), *map(type, category_ids)} == {int} and {*crowd} <= {0, 1}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    if not sound or min(ids) < 0 or max(ids) > MAX_SEGMENT_ID or len(set(ids)) != len(ids):
        return None
    if table.crowd_ids:
        crowd = [False, *[flag or key in table.crowd_ids for flag, key in zip(crowd[1:], category_ids, strict=True)]]
    return np.array(ids, np.int64), np.array(classes, np.int64), np.array(crowd, np.bool_), areas, scores
