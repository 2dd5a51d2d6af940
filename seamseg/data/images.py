"""Photographs on disk: finding them and reading their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.image_header import stored_size

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
"""Files with these endings count as images when a folder is searched; upper case counts too."""

MOST_PIXELS, LONGEST_SIDE = 1 << 30, 1 << 20
"""OpenCV reads no larger images."""


class BrokenImageError(ValueError):
    """A file of pixels that cannot be read; the other files of the run may be fine, so callers can report it and go on.

    Attributes:
        path: the file.
        reason: what is wrong with it, as the end of a sentence that begins with the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # both as args: that is what pickle hands back in another process
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


def read_image(path: Path, upright: bool = False) -> NDArray[np.uint8]:
    """Reads a photograph as H×W×3 uint8, red first.

    Grey images are repeated over the channels, CMYK becomes RGB, transparency is dropped, 16 bits become 8.

    Args:
        path: of the file.
        upright: turn the image as its EXIF orientation says, which is how people see it. Otherwise the pixels come as
            they are stored, which is what most annotations refer to.

    Raises:
        BrokenImageError: the file is missing, truncated, too large or not an image.
    """
    pixels = decode_file(path, cv2.IMREAD_COLOR | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION))
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_file(path: Path, flags: int) -> NDArray[Any]:
    """Reads the pixels of any image file: H×W or H×W×channels, blue first, as ``cv2.imdecode`` gives them.

    Raises:
        BrokenImageError: the file is missing, truncated or not an image.
    """
    return decode(path, read_bytes(path), flags)


def read_bytes(path: Path) -> bytes:
    """What is in a file that should be an image.

    Raises:
        BrokenImageError: it is missing or empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenImageError(path, f"cannot be opened: {error.strerror}") from error
    if not data:
        raise BrokenImageError(path, "is an empty file")
    return data


def decode(path: Path, data: bytes, flags: int) -> NDArray[Any]:
    """The pixels in the bytes of a file, as :func:`decode_file`.

    Raises:
        BrokenImageError: they are truncated, too large or no image.
    """
    height, width = stored_size(data) or (0, 0)
    if height * width > MOST_PIXELS or max(height, width) > LONGEST_SIDE:  # its decoder would take memory first
        reason = f"is {height}×{width} (height×width), too large: images of up to {MOST_PIXELS:,} pixels are read"
        raise BrokenImageError(path, reason)
    pixels = _decode_silently(np.frombuffer(data, dtype=np.uint8), flags)
    if pixels is None:
        raise BrokenImageError(path, "cannot be decoded: it is truncated, damaged or not an image")
    return pixels


def _decode_silently(data: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    """The pixels, or None: OpenCV says "cannot" sometimes by None, sometimes by an exception, always with log lines."""
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(log_level)


def find_images(path: Path) -> list[Path]:
    """The images that a path given by the user stands for.

    Args:
        path: an image; or a folder, which is searched recursively and whose images come sorted by path (names that
            begin with a dot are passed over); or a ``.txt`` list with one path per line, relative to the list's folder.

    Returns:
        At least one path. Files named by a list are not looked at: a missing one shows when it is read.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: the folder or the list names no image.
    """
    if path.is_dir():
        found = _images_below(path)
    elif not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give an image, a folder of images or a .txt list of images")
    elif path.suffix.lower() == ".txt":
        found = _images_listed(path)
    else:
        return [path]
    if not found:
        raise ValueError(f"{path} holds no images; known endings are {' '.join(sorted(IMAGE_SUFFIXES))}")
    return found


def _images_below(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _images_listed(file: Path) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"the list {file} is not a text file in UTF-8") from error
    return [file.parent / line.strip() for line in lines if line.strip()]
