"""Readers for the outlines, images and categories of COCO detection files."""

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
"""Treatment of annotations without a usable outline: raise an error, skip the annotation, or use its box instead."""

WITHOUT_OUTLINE_HINT = "use --without-outline skip to leave out such objects, or --without-outline box to use their box"


def read_outline(shape: Any, size: Size, where: str) -> dict[str, Any]:
    """Read the outline of an object as compressed run lengths for pycocotools.

    pycocotools does not validate its input: polygons far outside the image exhaust the memory, and pixels not covered
    by any run get uninitialized values. Everything is therefore checked here.

    Args:
        shape: ``segmentation`` of an annotation: polygons, or compressed or uncompressed run lengths.
        size: Height and width of the image.
        where: Description of the annotation, used in error messages.

    Raises:
        SeamsegError: The outline has none of the three forms, its runs do not cover the image, or it extends far beyond
            the image.
    """
    try:
        return dict(_polygons(shape, size) if isinstance(shape, list) else _runs(shape, size))
    except (TypeError, ValueError, OverflowError) as error:  # the errors above, and those of pycocotools
        raise DataError(f"{where}: invalid 'segmentation' ({error}); {WITHOUT_OUTLINE_HINT}") from error


def replace_outlines(
    objects: list[dict[str, Any]], size: Size, instead: WithoutOutline
) -> tuple[list[dict[str, Any]], int]:
    """Skip annotations without a usable outline, or replace their outline by their box.

    Args:
        objects: COCO annotations of one image.
        size: Height and width of the image.
        instead: Treatment of annotations without a usable outline. With "error", they are returned unchanged, and
            :func:`read_outline` raises the error.

    Returns:
        The remaining annotations, and the number of annotations that were skipped or replaced.

    Raises:
        SeamsegError: ``instead`` is "box", and an annotation has no usable box either.
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
    """Describe an annotation in error messages."""
    return f"annotation {entry.get('id', 'without id')} of image {entry.get('image_id')}"


def _polygons(shape: list[Any], size: Size) -> Any:
    if not shape:
        raise DataError("the list is empty")
    if all(isinstance(part, int | float) for part in shape):
        raise DataError(f"expected a list of polygons, [[x, y, x, y, …]], found a flat list of {len(shape)} numbers")
    for part in shape:
        if not isinstance(part, list):
            raise DataError(f"expected each polygon to be a list of numbers, found {short_text(part)}")
    polygons = [_checked_polygon(part, size) for part in shape if len(part) >= 6]
    if not polygons:
        raise DataError("no polygon has at least three corners")
    return run_lengths.merge(run_lengths.frPyObjects(polygons, *size))


def _runs(shape: Any, size: Size) -> Any:
    if shape is None:
        raise DataError("the value is null")
    if not isinstance(shape, dict) or "size" not in shape or "counts" not in shape:
        raise DataError(f"expected polygons, or run lengths with 'size' and 'counts', found {short_text(shape)}")
    stated, counts = shape["size"], shape["counts"]
    if not isinstance(stated, list) or [type(side) for side in stated] != [int, int]:
        raise DataError(f"expected 'size' to be height and width, found {short_text(stated)}")
    if tuple(stated) != tuple(size):
        raise DataError(f"its size is {size_text(tuple(stated))}, but the image is {size_text(size)} (height×width)")
    if not isinstance(counts, str) and not (isinstance(counts, list) and all(type(run) is int for run in counts)):
        raise DataError(f"expected 'counts' to be a string or a list of integers, found {short_text(counts)}")
    runs = counts if isinstance(counts, list) else uncompressed(counts)
    if sum(runs) != size[0] * size[1] or min(runs) < 0:
        raise DataError(f"the runs do not cover exactly {size_text(size)} pixels")
    return run_lengths.frPyObjects({"size": list(size), "counts": runs}, *size)


def _box_polygon(box: Any, size: Size, where: str) -> list[float]:
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(side) for side in box) or min(box[2:]) <= 0:
        raise DataError(
            f"{where} has no usable outline; expected 'bbox' to be x, y, width and height, found {short_text(box)}"
        )
    x, y, width, height = box
    try:
        return _checked_polygon([x, y, x + width, y, x + width, y + height, x, y + height], size)
    except SeamsegError as error:
        raise DataError(f"{where}: invalid 'bbox' ({error})") from error


def _checked_polygon(points: list[Any], size: Size) -> list[float]:
    """Return the points unchanged if they are valid.

    Annotated polygons often extend a little beyond the image, so the limit is twice the longer side of the image.
    """
    reach = 2 * max(size)
    if len(points) % 2:
        raise DataError("a polygon has an odd number of coordinates")
    if not all(_is_finite(point) and abs(point) <= reach for point in points):
        raise DataError(f"a polygon coordinate is not a finite number or lies far outside {size_text(size)} pixels")
    return points


def _is_finite(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def uncompressed(text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each number is a sequence of five-bit digits, lowest first. From the third run on, the numbers are differences from
    the run two positions earlier.

    Raises:
        SeamsegError: A character is invalid, or the last number is incomplete.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 50:
            raise DataError(f"the run lengths contain the invalid character {character!r}")
        number |= (digit & 0x1F) << shift
        shift += 5
        if digit & 0x20:  # more digits follow
            continue
        number -= (digit & 0x10) << (shift - 4)  # sign bit
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    if shift or not runs:
        raise DataError("the run lengths end in the middle of a number")
    return runs


@dataclass(frozen=True)
class DetectionImage:
    """One image and its objects.

    Attributes:
        image_id: Id of the image in the source.
        image_file: Path of the image relative to the image folder.
        size: Height and width stated in the JSON file.
        image_path: Path of the image.
        png_file: Name of the PNG in the result, unique among the images.
        stuff_map: Path of the stuff map. None if stuff is annotated as objects or not at all.
        objects: Annotations of the image as JSON, which takes less memory than parsed annotations.
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
        """Name of the item in the journal."""
        return self.image_file

    @property
    def sources(self) -> Sequence[Path]:
        """Files that the result is made from."""
        return (self.image_path,) if self.stuff_map is None else (self.image_path, self.stuff_map)


