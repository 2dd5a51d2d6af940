"""Large TIFF and PNG files, read row by row instead of whole, if pyvips is installed (the extra ``large``)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import COMPRESSION, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from seamseg.data.images import TWELVE_BITS, has_twelve_bits, read_image

_COLORS = {"srgb": ("uchar", 3), "rgb16": ("ushort", 3), "b-w": ("uchar", 1), "grey16": ("ushort", 1)}
"""Supported kinds of pixels, in libvips' words, with their type and their number of channels without transparency."""

_TYPES = {"uchar": np.uint8, "ushort": np.uint16}

_JPEG, _YCBCR = 7, 6
"""Values of the TIFF tags of compression and colors."""

_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error)
"""What Pillow raises for files with a damaged header."""


class ImageRows:
    """Pixels of a TIFF or PNG file, equal to those of :func:`seamseg.data.images.read_image`, from top to bottom.

    Only the rows of the last call of :meth:`read` stay in memory. If libvips fails, because the file is damaged or has
    an invalid tag, :func:`~seamseg.data.images.read_image` reads the file whole.

    Args:
        path: Path of the file.
        image: Image as pyvips opened it, for sequential access.

    Attributes:
        size: Height and width in pixels.
    """

    def __init__(self, path: Path, image: Any) -> None:
        self.path, self.size = path, (int(image.height), int(image.width))
        self._image = image
        self._region: Any = None  # opened in the thread that reads
        self._first, self._kept = 0, np.zeros((0, self.size[1], 3), np.uint8)
        self._highest = 0
        self._whole: NDArray[np.uint8] | None = None

    def read(self, start: int, end: int) -> NDArray[np.uint8]:
        """Return rows of the image as H×W×3 uint8 RGB.

        Args:
            start: First row; not before the first row of an earlier call.
            end: Last row + 1.

        Raises:
            BrokenImageError: The file is damaged.
        """
        assert self._first <= start, "rows are read from top to bottom"
        kept = self._kept[start - self._first :]
        read = self._first + len(self._kept)
        self._first, self._kept = start, np.concatenate([kept, self._decode(max(read, start), end)])
        return self._kept[: end - start]

    def _decode(self, start: int, end: int) -> NDArray[np.uint8]:
        import pyvips

        if end <= start:
            return self._kept[:0]
        if self._whole is None:
            try:
                return self._to_rgb(self._stored(start, end))
            except pyvips.Error:
                self._whole = read_image(self.path, "upright")
        return self._whole[start:end]

    def _stored(self, start: int, end: int) -> NDArray[Any]:
        import pyvips

        if self._region is None:
            self._region = pyvips.Region.new(self._image)
        data = self._region.fetch(0, start, self.size[1], end - start)
        stored = np.frombuffer(data, _TYPES[self._image.format]).reshape(end - start, self.size[1], self._image.bands)
        if stored.dtype == np.uint16:
            self._highest = max(self._highest, int(stored.max()))
        return stored

    def _to_rgb(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """Drop transparency, repeat gray, and convert 16 bits as OpenCV does, which rounds only colored TIFF files."""
        is_color = self._image.bands >= 3
        pixels = stored[..., :3] if is_color else np.repeat(stored[..., :1], 3, axis=2)
        if pixels.dtype == np.uint8:
            return np.ascontiguousarray(pixels)
        if is_color and self._image.get("vips-loader") == "tiffload":
            return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return (pixels >> 8).astype(np.uint8)

    @property
    def has_twelve_bits(self) -> bool:
        """Whether the rows that were read are nearly black: 16-bit values that use at most the lowest twelve bits."""
        if self._whole is not None:
            return has_twelve_bits(self.path, self._whole)
        return 0 < self._highest < TWELVE_BITS


def open_rows(path: Path) -> ImageRows | None:
    """Open a file for reading row by row.

    Args:
        path: Path of an image.

    Returns:
        The rows, or None if the file has to be read whole: it is not a gray or RGB TIFF or PNG file of up to 8 or 16
        bits per channel, it is a TIFF file with transparency or with YCbCr colors that JPEG does not compress, it is
        animated, it is stored rotated, it cannot be opened, or pyvips is not installed.
    """
    try:
        import pyvips
    except ImportError:
        return None
    try:
        # Without revalidate, libvips would return the image of an earlier call, even if the file has changed.
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error", revalidate=True)
    except pyvips.Error:
        return None
    is_upright = not image.get_typeof("orientation") or image.get("orientation") == 1
    try:
        return ImageRows(path, image) if is_upright and _has_known_colors(path, image) else None
    except _PILLOW_ERRORS:
        return None


def _has_known_colors(path: Path, image: Any) -> bool:
    """Return whether OpenCV and libvips agree about the colors of an image that libvips opened."""
    kind, channels = _COLORS.get(image.interpretation, ("", 0))
    if kind != image.format:
        return False
    if image.get("vips-loader") == "pngload":  # OpenCV starts with another picture of animated files
        return image.bands in (channels, channels + 1) and not _is_animated(path)
    # OpenCV multiplies the colors of some TIFF files by their transparency.
    return image.get("vips-loader") == "tiffload" and image.bands == channels and not _has_plain_ycbcr(path)


def _is_animated(path: Path) -> bool:
    with PngImageFile(path) as file:
        return bool(file.is_animated)


def _has_plain_ycbcr(path: Path) -> bool:
    """Return whether a TIFF file has YCbCr colors that libvips does not convert: those that JPEG does not compress."""
    with TiffImageFile(path) as file:
        return file.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _YCBCR and file.tag_v2.get(COMPRESSION) != _JPEG
