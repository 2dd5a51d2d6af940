"""Image files: finding them and reading their pixels, whole or reduced."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

from seamseg.data.image_header import JPEG, stored_size
from seamseg.data.input_folder import (
    IMAGE_SUFFIXES,
    UNREAD_SUFFIXES,
    VIDEO_SUFFIXES,
    FoundFiles,
    left_out_sentence,
    search_folder,
)
from seamseg.errors import BrokenImageError, DataError
from seamseg.io.files import expand_home
from seamseg.structures import Size

MOST_PIXELS, LONGEST_SIDE = 1 << 30, 1 << 20
"""OpenCV reads no larger images."""

MOST_STRAY_BYTES = 2
"""Bytes in front of the end of a JPEG file that some cameras write; more of them are damage."""

_JPEG_MODES = {
    cv2.IMREAD_COLOR: ("BGR", 1),
    cv2.IMREAD_REDUCED_COLOR_2: ("BGR", 2),
    cv2.IMREAD_REDUCED_COLOR_4: ("BGR", 4),
    cv2.IMREAD_REDUCED_COLOR_8: ("BGR", 8),
    cv2.IMREAD_REDUCED_GRAYSCALE_8: ("GRAY", 8),
}
"""Colors and factor of reduction by flags of ``cv2.imdecode``."""

_STRAY_BYTES = re.compile(r"(\d+) extraneous bytes before marker 0xd9")

TWELVE_BITS = 1 << 12
"""Values below this, in a file of 16 bits, come from a camera of 10 or 12 bits and were not scaled."""


Orientation = Literal["stored", "upright"]
"""Pixels as they are stored, which most annotations refer to, or turned by the EXIF orientation, as people see them."""


def read_image(
    path: Path, orientation: Orientation = "stored", size: Size | None = None, stated_by: str = ""
) -> NDArray[np.uint8]:
    """Read an image as H×W×3 uint8 RGB.

    Gray images are repeated over the channels, CMYK becomes RGB, transparency is dropped, 16 bits become 8.

    Args:
        path: Path of the image.
        orientation: How to turn the pixels.
        size: Expected height and width; the other orientation is used if only that one fits. None accepts any size.
        stated_by: Subject and subcommand for the error about another size, such as ``"a.json says"``.

    Raises:
        BrokenImageError: The file is missing, truncated, too large or not an image.
        SeamsegError: The image has another size.

    Example:
        >>> from pathlib import Path
        >>> from seamseg.data.images import read_image
        >>> image = read_image(Path("street.jpg"), orientation="upright")
        >>> image.shape, image.dtype
        ((96, 128, 3), dtype('uint8'))
    """
    pixels = _read_oriented(path, orientation)
    if size is not None:
        if pixels.shape[:2] != size and pixels.shape[1::-1] == size:
            pixels = _read_oriented(path, "stored" if orientation == "upright" else "upright")
        check_size(path, pixels.shape, size, f"{stated_by} {size_text(size)}")
    return pixels


def _read_oriented(path: Path, orientation: Orientation) -> NDArray[np.uint8]:
    pixels = decode_file(path, cv2.IMREAD_COLOR | (0 if orientation == "upright" else cv2.IMREAD_IGNORE_ORIENTATION))
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def check_size(path: Path, shape: tuple[int, ...], size: Size, expected: str) -> None:
    """Check that an image has the expected size.

    Args:
        path: Path of the image, for the error.
        shape: Shape of its pixels; the first two numbers are height and width.
        size: Expected height and width.
        expected: End of the error message, which says what is expected and why.

    Raises:
        SeamsegError: The sizes differ.
    """
    if tuple(shape[:2]) != tuple(size):
        raise DataError(f"{path} is {size_text(shape)} (height×width), but {expected}")


def size_text(size: tuple[int, ...]) -> str:
    """Return ``height×width`` for messages."""
    return f"{size[0]}×{size[1]}"


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
    pixels = _decode_jpeg(path, data, flags) if data.startswith(JPEG) else None
    if pixels is None:
        pixels = _decode_silently(np.frombuffer(data, dtype=np.uint8), flags)
    if pixels is None:
        raise BrokenImageError(path, _why_undecoded(path))
    return pixels


def _decode_jpeg(path: Path, data: bytes, flags: int) -> NDArray[Any] | None:
    """The pixels that OpenCV would give for a sound JPEG file; None where only OpenCV gives them.

    OpenCV paints what it cannot read gray and prints a line that does not name the file.

    Raises:
        BrokenImageError: The data is damaged, as far as libjpeg can tell.
    """
    try:
        height, width, kind, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None  # arithmetic coding, 12 bits, broken headers
    asked = _JPEG_MODES.get(flags & ~cv2.IMREAD_IGNORE_ORIENTATION)
    color, factor = ("CMYK", 1) if kind == "CMYK" else asked or ("BGR", 1)
    try:
        pixels: NDArray[Any] = simplejpeg.decode_jpeg(
            data, color, min_height=-(-height // factor), min_width=-(-width // factor), min_factor=factor
        )
    except ValueError as error:
        stray = _STRAY_BYTES.search(str(error))
        if stray is None or int(stray[1]) > MOST_STRAY_BYTES:
            raise BrokenImageError(path, f"is damaged: {error}") from error
        return None
    turned = not flags & cv2.IMREAD_IGNORE_ORIENTATION and _is_turned(data)
    if asked is None or color == "CMYK" or turned:
        return None
    return pixels[:, :, 0] if color == "GRAY" else pixels


def _is_turned(data: bytes) -> bool:
    """Whether EXIF says that the image is stored sideways, upside down or mirrored."""
    with Image.open(BytesIO(data)) as image:
        return bool(image.getexif().get(ExifTags.Base.Orientation, 1) != 1)


def has_twelve_bits(path: Path, pixels: NDArray[np.uint8]) -> bool:
    """Whether an image is nearly black because its file has 16 bits, of which the values use no more than twelve.

    Args:
        path: of the file.
        pixels: Pixels that :func:`read_image` gave.
    """
    if not pixels.any() or int(pixels.max()) >= TWELVE_BITS >> 8:
        return False
    return uses_twelve_bits(decode_file(path, cv2.IMREAD_UNCHANGED))


def uses_twelve_bits(stored: NDArray[Any]) -> bool:
    """Whether pixels as they are stored have 16 bits, and values of twelve at most; black images do not count."""
    return stored.dtype == np.uint16 and 0 < int(stored.max()) < TWELVE_BITS


def _why_undecoded(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in UNREAD_SUFFIXES:
        return f"is a {suffix} file, a format that is not read; convert it to JPEG or PNG"
    if suffix in VIDEO_SUFFIXES:
        return "is a video, not an image; videos are given one at a time"
    return "cannot be decoded: it is truncated, damaged or not an image"


def _decode_silently(data: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    """The pixels, or None: OpenCV says "cannot" sometimes by None, sometimes by an exception, always with log lines."""
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(log_level)


def find_images(path: Path) -> FoundFiles:
    """Find the images that a path given by the user stands for.

    Args:
        path: An image; a folder, which :func:`~seamseg.data.input_folder.search_folder` searches; or a ``.txt`` list
            with one path per line, relative to the list's folder.

    Returns:
        At least one image. Files named by a list are not looked at: a missing one shows when it is read.

    Raises:
        FileNotFoundError: The path does not exist.
        SeamsegError: The folder or the list names no image.
    """
    if path.is_dir():
        found = search_folder(path, IMAGE_SUFFIXES)
    elif not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give an image, a folder of images or a .txt list of images")
    elif path.suffix.lower() == ".txt":
        found = FoundFiles(_images_listed(path), [])
    else:
        return FoundFiles([path], [])
    if not found.paths:
        remark = left_out_sentence(path, found.left_out)
        known = f"known suffixes are {' '.join(sorted(IMAGE_SUFFIXES))}"
        raise DataError(f"{path} holds no images; {known}{f'; {remark}' if remark else ''}")
    return found


def _images_listed(file: Path) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # names may hold other ends of lines
    except UnicodeDecodeError as error:
        raise DataError(f"the list {file} is not a text file in UTF-8") from error
    return [_listed_path(file.parent, line.strip()) for line in lines if line.strip()]


def _listed_path(folder: Path, line: str) -> Path:
    """The file that a line names; lists written on Windows have backslashes between folders."""
    path = folder / expand_home(line)
    return folder / expand_home(line.replace("\\", "/")) if "\\" in line and not path.exists() else path


REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
"""Flags of ``cv2.imdecode`` by the factor."""

_SPARE = 1.25


def reduction(size: Size, target: Size) -> int:
    """The largest factor, 1, 2, 4 or 8, by which an image may be reduced and still be a quarter larger than the target.

    With the rest of the way left to the ordinary filter, images differ from those read whole by two levels of 255
    on average, as much as bicubic resampling differs from bilinear; without it by four.
    """
    fits = (f for f in (8, 4, 2) if all(_SPARE * new <= old // f for new, old in zip(target, size, strict=True)))
    return next(fits, 1)


def reduced_size(size: Size, factor: int) -> Size:
    """Height and width of the reduced image; pixels that the edge cuts are there."""
    return -(-size[0] // factor), -(-size[1] // factor)


def read_reduced_jpeg(path: Path, size: Size, factor: int) -> NDArray[np.uint8] | None:
    """Reads an image as :func:`seamseg.data.images.read_image` does, but smaller.

    Args:
        path: of the image.
        size: height and width that it should have on disk.
        factor: 2, 4 or 8.

    Returns:
        h×w×3 uint8, red first, of :func:`reduced_size`; None if the file is no JPEG of this size.

    Raises:
        BrokenImageError: the file is missing or truncated.
    """
    data = read_bytes(path)
    if not data.startswith(JPEG) or stored_size(data) != size:
        return None
    pixels = decode(path, data, REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.shape[:2] != reduced_size(size, factor):
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)
