"""One side of a scoring as files: an annotation or somebody's results, in the COCO panoptic format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.category_match import CategoryMatch, match_categories
from seamseg.data.coco_index import coco_categories
from seamseg.data.coco_split import choose_folder, png_folders
from seamseg.data.json_fields import field, file_field, flag_field, image_id_field, load_object, short_text
from seamseg.data.panoptic_png import MAX_SEGMENT_ID
from seamseg.structures import VOID, Categories, ImageId
from seamseg.structures.categories import is_flag

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