def read_detection(
    path: Path, images: Path, stuff_maps: Path | None, without_outlines: bool = False
) -> list[DetectionImage]:
    """Read the images of a COCO detection file, in file order and including images without objects.

    Args:
        path: Path of the JSON file, such as ``instances_train2017.json``.
        images: Folder of the images.
        stuff_maps: Folder of PNG files named like the images. None if there are no stuff maps.
        without_outlines: Whether annotations may lack the key ``segmentation``.

    Raises:
        SeamsegError: The file does not have this form, or is inconsistent.
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
            f"{path}: annotations refer to image {short_text(next(iter(objects)))}, which is not among the images"
        )
    return found


def _objects_by_image(content: dict[str, Any], path: Path, without_outlines: bool) -> dict[ImageId, list[Any]]:
    objects: dict[ImageId, list[Any]] = defaultdict(list)
    for position, entry in enumerate(field(content, "annotations", list, str(path))):
        where = f"{path}, annotation {position}"
        field(entry, "category_id", int, where)
        if "segmentation" not in entry and not without_outlines:
            raise DataError(
                f"{where}: the key 'segmentation' is missing, and a box does not tell which pixels an object covers; "
                f"{WITHOUT_OUTLINE_HINT}"
            )
        objects[image_id_field(entry, "image_id", where)].append(entry)
    return objects


def _image_entries(content: dict[str, Any], path: Path) -> dict[ImageId, tuple[str, Size]]:
    """File name, height and width of every image, by image id."""
    found: dict[ImageId, tuple[str, Size]] = {}
    names: set[str] = set()
    for position, entry in enumerate(field(content, "images", list, str(path))):
        image_id = image_id_field(entry, "id", f"{path}, image {position}")
        where = f"{path}, image {image_id}"
        name = file_field(entry, "file_name", where)
        if image_id in found or name in names:
            raise DataError(f"{where}: another image has the same id or the same file_name {name}")
        names.add(name)
        found[image_id] = name, (field(entry, "height", int, where), field(entry, "width", int, where))
    return found


def _check_stuff_maps(names: list[str], path: Path) -> None:
    """Make sure that image names differ without their suffix, because stuff maps are found by that name."""
    known: dict[Path, str] = {}
    for name in names:
        other = known.setdefault(Path(name).with_suffix(""), name)
        if other != name:
            raise DataError(
                f"{path}: {other} and {name} differ only in their suffix, so they would share one stuff map; rename "
                "one of them"
            )


def detection_categories(path: Path, table: Path | None) -> Categories:
    """Read the categories of a panoptic data set that is made from a detection file.

    Args:
        path: Path of the detection file. Its own ``categories`` are used if ``table`` is None.
        table: Path of a JSON file that contains a list of categories (``id``, ``name``, ``isthing``, ``color``), either
            at the top level or under ``categories``. None to use those of the detection file.

    Raises:
        SeamsegError: The categories do not state which of them are things, or there is no thing or no stuff class.
    """
    where = path if table is None else table
    entries = _category_entries(where)
    if table is None and not all(isinstance(entry, dict) and "isthing" in entry for entry in entries):
        raise DataError(
            f"the categories of {path} do not state which are things ('isthing'); pass a JSON list of all thing and "
            "stuff categories with --categories"
        )
    return coco_classes(entries, where).categories


def _category_entries(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    entries = content.get("categories") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DataError(f"{path} does not contain a list of categories")
    return entries
