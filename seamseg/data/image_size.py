"""Sizes of image files, without decoding where the first bytes tell."""

from __future__ import annotations

from pathlib import Path

from seamseg.data.image_header import JPEG, size_in_png, stored_size
from seamseg.data.images import read_image
from seamseg.errors import BrokenImageError
from seamseg.structures import Size

_HEAD = 1 << 16


def image_size(path: Path) -> Size:
    """Height and width as stored, from the header of a JPEG or PNG; images of other kinds are decoded.

    Raises:
        BrokenImageError: the file is missing, or no image.
    """
    size = stored_size(_first_bytes(path, _HEAD))
    if size is None and _first_bytes(path, len(JPEG)) == JPEG:  # large thumbnails and profiles come first
        size = stored_size(_first_bytes(path, -1))
    if size is None or min(size) < 1:
        height, width = read_image(path).shape[:2]
        return height, width
    return size


def size_beside(path: Path, annotated: Size) -> Size:
    """Height and width of an image that belongs to an annotation: stored, or upright if only that fits.

    Args:
        path: of the image.
        annotated: height and width of the annotation.

    Returns:
        Those of the image that :func:`seamseg.data.images.read_image` gives if it is told the same.

    Raises:
        BrokenImageError: the file is missing, or no image.
    """
    size = image_size(path)
    if size == annotated or size != annotated[::-1]:
        return size
    height, width = read_image(path, "upright").shape[:2]
    return height, width


def has_swapped_size(image: Path, png: Path, stated: Size) -> bool:
    """Whether an image and its PNG of segments agree that the stated height and width are swapped.

    Args:
        image, png: The two files; broken or missing ones agree on nothing.
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
    """Height and width of a PNG, without decoding it.

    Raises:
        BrokenImageError: the file is missing, or is no PNG.
    """
    size = size_in_png(_first_bytes(path, 24))
    if size is None:
        raise BrokenImageError(path, "is no PNG")
    if min(size) < 1:
        raise BrokenImageError(path, "is a PNG without pixels")
    return size


def _first_bytes(path: Path, number: int) -> bytes:
    """All of them where the number is negative."""
    try:
        with path.open("rb") as file:
            return file.read(number)
    except OSError as error:
        raise BrokenImageError(path, f"cannot be opened: {error.strerror}") from error
