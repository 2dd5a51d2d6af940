"""Reader of labelme's JSON files: one per image, with shapes and often the image itself."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.convert.drawn import (
    DrawnExport,
    DrawnImage,
    DrawnShape,
    ImageFinder,
    base64_bytes,
    ellipse,
    points_field,
    polygon,
    rectangle,
)
from seamseg.data.image_header import JPEG
from seamseg.data.images import decode
from seamseg.data.input_folder import relative_name, search_folder
from seamseg.data.json_fields import field, load_object, short_text
from seamseg.errors import DataError
from seamseg.io.files import atomic_write_unsynced
from seamseg.structures import Size

_NUM_POINTS = {"rectangle": (2, 4), "oriented_rectangle": (4,), "circle": (2,), "mask": (2,)}
"""Possible numbers of points of the shape types that have an area; a polygon may have any number."""


@dataclass(frozen=True)
class MaskPatch:
    """Mask of a rectangle, stored as a PNG.

    Attributes:
        png: Content of the PNG.
        top: Row of its first pixel, which may lie outside the image.
        left: Column of its first pixel.
        source: File that contains the PNG, for error messages.
    """

    png: bytes
    top: int
    left: int
    source: Path

    def decoded(self, size: Size) -> NDArray[np.bool_]:
        """Return the H×W mask; pixels outside the image are left out."""
        pixels = decode(self.source, self.png, cv2.IMREAD_GRAYSCALE) > 0
        mask = np.zeros(size, np.bool_)
        rows, from_row = _overlap(self.top, pixels.shape[0], size[0])
        columns, from_column = _overlap(self.left, pixels.shape[1], size[1])
        mask[rows, columns] = pixels[from_row, from_column]
        return mask


def _overlap(begin: int, length: int, limit: int) -> tuple[slice, slice]:
    """Return the part of a range that lies in 0 … limit, and the same part relative to the range."""
    first, last = min(max(begin, 0), limit), min(max(begin + length, 0), limit)
    return slice(first, last), slice(first - begin, last - begin)


def read_labelme(source: Path, finder: ImageFinder, unpacked: Path) -> DrawnExport:
    """Read the JSON files of a folder. Images are linked where they are found, and unpacked otherwise.

    Args:
        source: Folder that is searched, or a JSON file.
        finder: Finder of the images.
        unpacked: Folder for images that only the JSON files contain.

    Raises:
        SeamsegError: A file is malformed, or there is none.
        OSError: A file cannot be read.
    """
    export = DrawnExport(source)
    folder = source if source.is_dir() else source.parent
    paths = search_folder(source, {".json"}).paths if source.is_dir() else [source]
    for path in paths:
        content = load_object(path)
        if "shapes" not in content:
            export.left_out["JSON file(s) without 'shapes'"] += 1
            continue
        entries = field(content, "shapes", list, str(path))
        shapes = (
            _shape(entry, f"{path}, shape {number}", path, export.left_out) for number, entry in enumerate(entries)
        )
        _add_image(export, content, path, folder, finder, unpacked, tuple(one for one in shapes if one is not None))
    if not export.images and not export.missing:
        raise DataError(f"{source} contains no JSON file of labelme")
    return export


def _add_image(
    export: DrawnExport,
    content: dict[str, Any],
    path: Path,
    folder: Path,
    finder: ImageFinder,
    unpacked: Path,
    shapes: tuple[DrawnShape, ...],
) -> None:
    stated, size = field(content, "imagePath", str, str(path)), _stated_size(content, path)
    subfolder = path.parent.relative_to(folder).as_posix()
    found = finder.find(f"{subfolder}/{stated}", stated)
    if found is not None:
        export.images.append(DrawnImage(found[1], found[0], path, size, shapes))
    elif isinstance(content.get("imageData"), str):
        suffix = ".jpg" if base64_bytes(content["imageData"][:4], f"{path}: 'imageData'").startswith(JPEG) else ".png"
        name = relative_name(path.with_suffix(suffix), folder)
        export.images.append(DrawnImage(name, unpacked / name, path, size, shapes, unpack_image))
    else:
        export.missing.append(stated)


def _stated_size(content: dict[str, Any], path: Path) -> Size | None:
    """Return the stated height and width; None for files of old versions, which state none."""
    if content.get("imageHeight") is None or content.get("imageWidth") is None:
        return None
    return field(content, "imageHeight", int, str(path)), field(content, "imageWidth", int, str(path))


def unpack_image(image: DrawnImage) -> None:
    """Write the image that a JSON file contains, unless the same file exists.

    Raises:
        SeamsegError: The content is not an intact image.
        OSError: The file cannot be written.
    """
    content = load_object(image.annotation)
    data = base64_bytes(field(content, "imageData", str, str(image.annotation)), f"{image.annotation}: 'imageData'")
    decode(image.annotation, data, cv2.IMREAD_COLOR)
    if not image.image_path.is_file() or image.image_path.read_bytes() != data:
        atomic_write_unsynced(image.image_path, lambda path: path.write_bytes(data))


def _shape(entry: Any, where: str, path: Path, left_out: Counter[str]) -> DrawnShape | None:
    label = field(entry, "label", str, where)
    group = entry.get("group_id")
    if group is not None and type(group) is not int:
        raise DataError(f"{where}: 'group_id' is {short_text(group)}, expected an integer or null")
    kind = "polygon" if entry.get("shape_type") is None else field(entry, "shape_type", str, where)
    if kind != "polygon" and kind not in _NUM_POINTS:
        left_out[f"shape(s) of type {short_text(kind)}"] += 1
        return None
    points = points_field(entry, where)
    if kind != "polygon" and len(points) not in _NUM_POINTS[kind]:
        raise DataError(f"{where}: a shape of type {kind} has {len(points)} points")
    return DrawnShape(label, where, _outline(kind, points, entry, where, path), group=group)


def _outline(kind: str, points: list[tuple[float, float]], entry: dict[str, Any], where: str, path: Path) -> Any:
    if kind == "mask":
        left, top = (round(coordinate) for coordinate in points[0])
        return MaskPatch(base64_bytes(field(entry, "mask", str, where), f"{where}: 'mask'"), top, left, path)
    if kind == "circle":
        radius = math.dist(*points)
        return ellipse(points[0], (radius, radius))
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return rectangle(min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0), 0, pivot=points[0])
    return polygon(points)
