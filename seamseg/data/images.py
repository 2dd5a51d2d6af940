"""Image files: finding them and reading their pixels at full or reduced size."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags
from PIL.JpegImagePlugin import JpegImageFile

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
"""Maximum number of pixels and maximum side of an image that OpenCV reads."""

MOST_STRAY_BYTES = 2
"""Maximum number of stray bytes before the end marker of a JPEG file.

Some cameras write one or two. A file with more of them is damaged.
"""

_JPEG_MODES = {
    cv2.IMREAD_COLOR: ("BGR", 1),
    cv2.IMREAD_REDUCED_COLOR_2: ("BGR", 2),
    cv2.IMREAD_REDUCED_COLOR_4: ("BGR", 4),
    cv2.IMREAD_REDUCED_COLOR_8: ("BGR", 8),
    cv2.IMREAD_REDUCED_GRAYSCALE_8: ("GRAY", 8),
}
"""Color space and reduction factor for each flag of ``cv2.imdecode``."""

_STRAY_BYTES = re.compile(r"(\d+) extraneous bytes before marker 0xd9")

TWELVE_BITS = 1 << 12
"""Bound on the values of a 16-bit file whose 10-bit or 12-bit camera values were not scaled to 16 bits."""


Orientation = Literal["stored", "upright"]
"""How to turn the pixels of an image.

