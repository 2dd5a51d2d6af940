"""Shapes drawn in a labeling tool, as its export states them; each tool has a module that reads them."""

from __future__ import annotations

import base64
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from seamseg.data.formats.outlines import OutlineError, read_outline
from seamseg.data.input_folder import relative_name
from seamseg.data.json_fields import field as json_field
from seamseg.data.json_fields import short_text
from seamseg.errors import DataError, SeamsegError
from seamseg.structures import Size

Points = Sequence[Sequence[float]]
"""Corners (x, y) in pixels."""

_ELLIPSE_CORNERS = 72
_LARGEST = 1e9  # pixels or percent


class PixelMask(Protocol):
    """Mask that is stored as pixels, in a form of the tool."""

    def decoded(self, size: Size) -> NDArray[np.bool_]:
        """Return the H×W mask.

        Raises:
            SeamsegError: The mask is damaged or has another size.
        """
        ...


@dataclass(frozen=True)
class DrawnShape:
    """A shape of an image.

    Attributes:
        label: Label that the annotator gave it.
        where: Description of the shape, used in error messages.
        outline: COCO's ``segmentation`` (polygons or run lengths), or a :class:`PixelMask`.
        crowd: Whether it covers many objects.
        group: Shapes of a label with the same group are one object; None for a shape of its own.
        box: ``bbox`` of a COCO annotation, which may replace an invalid outline. None if there is none.
    """

    label: str
    where: str = field(repr=False)  # not part of what identifies a conversion
    outline: Any
    crowd: bool = False
    group: int | None = None
    box: Any = None

    def counts(self, size: Size) -> dict[str, Any]:
        """Return the pixels as COCO's compressed run lengths.

        Args:
            size: Height and width of the image.

        Raises:
            OutlineError: The outline is invalid.
        """
        if not hasattr(self.outline, "decoded"):
            return read_outline(self.outline, size, self.where)
        try:
            pixels = self.outline.decoded(size)
        except SeamsegError as error:
            raise OutlineError(f"{self.where}: {error}") from error
        return dict(run_lengths.encode(np.asfortranarray(pixels.view(np.uint8))))

    def num_crossing(self) -> int:
        """Return the number of polygons that cross themselves; the outline must be valid."""
        polygons = self.outline if isinstance(self.outline, list) else []
        return sum(crosses_itself(one) for one in polygons if len(one) >= 8)  # triangles cannot, and others are checked


@dataclass(frozen=True)
class DrawnImage:
    """An image with the shapes drawn on it.

    Attributes:
        name: Path of the image in the result, relative to the folder of images.
        image_path: Path of the image.
        annotation: File with the shapes.
        size: Height and width that the annotation states; None if it states none.
        shapes: Shapes, from the first one drawn to the last.
        unpack: Function that writes ``image_path`` if the annotation file contains the image itself. It must be
            picklable.
        upright: Whether the tool shows the image as its EXIF orientation says, and not as it is stored.
    """

    name: str
    image_path: Path
    annotation: Path
    size: Size | None
    shapes: tuple[DrawnShape, ...]
    unpack: Callable[[DrawnImage], None] | None = None
    upright: bool = True


@dataclass
class DrawnExport:
    """Content of an export.

    Attributes:
        source: Path of the export.
        images: Images that were found, with or without shapes.
        missing: Names of images that were not found.
        left_out: Number of entries that are not used, by kind, each worded to follow a number.
    """

    source: Path
    images: list[DrawnImage] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


