"""Outlines of objects in COCO detection files: polygons and run lengths."""

from __future__ import annotations

import math
from typing import Any, Literal

from pycocotools import mask as run_lengths

from seamseg.data.images import size_text
from seamseg.data.json_fields import short_text
from seamseg.errors import DataError, SeamsegError
from seamseg.structures import Size

WithoutOutline = Literal["error", "skip", "box"]
"""Treatment of annotations without a usable outline: raise an error, skip the annotation, or use its box instead."""


class OutlineError(DataError):
    """An object whose outline is missing or invalid."""


def read_outline(shape: Any, size: Size, where: str) -> dict[str, Any]:
    """Read the outline of an object as compressed run lengths for pycocotools.

    pycocotools does not validate its input: polygons far outside the image exhaust the memory, and pixels not covered
    by any run get uninitialized values. Everything is therefore checked here.

    Args:
        shape: ``segmentation`` of an annotation: polygons, or compressed or uncompressed run lengths.
        size: Height and width of the image.
        where: Description of the annotation, used in error messages.

    Raises:
        OutlineError: The outline has none of the three forms, its runs do not cover the image, or it extends far beyond
            the image.
    """
    try:
        return dict(_polygons(shape, size) if isinstance(shape, list) else _runs(shape, size))
    except (TypeError, ValueError, OverflowError) as error:  # the errors above, and those of pycocotools
        raise OutlineError(f"{where}: invalid 'segmentation' ({error})") from error


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
            entry = entry | {"segmentation": [box_polygon(entry.get("bbox"), size, annotation_text(entry))]}
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


def box_polygon(box: Any, size: Size, where: str) -> list[float]:
    """Return the corners of a box as a polygon.

    Args:
        box: ``bbox`` of an annotation: x, y, width and height in pixels.
        size: Height and width of the image.
        where: Description of the annotation, used in error messages.

    Raises:
        SeamsegError: It is not a box with a positive area, or it extends far beyond the image.
    """
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
