"""COCO detection files: their outlines, images and categories, read for conversion."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pycocotools import mask as run_lengths

from seamseg.data.formats.class_table import coco_classes
from seamseg.data.images import size_text
from seamseg.data.input_folder import existing_suffix, unique_stems
from seamseg.data.json_fields import field, file_field, image_id_field, load_object, short_text
from seamseg.errors import DataError, SeamsegError
from seamseg.structures import Categories, ImageId, Size

WithoutOutline = Literal["error", "skip", "box"]
"""What becomes of an annotation whose outline cannot be used: an error, nothing, or its box instead."""

WITHOUT_OUTLINE_HINT = "--without-outline skip leaves such objects out, --without-outline box takes their boxes"


def read_outline(shape: Any, size: Size, where: str) -> dict[str, Any]:
    """The compressed run lengths of an object, as pycocotools takes them.

    pycocotools believes what it is given: polygons far outside of the image take all memory, and of pixels that no run
    covers it returns whatever the memory held before. So all is checked here.

    Args:
        shape: ``segmentation`` of an annotation.
        size: height and width of the image.
        where: of the annotation, for errors.

    Raises:
        SeamsegError: it is none of the three forms, does not cover the image, or leads out of it.
    """
    try:
        return dict(_polygons(shape, size) if isinstance(shape, list) else _runs(shape, size))
    except (TypeError, ValueError, OverflowError) as error:  # the last ones come from pycocotools
        raise DataError(f"{where}: its segmentation is wrong ({error}); {WITHOUT_OUTLINE_HINT}") from error


def replace_outlines(
    objects: list[dict[str, Any]], size: Size, instead: WithoutOutline
) -> tuple[list[dict[str, Any]], int]:
    """Annotations that all have an outline, and the number of those that had none.

    Args:
        objects: COCO annotations of one image.
        size: Height and width of the image.
        instead: What becomes of the others; "error" leaves them to :func:`read_outline`.

    Raises:
        SeamsegError: ``instead`` is "box", and an annotation has no box either.
    """
    if instead == "error":
        return objects, 0
    kept, num_replaced = [], 0
    for entry in objects:
        try:
            read_outline(entry.get("segmentation"), size, "")
        except SeamsegError:
            num_replaced += 1
            if instead == "skip":
                continue
            entry = entry | {"segmentation": [_box_polygon(entry.get("bbox"), size, annotation_text(entry))]}
        kept.append(entry)
    return kept, num_replaced


def annotation_text(entry: dict[str, Any]) -> str:
    """How errors call an annotation."""
    return f"the annotation {entry.get('id', 'without id')} of image {entry.get('image_id')}"


def _polygons(shape: list[Any], size: Size) -> Any:
    if not shape:
        raise DataError("it is empty")
    if all(isinstance(part, int | float) for part in shape):
        raise DataError(f"it is a flat list of {len(shape)} numbers, expected a list of polygons: [[x, y, x, y, …]]")
    for part in shape:
        if not isinstance(part, list):
            raise DataError(f"a polygon is {short_text(part)}, expected a list of numbers")
    polygons = [_checked_polygon(part, size) for part in shape if len(part) >= 6]
    if not polygons:
        raise DataError("none of its polygons has three corners")
    return run_lengths.merge(run_lengths.frPyObjects(polygons, *size))


def _runs(shape: Any, size: Size) -> Any:
    if shape is None:
        raise DataError("it is null")
    if not isinstance(shape, dict) or "size" not in shape or "counts" not in shape:
        raise DataError(f"it is {short_text(shape)}, expected polygons, or run lengths with 'size' and 'counts'")
    stated, counts = shape["size"], shape["counts"]
    if not isinstance(stated, list) or [type(side) for side in stated] != [int, int]:
        raise DataError(f"its 'size' is {short_text(stated)}, expected height and width")
    if tuple(stated) != tuple(size):
        raise DataError(f"it is {size_text(tuple(stated))}, its image {size_text(size)} (height×width)")
    if not isinstance(counts, str) and not (isinstance(counts, list) and all(type(run) is int for run in counts)):
        raise DataError(f"its 'counts' are {short_text(counts)}, expected a text or a list of whole numbers")
    runs = counts if isinstance(counts, list) else uncompressed(counts)
    if sum(runs) != size[0] * size[1] or min(runs) < 0:
        raise DataError(f"its runs do not cover {size_text(size)} pixels")
    return run_lengths.frPyObjects({"size": list(size), "counts": runs}, *size)


def _box_polygon(box: Any, size: Size, where: str) -> list[float]:
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(side) for side in box) or min(box[2:]) <= 0:
        raise DataError(
            f"{where} has no usable outline, and its 'bbox' is {short_text(box)}, expected x, y, width, height"
        )
    x, y, width, height = box
    try:
        return _checked_polygon([x, y, x + width, y, x + width, y + height, x, y + height], size)
    except SeamsegError as error:
        raise DataError(f"{where}: its 'bbox' is wrong ({error})") from error


def _checked_polygon(points: list[Any], size: Size) -> list[float]:
    """Some annotators draw a little beyond the edge; nobody draws a whole image beyond it."""
    reach = 2 * max(size)
    if len(points) % 2:
        raise DataError("a polygon has an odd number of coordinates")
    if not all(_is_finite(point) and abs(point) <= reach for point in points):
        raise DataError(f"a corner of a polygon is no number or lies far outside of {size_text(size)} pixels")
    return points


def _is_finite(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def uncompressed(text: str) -> list[int]:
    """The runs behind COCO's short form: digits of five bits, lowest first, and differences from the third run on.

    Raises:
        SeamsegError: a character does not belong there, or the last number has no end.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 50:
            raise DataError(f"{character!r} is out of place in its run lengths")
        number |= (digit & 0x1F) << shift
        shift += 5
        if digit & 0x20:  # goes on
            continue
        number -= (digit & 0x10) << (shift - 4)  # the sign
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    if shift or not runs:
        raise DataError("its run lengths end too early")
    return runs


