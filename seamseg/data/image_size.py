"""Sizes of image files, read from the header where possible."""

from __future__ import annotations

from pathlib import Path

from seamseg.data.image_header import JPEG, size_in_png, stored_size
from seamseg.data.images import read_image
from seamseg.errors import BrokenImageError
from seamseg.structures import Size

_HEAD = 1 << 16


def image_size(path: Path) -> Size:
    """Return height and width as stored.

    JPEG and PNG files are only read up to the size in their header. Other images are decoded.

    Args:
        path: Path of the image.

    Raises:
        BrokenImageError: The file is missing or not an image.
    """
    size = stored_size(_first_bytes(path, _HEAD))
    if size is None and _first_bytes(path, len(JPEG)) == JPEG:  # large thumbnails and profiles come before the size
        size = stored_size(_first_bytes(path, -1))
    if size is None or min(size) < 1:
        height, width = read_image(path).shape[:2]
        return height, width
    return size


def size_beside(path: Path, annotated: Size) -> Size:
    """Return height and width of an image that belongs to an annotation.

    Args:
        path: Path of the image.
        annotated: Height and width of the annotation.

    Returns:
        The stored size, or the upright size if only that one fits the annotation.
        :func:`seamseg.data.images.read_image` with ``size=annotated`` returns an image of this size.

    Raises:
        BrokenImageError: The file is missing or not an image.
    """
    size = image_size(path)
    if size == annotated or size != annotated[::-1]:
        return size
    height, width = read_image(path, "upright").shape[:2]
    return height, width


def has_swapped_size(image: Path, png: Path, stated: Size) -> bool:
    """Return whether an image and its segment PNG agree that the stated height and width are swapped.

    Args:
        image: Path of the image.
        png: Path of the segment PNG. The result is False if either file is broken or missing.
        stated: Height and width that the annotation states.
    """
    swapped = stated[::-1]
    if swapped == stated:
        return False
    try:
        return png_size(png) == swapped == size_beside(image, swapped)
    except BrokenImageError:
        return False


def png_size(path: Path) -> Size:
    """Return height and width of a PNG without decoding it.

    Args:
        path: Path of the PNG.

    Raises:
        BrokenImageError: The file is missing, is not a PNG or has no pixels.
    """
    size = size_in_png(_first_bytes(path, 24))
    if size is None:
        raise BrokenImageError(path, "is not a PNG file")
    if min(size) < 1:
        raise BrokenImageError(path, "is a PNG file without pixels")
    return size


def _first_bytes(path: Path, number: int) -> bytes:
    """Read the first bytes of a file, or all of them if the number is negative."""
    try:
        with path.open("rb") as file:
            return file.read(number)
    except OSError as error:
        raise BrokenImageError(path, f"cannot be opened: {error.strerror}") from error
