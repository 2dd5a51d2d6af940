"""The JSON file of a panoptic split as checked, compact records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.json_fields import field, file_field, flag_field, image_id_field, load_object
from seamseg.data.panoptic_png import MAX_SEGMENT_ID
from seamseg.structures import Categories, ImageId, Size


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