@dataclass(frozen=True)
class DetectionImage:
    """One image and its objects.

    Attributes:
        image_id: the source's.
        image_file: name of the image below its folder.
        size: height and width as the JSON file states them.
        image: file.
        png_file: Name of the PNG in the result; each image has its own.
        stuff_map: file of stuff values; None where stuff comes as annotations, or not at all.
        objects: the image's annotations as JSON, which takes less memory than the parsed ones.
    """

    image_id: ImageId
    image_file: str
    size: Size
    image_path: Path
    png_file: str
    stuff_map: Path | None
    objects: bytes

    @property
    def name(self) -> str:
        return self.image_file

    @property
    def sources(self) -> Sequence[Path]:
        return (self.image_path,) if self.stuff_map is None else (self.image_path, self.stuff_map)


def read_detection(
    path: Path, images: Path, stuff_maps: Path | None, without_outlines: bool = False
) -> list[DetectionImage]:
    """The images of a COCO detection file, in its order, those without objects too.

    Args:
        path: of the JSON file, such as ``instances_train2017.json``.
        images: folder of the images.
        stuff_maps: folder of PNG files named like the images.
        without_outlines: Whether annotations may lack the key ``segmentation``.

    Raises:
        SeamsegError: the file is not of that form, or contradicts itself.
    """
    content = load_object(path)
    objects = _objects_by_image(content, path, without_outlines)
    entries = _image_entries(content, path)
    stems = unique_stems(name for name, _ in entries.values())
    if stuff_maps is not None:
        _check_stuff_maps([name for name, _ in entries.values()], path)
    found = []
    for (image_id, (name, size)), stem in zip(entries.items(), stems, strict=True):
        stuff_map = None if stuff_maps is None else existing_suffix(stuff_maps / f"{stem}.png")
        own = json.dumps(objects.pop(image_id, [])).encode()
        found.append(DetectionImage(image_id, name, size, images / name, f"{stem}.png", stuff_map, own))
    if objects:
        raise DataError(
            f"{path}: annotations speak of the image {short_text(next(iter(objects)))}, which is not among the images"
        )
    return found


def _objects_by_image(content: dict[str, Any], path: Path, without_outlines: bool) -> dict[ImageId, list[Any]]:
    objects: dict[ImageId, list[Any]] = defaultdict(list)
    for position, entry in enumerate(field(content, "annotations", list, str(path))):
        where = f"{path}, annotation {position}"
        field(entry, "category_id", int, where)
        if "segmentation" not in entry and not without_outlines:
            raise DataError(
                f"{where}: the key 'segmentation' is missing; boxes alone do not say who owns a pixel "
                f"({WITHOUT_OUTLINE_HINT})"
            )
        objects[image_id_field(entry, "image_id", where)].append(entry)
    return objects


def _image_entries(content: dict[str, Any], path: Path) -> dict[ImageId, tuple[str, Size]]:
    """Name of the image, height and width of every image."""
    found: dict[ImageId, tuple[str, Size]] = {}
    names: set[str] = set()
    for position, entry in enumerate(field(content, "images", list, str(path))):
        image_id = image_id_field(entry, "id", f"{path}, image {position}")
        where = f"{path}, image {image_id}"
        name = file_field(entry, "file_name", where)
        if image_id in found or name in names:
            raise DataError(f"{where}: its id or its file {name} is that of another image")
        names.add(name)
        found[image_id] = name, (field(entry, "height", int, where), field(entry, "width", int, where))
    return found


def _check_stuff_maps(names: list[str], path: Path) -> None:
    """Maps of stuff are found by the names of images without suffix, so these must differ."""
    known: dict[Path, str] = {}
    for name in names:
        other = known.setdefault(Path(name).with_suffix(""), name)
        if other != name:
            raise DataError(
                f"{path}: {other} and {name} have the same name but for their suffix, so their maps of stuff would be "
                "the same file; rename one of them"
            )


def detection_categories(path: Path, table: Path | None) -> Categories:
    """The classes of a panoptic set that is made from a detection file.

    Args:
        path: of the detection file; its own ``categories`` are used if they say which are things.
        table: a JSON file with a list of categories (``id``, ``name``, ``isthing``, ``color``), or with such a list
            under ``categories``; None for none.

    Raises:
        SeamsegError: neither says which categories are things, or there is no thing or no stuff class.
    """
    where = path if table is None else table
    entries = _category_entries(where)
    if table is None and not all(isinstance(entry, dict) and "isthing" in entry for entry in entries):
        raise DataError(
            f"the categories of {path} do not say which are things (isthing); give a JSON list of all things and stuff "
            "with --categories"
        )
    return coco_classes(entries, where).categories


def _category_entries(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    entries = content.get("categories") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DataError(f"{path} holds no list of categories")
    return entries