``stored`` leaves them as stored, which is how most annotations refer to them. ``upright`` applies the EXIF orientation,
as image viewers do.
"""


def read_image(
    path: Path, orientation: Orientation = "stored", size: Size | None = None, stated_by: str = ""
) -> NDArray[np.uint8]:
    """Read an image as H×W×3 uint8 RGB.

    Gray images are repeated over the channels, CMYK becomes RGB, transparency is dropped, and 16 bits become 8.

    Args:
        path: Path of the image.
        orientation: How to turn the pixels.
        size: Expected height and width; the other orientation is used if only that one fits. None accepts any size.
        stated_by: Subject and verb of the size in the error message, such as ``"a.json says"``.

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
        path: Path of the image, for the error message.
        shape: Shape of its pixels; the first two numbers are height and width.
        size: Expected height and width.
        expected: End of the error message, which states the expected size and its source.

    Raises:
        SeamsegError: The sizes differ.
    """
    if tuple(shape[:2]) != tuple(size):
        raise DataError(f"{path} is {size_text(shape)} (height×width), but {expected}")


def size_text(size: tuple[int, ...]) -> str:
    """Return ``height×width`` for messages."""
    return f"{size[0]}×{size[1]}"


def decode_file(path: Path, flags: int) -> NDArray[Any]:
    """Read an image file as ``cv2.imdecode`` returns it: H×W, or H×W×channels with blue first.

    Args:
        path: Path of the image.
        flags: Flags of ``cv2.imdecode``.

    Raises:
        BrokenImageError: The file is missing, truncated or not an image.
    """
    return decode(path, read_bytes(path), flags)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file that should be an image.

    Raises:
        BrokenImageError: The file is missing or empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenImageError(path, f"cannot be opened: {error.strerror}") from error
    if not data:
        raise BrokenImageError(path, "is an empty file")
    return data


def decode(path: Path, data: bytes, flags: int) -> NDArray[Any]:
    """Decode the bytes of an image file; see :func:`decode_file`.

    Args:
        path: Path of the image, for error messages.
        data: Content of the file.
        flags: Flags of ``cv2.imdecode``.

    Raises:
        BrokenImageError: The data is truncated, too large or not an image.
    """
    height, width = stored_size(data) or (0, 0)
    # OpenCV would allocate the memory before it fails.
    if height * width > MOST_PIXELS or max(height, width) > LONGEST_SIDE:
        reason = f"is too large: {height}×{width} (height×width); the maximum is {MOST_PIXELS:,} pixels"
        raise BrokenImageError(path, reason)
    pixels = _decode_jpeg(path, data, flags) if data.startswith(JPEG) else None
    if pixels is None:
        pixels = _decode_silently(np.frombuffer(data, dtype=np.uint8), flags)
    if pixels is None:
        raise BrokenImageError(path, _decoding_failure(path))
    return pixels


def _decode_jpeg(path: Path, data: bytes, flags: int) -> NDArray[Any] | None:
    """Decode an intact JPEG file to the same pixels as OpenCV; return None if only OpenCV supports it.

    OpenCV itself paints unreadable parts gray and prints a line that does not name the file.

    Raises:
        BrokenImageError: The data is damaged, as far as libjpeg can tell.
    """
    try:
        height, width, kind, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None  # arithmetic coding, 12 bits, broken headers
    mode = _JPEG_MODES.get(flags & ~cv2.IMREAD_IGNORE_ORIENTATION)
    color, factor = ("CMYK", 1) if kind == "CMYK" else mode or ("BGR", 1)
    try:
        pixels: NDArray[Any] = simplejpeg.decode_jpeg(
            data, color, min_height=-(-height // factor), min_width=-(-width // factor), min_factor=factor
        )
    except ValueError as error:
        stray = _STRAY_BYTES.search(str(error))
        if stray is None or int(stray[1]) > MOST_STRAY_BYTES:
            raise BrokenImageError(path, f"is damaged: {error}") from error
        return None
    needs_turning = not flags & cv2.IMREAD_IGNORE_ORIENTATION and has_exif_orientation(data)
    if mode is None or color == "CMYK" or needs_turning:
        return None
    return pixels[:, :, 0] if color == "GRAY" else pixels


def has_exif_orientation(data: bytes) -> bool:
    """Return whether the EXIF data of a JPEG file states that the image is stored sideways, upside down or mirrored."""
    with JpegImageFile(BytesIO(data)) as image:  # Image.open() refuses large images
        return bool(image.getexif().get(ExifTags.Base.Orientation, 1) != 1)


def has_twelve_bits(path: Path, pixels: NDArray[np.uint8]) -> bool:
    """Return whether an image is nearly black because its 16-bit file uses only the lowest twelve bits.

    Args:
        path: Path of the image.
        pixels: Pixels of this image as returned by :func:`read_image`.
    """
    if not pixels.any() or int(pixels.max()) >= TWELVE_BITS >> 8:
        return False
    return uses_twelve_bits(decode_file(path, cv2.IMREAD_UNCHANGED))


def uses_twelve_bits(stored: NDArray[Any]) -> bool:
    """Return whether stored pixels have 16 bits but use at most the lowest twelve; False for black images."""
    return stored.dtype == np.uint16 and 0 < int(stored.max()) < TWELVE_BITS


def _decoding_failure(path: Path) -> str:
    """Return the reason why a file could not be decoded."""
    suffix = path.suffix.lower()
    if suffix in UNREAD_SUFFIXES:
        return f"is a {suffix} file, which is not a supported format; convert it to JPEG or PNG"
    if suffix in VIDEO_SUFFIXES:
        return "is a video, not an image; pass videos one at a time"
    return "cannot be decoded: it is truncated, damaged or not an image"


def _decode_silently(data: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    """Decode an image with OpenCV's log output turned off; return None on failure.

    On failure, OpenCV sometimes returns None, sometimes raises, and always prints log lines.
    """
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(log_level)


def find_images(path: Path) -> FoundFiles:
    """Find the images that a path given by the user refers to.

    Args:
        path: An image; a folder, which :func:`~seamseg.data.input_folder.search_folder` searches; or a ``.txt`` list
            with one path per line, relative to the folder of the list.

    Returns:
        At least one image. Files named in a list are not checked: reading a missing one raises the error.

    Raises:
        FileNotFoundError: The path does not exist.
        SeamsegError: The folder or the list names no image.
    """
    if path.is_dir():
        found = search_folder(path, IMAGE_SUFFIXES)
    elif not path.exists():
        raise FileNotFoundError(f"{path} does not exist; pass an image, a folder of images or a .txt list of images")
    elif path.suffix.lower() == ".txt":
        found = FoundFiles(_read_image_list(path), [])
    else:
        return FoundFiles([path], [])
    if not found.paths:
        skipped = left_out_sentence(path, found.left_out)
        known = f"known suffixes are {' '.join(sorted(IMAGE_SUFFIXES))}"
        raise DataError(f"{path} contains no images; {known}{f'; {skipped}' if skipped else ''}")
    return found


def _read_image_list(file: Path) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # file names may contain other line breaks
    except UnicodeDecodeError as error:
        raise DataError(f"the list {file} is not a UTF-8 text file") from error
    return [_listed_path(file.parent, line.strip()) for line in lines if line.strip()]


def _listed_path(folder: Path, line: str) -> Path:
    """Return the file that a line names; lists written on Windows separate folders by backslashes."""
    path = folder / expand_home(line)
    return folder / expand_home(line.replace("\\", "/")) if "\\" in line and not path.exists() else path


REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
"""Flag of ``cv2.imdecode`` for each reduction factor."""

_MIN_RATIO = 1.25


def reduction(size: Size, target: Size) -> int:
    """Return the largest factor, 1, 2, 4 or 8, that leaves an image at least a quarter larger than the target.

    The regular filter does the rest of the resizing. Images then differ from those decoded at full size by two levels
    of 255 on average, as much as bicubic and bilinear resampling differ. Without the margin, they would differ by four.

    Args:
        size: Height and width of the image.
        target: Height and width after resizing.
    """
    fits = (f for f in (8, 4, 2) if all(_MIN_RATIO * new <= old // f for new, old in zip(target, size, strict=True)))
    return next(fits, 1)


def reduced_size(size: Size, factor: int) -> Size:
    """Return height and width of an image decoded with this factor; pixels that the edge cuts are included."""
    return -(-size[0] // factor), -(-size[1] // factor)


def read_reduced_jpeg(path: Path, size: Size, factor: int) -> NDArray[np.uint8] | None:
    """Read a JPEG at reduced size, otherwise as :func:`read_image` does.

    Args:
        path: Path of the image.
        size: Expected height and width of the image on disk.
        factor: Reduction factor: 2, 4 or 8.

    Returns:
        h×w×3 uint8 RGB pixels with the size from :func:`reduced_size`, or None if the file is not a JPEG of this size.

    Raises:
        BrokenImageError: The file is missing or truncated.
    """
    data = read_bytes(path)
    if not data.startswith(JPEG) or stored_size(data) != size:
        return None
    pixels = decode(path, data, REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.shape[:2] != reduced_size(size, factor):
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)
