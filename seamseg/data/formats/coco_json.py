"""The JSON file of a panoptic split as checked, compact records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.category_match import CategoryMatch, match_categories
from seamseg.data.formats.coco_files import choose_folder, png_folders
from seamseg.data.json_fields import field, file_field, flag_field, image_id_field, load_object, short_text
from seamseg.data.png import MAX_SEGMENT_ID
from seamseg.structures import VOID, Categories, ImageId, Size
from seamseg.structures.categories import is_flag


@dataclass(frozen=True, eq=False, slots=True)
class ImageRecord:
    """One annotated image.

    Attributes:
        image_id: the data set's own id.
        image_file: name of the photograph, relative to the folder of images.
        png_file: name of the file of segment ids, relative to the folder of PNGs.
        size: height and width as the JSON file states them.
        segment_ids: K int32, ids in the PNG, ascending, without 0.
        classes: K int64, their classes; 255 for segments that count as void.
        crowd: K bool.
    """

    image_id: ImageId
    image_file: str
    png_file: str
    size: Size
    segment_ids: NDArray[np.int32]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class ClassTable:
    """What the category ids of an annotation file stand for.

    Attributes:
        categories: of the data set.
        class_of_id: the class of every category id that may occur; 255 for those that count as void.
        crowd_ids: category ids whose segments are crowd, whatever their ``iscrowd`` says.
    """

    categories: Categories
    class_of_id: Mapping[int, int]
    crowd_ids: frozenset[int] = frozenset()


def coco_classes(entries: list[Any], path: Path) -> ClassTable:
    """The table of a COCO panoptic file, from its own ``categories``.

    Args:
        entries: ``categories`` as they stand in the file.
        path: of the file, for errors.

    Raises:
        ValueError: an entry is wrong, two contradict each other, or there is no thing or no stuff class.
    """
    categories = coco_categories(entries, path)
    check_both_kinds(categories, f"{path} has no {{}} category", "isthing 1", "isthing 0")
    return ClassTable(categories, categories.class_of_original_id)


def coco_categories(entries: list[Any], path: Path) -> Categories:
    """The categories of a COCO panoptic file, of one kind or both.

    Args:
        entries: ``categories`` as they stand in the file.
        path: of the file, for errors.

    Raises:
        ValueError: an entry is wrong, or two contradict each other.
    """
    for position, entry in enumerate(entries):
        where = f"{path}, category {position}"
        field(entry, "id", int, where)
        field(entry, "name", str, where)
        flag_field(entry, "isthing", where)
    try:
        return Categories.from_list(entries)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def check_both_kinds(categories: Categories, sentence: str, thing: str, stuff: str) -> None:
    """Looks whether there are things and stuff.

    Args:
        categories: of the data set.
        sentence: what is wrong, with ``{}`` in the place of thing or stuff.
        thing, stuff: how the data set marks the two.

    Raises:
        ValueError: one kind is missing.
    """
    for kind_name, number in (("thing", categories.num_things), ("stuff", categories.num_stuff)):
        if number == 0:
            raise ValueError(
                f"{sentence.format(kind_name)}; panoptic segmentation needs at least one thing ({thing}) "
                f"and one stuff category ({stuff})"
            )


def read_index(
    path: Path, classes: Callable[[list[Any], Path], ClassTable] = coco_classes
) -> tuple[Categories, list[ImageRecord]]:
    """Reads an annotation file.

    Args:
        path: of the JSON file.
        classes: makes the table of classes from the file's ``categories`` and its path.

    Returns:
        The categories, and one record per annotation in the order of the file. Images without annotation are left out.

    Raises:
        ValueError: the file is not panoptic, contradicts itself, has no annotations, names files outside of their
            folder, or has no thing or no stuff class.
    """
    content = load_object(path)
    table = classes(field(content, "categories", list, str(path)), path)
    images = images_by_id(field(content, "images", list, str(path)), path)
    records: dict[ImageId, ImageRecord] = {}
    for position, entry in enumerate(field(content, "annotations", list, str(path))):
        record = _record(entry, f"{path}, annotation {position}", images, table)
        if record.image_id in records:
            raise ValueError(f"{path}: image {record.image_id} has two annotations")
        records[record.image_id] = record
    if not records:
        raise ValueError(f"{path} holds no annotations")
    return table.categories, list(records.values())


def images_by_id(entries: list[Any], path: Path) -> dict[ImageId, tuple[str, Size]]:
    """Name of the photograph, height and width of every image.

    Args:
        entries: ``images`` as they stand in the file.
        path: of the file, for errors.

    Raises:
        ValueError: an entry is wrong, or two share an id.
    """
    images: dict[ImageId, tuple[str, Size]] = {}
    for position, entry in enumerate(entries):
        image_id = image_id_field(entry, "id", f"{path}, image {position}")
        where = f"{path}, image {image_id}"
        if image_id in images:
            raise ValueError(f"{where}: two images have this id")
        size = field(entry, "height", int, where), field(entry, "width", int, where)
        if min(size) < 1:
            raise ValueError(f"{where}: a size of {size[0]}×{size[1]} (height×width) is impossible")
        images[image_id] = file_field(entry, "file_name", where), size
    return images


def _record(entry: Any, where: str, images: dict[ImageId, tuple[str, Size]], table: ClassTable) -> ImageRecord:
    image_id = image_id_field(entry, "image_id", where)
    if image_id not in images:
        raise ValueError(f"{where}: its image {image_id} is not among the images")
    where = f"{where} of image {image_id}"
    png_file = file_field(entry, "file_name", where)
    segments = [_segment(segment, where, table) for segment in field(entry, "segments_info", list, where)]
    segments.sort()
    ids = [segment[0] for segment in segments]
    for first, second in pairwise(ids):
        if first == second:
            raise ValueError(f"{where}: two segments have the id {first}")
    image_file, size = images[image_id]
    return ImageRecord(
        image_id,
        image_file,
        png_file,
        size,
        segment_ids=np.array(ids, dtype=np.int32),
        classes=np.array([segment[1] for segment in segments], dtype=np.int64),
        crowd=np.array([segment[2] for segment in segments], dtype=np.bool_),
    )


def _segment(entry: Any, where: str, table: ClassTable) -> tuple[int, int, bool]:
    """Id in the PNG, class, crowd."""
    segment_id = field(entry, "id", int, f"{where}, a segment")
    where = f"{where}, segment {segment_id}"
    if not 1 <= segment_id <= MAX_SEGMENT_ID:
        raise ValueError(f"{where}: ids of segments lie in 1 … {MAX_SEGMENT_ID}")
    category_id = field(entry, "category_id", int, where)
    if category_id not in table.class_of_id:
        raise ValueError(f"{where}: its category_id {category_id} is not among the categories")
    crowd = flag_field(entry, "iscrowd", where) or category_id in table.crowd_ids
    return segment_id, table.class_of_id[category_id], crowd


IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class ListedSegments:
    """What a JSON file says of one image; entry 0 of every array is void.

    Attributes:
        image_id: the data set's own id.
        png: the file of segment ids.
        ids: K+1, ids in the PNG, in the order of the file; entry 0 is 0.
        classes: K+1, entry 0 is 255.
        crowd: K+1 bool, segments that stand for many objects; none in results.
        areas: K+1 pixels as the file states them, −1 where it says nothing.
        scores: K+1, NaN where the file says nothing.
    """

    image_id: ImageId
    png: Path
    ids: IntArray
    classes: IntArray
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PanopticFiles:
    """A JSON file and its folder of PNGs.

    Attributes:
        json_file: where it is.
        png_folder: Folder of the PNGs.
        categories: of its segments.
        images: by their ids, in the order of the file.
        notes: Sentences on how the file's own categories differ from ``categories``.
    """

    json_file: Path
    png_folder: Path
    categories: Categories
    images: dict[ImageId, ListedSegments]
    notes: tuple[str, ...] = ()


def open_annotation(json_file: Path, folder: Path | None) -> PanopticFiles:
    """The true side.

    Args:
        json_file: with ``categories`` and ``annotations``.
        folder: of the PNGs; None is the folder named like the file, without ``.json``.

    Raises:
        ValueError: the file is not of that format, or no PNG is found.
    """
    content = load_object(json_file)
    return listed_images(content, json_file, folder, listed_categories(content, json_file), true=True)


def open_results(json_file: Path, folder: Path | None, categories: Categories) -> PanopticFiles:
    """The predicted side; the file needs no more than ``annotations``, and its crowd flags mean nothing.

    Its own ``categories``, if it has any, are matched with those of the annotation by name.

    Args:
        json_file: with ``annotations``.
        folder: of the PNGs; None is the folder named like the file, without ``.json``.
        categories: of the annotation.

    Raises:
        ValueError: the file is not of that format, names a category that the annotation lacks, or no PNG is found.
    """
    content = load_object(json_file)
    match = match_categories(content.get("categories"), categories, str(json_file))
    return listed_images(content, json_file, folder, categories, true=False, match=match)


def listed_categories(content: dict[str, Any], json_file: Path) -> Categories:
    """The ``categories`` of a file.

    Raises:
        ValueError: there are none, or one of them is wrong.
    """
    return coco_categories(field(content, "categories", list, str(json_file)), json_file)


def listed_images(
    content: dict[str, Any],
    json_file: Path,
    folder: Path | None,
    categories: Categories,
    true: bool,
    match: CategoryMatch | None = None,
) -> PanopticFiles:
    """The ``annotations`` of a file.

    Args:
        content: of the file.
        json_file, folder, categories: as :func:`open_results`.
        true: whether crowd flags are needed and mean something.
        match: What the file's category ids mean; None if they are the ids of ``categories``.

    Raises:
        ValueError: as :func:`open_results`.
    """
    entries = field(content, "annotations", list, str(json_file))
    if not entries:
        raise ValueError(f"{json_file} holds no annotations")
    names = [file_field(entry, "file_name", f"{json_file}, annotation {i}") for i, entry in enumerate(entries)]
    folders = png_folders(json_file) if folder is None else [folder]
    chosen = choose_folder(folders, names, f"PNG files of {json_file}")
    match = match or CategoryMatch(categories.class_of_original_id, {})
    images: dict[ImageId, ListedSegments] = {}
    for position, (entry, name) in enumerate(zip(entries, names, strict=True)):
        image_id = image_id_field(entry, "image_id", f"{json_file}, annotation {position}")
        where = f"{json_file}, image {image_id}"
        if image_id in images:
            raise ValueError(f"{where} has two annotations")
        info = field(entry, "segments_info", list, where)
        images[image_id] = _listed(info, where, image_id, chosen / name, match, true)
    return PanopticFiles(json_file, chosen, categories, images, match.notes)


def _listed(
    info: list[Any], where: str, image_id: ImageId, png: Path, match: CategoryMatch, true: bool
) -> ListedSegments:
    class_of = match.class_of
    try:
        ids = [0, *(segment["id"] for segment in info)]
        classes = [VOID, *(class_of[segment["category_id"]] for segment in info)]
        crowd = [False, *(segment["iscrowd"] if true else False for segment in info)]
        areas = [-1.0, *(float(segment.get("area", -1)) for segment in info)]
        scores = [0.0, *(float(segment.get("score", np.nan)) for segment in info)]
        sound = all(type(segment) is int and 0 <= segment <= MAX_SEGMENT_ID for segment in ids)
        sound = sound and all(map(is_flag, crowd))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound or len(set(ids)) != len(ids):
        _explain(info, where, match, true)
    return ListedSegments(
        image_id,
        png,
        np.array(ids, dtype=np.int64),
        np.array(classes, dtype=np.int64),
        np.array(crowd, dtype=np.bool_),
        np.array(areas, dtype=np.float64),
        np.array(scores, dtype=np.float64),
    )


def _explain(info: list[Any], where: str, match: CategoryMatch, true: bool) -> None:
    """Raises for the first thing that is wrong with a list of segments, of which something is."""
    seen: set[int] = set()
    for segment in info:
        segment_id = field(segment, "id", int, f"{where}, a segment")
        at = f"{where}, segment {segment_id}"
        if not 1 <= segment_id <= MAX_SEGMENT_ID:
            raise ValueError(f"{at}: ids of segments lie in 1 … {MAX_SEGMENT_ID}")
        if segment_id in seen:
            raise ValueError(f"{at}: two segments have this id")
        seen.add(segment_id)
        category_id = field(segment, "category_id", int, at)
        if category_id not in match.class_of:
            name = f" ({match.names[category_id]!r})" if category_id in match.names else ""
            raise ValueError(f"{at}: its category_id {category_id}{name} is not among the categories of the annotation")
        if true:
            flag_field(segment, "iscrowd", at)
        for key in ("area", "score"):
            if key in segment and not _is_number(segment[key]):
                raise ValueError(f"{at}: {key!r} is {short_text(segment[key])}, expected a number")
    raise AssertionError(f"{where}: nothing is wrong with its segments")


def _is_number(value: Any) -> bool:
    """Whether it fits into 64 bits of floating point, as everything from JSON with a point does."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1023)