class ImageFinder:
    """Finder of the images that an export names.

    Labeling tools state the paths of the machine they run on, so an image is searched by the end of its path: for
    ``/data/upload/a.jpg``, that is ``data/upload/a.jpg``, ``upload/a.jpg`` and ``a.jpg``. It never leaves the folders.

    Args:
        folders: Folders of the images, the most likely one first.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders

    def find(self, *names: str) -> tuple[Path, str] | None:
        """Return the path of an image and its name relative to its folder; None if it is not there.

        Args:
            names: Possible names or paths of the image, the most likely one first.
        """
        for name in names:
            parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "//", "..")]
            for start in range(len(parts)):
                for folder in self._folders:
                    path = folder.joinpath(*parts[start:])
                    if os.path.isfile(path):  # False for names that no file system accepts
                        return path, relative_name(path, folder)
        return None

    def __str__(self) -> str:
        return " or ".join(map(str, self._folders))


def rectangle(
    x: float, y: float, width: float, height: float, degrees: float, pivot: tuple[float, float]
) -> list[list[float]]:
    """Return a rectangle as a COCO polygon.

    Args:
        x: Left edge before the rotation, in pixels, like the other lengths.
        y: Upper edge before the rotation.
        width: Width before the rotation.
        height: Height before the rotation.
        degrees: Clockwise rotation.
        pivot: Point (x, y) that the rectangle is rotated around.
    """
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return polygon(_rotated(corners, degrees, pivot))


def ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: float = 0) -> list[list[float]]:
    """Return an ellipse as a COCO polygon of 72 corners.

    Args:
        center: Center (x, y) in pixels.
        radii: Radii along x and y in pixels.
        degrees: Clockwise rotation.
    """
    angles = [2 * math.pi * step / _ELLIPSE_CORNERS for step in range(_ELLIPSE_CORNERS)]
    corners = [(center[0] + radii[0] * math.cos(angle), center[1] + radii[1] * math.sin(angle)) for angle in angles]
    return polygon(_rotated(corners, degrees, center))


def polygon(points: Points) -> list[list[float]]:
    """Return corners as a COCO polygon."""
    return [[coordinate for point in points for coordinate in point]]


def _rotated(points: Points, degrees: float, pivot: tuple[float, float]) -> Points:
    if not degrees:  # exact, so that edges on pixel borders stay there
        return points
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    moved = [(x - pivot[0], y - pivot[1]) for x, y in points]
    return [(pivot[0] + x * cosine - y * sine, pivot[1] + x * sine + y * cosine) for x, y in moved]


def crosses_itself(coordinates: Sequence[float]) -> bool:
    """Return whether two edges of a polygon cross; edges that only touch do not.

    Args:
        coordinates: x, y, x, y, … of the corners.
    """
    starts = np.array(coordinates, np.float64).reshape(-1, 2)
    ends = np.roll(starts, -1, axis=0)
    for index in range(len(starts) - 2):
        others = slice(index + 2, len(starts) - (index == 0))  # without the neighbors, which share a corner
        if _cross(starts[index], ends[index], starts[others], ends[others]).any():
            return True
    return False


def _cross(
    start: NDArray[np.float64], end: NDArray[np.float64], starts: NDArray[np.float64], ends: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return for each of K edges whether it crosses one edge."""
    apart = _side(start, end, starts) * _side(start, end, ends) < 0
    crossed: NDArray[np.bool_] = apart & (_side(starts, ends, start) * _side(starts, ends, end) < 0)
    return crossed


def _side(start: NDArray[np.float64], end: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return on which side of an edge points lie: 1, −1, or 0 on its line."""
    along, off = end - start, points - start
    side: NDArray[np.float64] = np.sign(along[..., 0] * off[..., 1] - along[..., 1] * off[..., 0])
    return side


def number_field(entry: Any, key: str, where: str) -> float:
    """Return the value of a required key that is a finite number.

    Raises:
        SeamsegError: It is missing, of another type, infinite or not a number.
    """
    value: object = json_field(entry, key, object, where)
    if not _is_number(value):
        raise DataError(f"{where}: {key!r} is {short_text(value)}, expected a finite number")
    return float(value)


def points_field(entry: Any, where: str) -> list[tuple[float, float]]:
    """Return the required list ``points`` of corners (x, y).

    Raises:
        SeamsegError: It is missing, or not a list of pairs of finite numbers.
    """
    corners = []
    for point in json_field(entry, "points", list, where):
        if not isinstance(point, list) or len(point) != 2 or not all(map(_is_number, point)):
            raise DataError(f"{where}: 'points' contains {short_text(point)}, expected two finite numbers")
        corners.append((float(point[0]), float(point[1])))
    return corners


def base64_bytes(text: str, where: str) -> bytes:
    """Decode base64.

    Raises:
        SeamsegError: The text is not valid.
    """
    try:
        return base64.b64decode(text)
    except ValueError as error:
        raise DataError(f"{where} is not valid base64 ({error})") from error


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _LARGEST  # also False for NaN
