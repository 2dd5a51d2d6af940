"""The JSON file of a COCO panoptic split as checked, compact records."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.json_fields import field, load_object
from seamseg.data.panoptic_png import MAX_SEGMENT_ID
from seamseg.structures import Categories, Size


@dataclass(frozen=True, eq=False, slots=True)
class ImageRecord:
    """One annotated image.

    Attributes:
        image_id: the data set's own id.
        image_file: name of the photograph, relative to the folder of images.
        png_file: name of the file of segment ids, relative to the folder of PNGs.
        size: height and width as the JSON file states them.
        segment_ids: K int32, ids in the PNG, ascending, without 0.
        classes: K int64, their classes.
        crowd: K bool.
    """

    image_id: int
    image_file: str
    png_file: str
    size: Size
    segment_ids: NDArray[np.int32]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]


def read_index(path: Path) -> tuple[Categories, list[ImageRecord]]:
    """Reads an annotation file.

    Returns:
        The categories, and one record per annotation in the order of the file. Images without annotation are left out.

    Raises:
        ValueError: the file is not COCO panoptic, contradicts itself, has no annotations, no thing or no stuff class.
    """
    content = load_object(path)
    categories = _categories(field(content, "categories", list, str(path)), path)
    images = _images_by_id(field(content, "images", list, str(path)), path)
    records: dict[int, ImageRecord] = {}
    for position, entry in enumerate(field(content, "annotations", list, str(path))):
        record = _record(entry, f"{path}, annotation {position}", images, categories)
        if record.image_id in records:
            raise ValueError(f"{path}: image {record.image_id} has two annotations")
        records[record.image_id] = record
    if not records:
        raise ValueError(f"{path} holds no annotations")
    return categories, list(records.values())


def _categories(entries: list[Any], path: Path) -> Categories:
    for position, entry in enumerate(entries):
        for key, kind in (("id", int), ("name", str), ("isthing", int)):
            field(entry, key, kind, f"{path}, category {position}")
    try:
        categories = Categories.from_list(entries)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    for kind_name, number in (("thing", categories.num_things), ("stuff", categories.num_stuff)):
        if number == 0:
            raise ValueError(
                f"{path} has no {kind_name} category; panoptic segmentation needs at least one thing (isthing 1) "
                "and one stuff category (isthing 0)"
            )
    return categories


def _images_by_id(entries: list[Any], path: Path) -> dict[int, tuple[str, Size]]:
    images: dict[int, tuple[str, Size]] = {}
    for position, entry in enumerate(entries):
        image_id = field(entry, "id", int, f"{path}, image {position}")
        where = f"{path}, image {image_id}"
        if image_id in images:
            raise ValueError(f"{where}: two images have this id")
        size = field(entry, "height", int, where), field(entry, "width", int, where)
        if min(size) < 1:
            raise ValueError(f"{where}: a size of {size[0]}×{size[1]} (height×width) is impossible")
        images[image_id] = field(entry, "file_name", str, where), size
    return images


def _record(entry: Any, where: str, images: dict[int, tuple[str, Size]], categories: Categories) -> ImageRecord:
    image_id = field(entry, "image_id", int, where)
    if image_id not in images:
        raise ValueError(f"{where}: its image {image_id} is not among the images")
    where = f"{where} of image {image_id}"
    png_file = field(entry, "file_name", str, where)
    segments = [_segment(segment, where, categories) for segment in field(entry, "segments_info", list, where)]
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


def _segment(entry: Any, where: str, categories: Categories) -> tuple[int, int, bool]:
    """Id in the PNG, class, crowd."""
    segment_id = field(entry, "id", int, f"{where}, a segment")
    where = f"{where}, segment {segment_id}"
    if not 1 <= segment_id <= MAX_SEGMENT_ID:
        raise ValueError(f"{where}: ids of segments lie in 1 … {MAX_SEGMENT_ID}")
    category_id = field(entry, "category_id", int, where)
    if category_id not in categories.class_of_original_id:
        raise ValueError(f"{where}: its category_id {category_id} is not among the categories")
    crowd = bool(field(entry, "iscrowd", int, where))
    return segment_id, categories.class_of_original_id[category_id], crowd
