"""Outlines of objects as COCO writes them: polygons, or run lengths in one of two forms."""

from __future__ import annotations

import math
from typing import Any

from pycocotools import mask as run_lengths

from seamseg.data.stated_size import size_text
from seamseg.structures import Size


def read_outline(shape: Any, size: Size, where: str) -> dict[str, Any]:
    """The compressed run lengths of an object, as pycocotools takes them.

    pycocotools believes what it is given: polygons far outside of the image take all memory, and of pixels that no run
    covers it returns whatever the memory held before. So all is checked here.

    Args:
        shape: ``segmentation`` of an annotation.
        size: height and width of the image.
        where: of the annotation, for errors.

    Raises:
        ValueError: it is none of the three forms, does not cover the image, or leads out of it.
    """
    try:
        if isinstance(shape, list):
            polygons = [_checked_polygon(part, size) for part in shape if len(part) >= 6]
            return dict(run_lengths.merge(run_lengths.frPyObjects(polygons, *size)))
        stated, counts = tuple(shape["size"]), shape["counts"]
        if stated != tuple(size):
            raise ValueError(f"it is {size_text(stated)}, its image {size_text(size)}")
        runs = counts if isinstance(counts, list) else uncompressed(counts)
        if sum(runs) != size[0] * size[1] or min(runs) < 0:
            raise ValueError(f"its runs do not cover {size_text(size)} pixels")
        return dict(run_lengths.frPyObjects({"size": list(size), "counts": runs}, *size))
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"{where}: its segmentation is wrong ({error})") from error


def _checked_polygon(points: list[Any], size: Size) -> list[float]:
    """Some annotators draw a little beyond the edge; nobody draws a whole image beyond it."""
    reach = 2 * max(size)
    if len(points) % 2:
        raise ValueError("a polygon has an odd number of coordinates")
    if not all(isinstance(point, int | float) and math.isfinite(point) and abs(point) <= reach for point in points):
        raise ValueError(f"a corner of a polygon is no number or lies far outside of {size_text(size)} pixels")
    return points


def uncompressed(text: str) -> list[int]:
    """The runs behind COCO's short form: digits of five bits, lowest first, and differences from the third run on.

    Raises:
        ValueError: a character does not belong there, or the last number has no end.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 50:
            raise ValueError(f"{character!r} is out of place in its run lengths")
        number |= (digit & 0x1F) << shift
        shift += 5
        if digit & 0x20:  # goes on
            continue
        number -= (digit & 0x10) << (shift - 4)  # the sign
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    if shift or not runs:
        raise ValueError("its run lengths end too early")
    return runs
