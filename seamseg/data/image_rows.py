"""Large TIFF and PNG files, read row by row instead of whole, if pyvips is installed (the extra ``large``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.images import TWELVE_BITS
from seamseg.errors import BrokenImageError

_BANDS = {"tiffload": (1, 3), "pngload": (1, 2, 3, 4)}
"""Supported numbers of channels. OpenCV multiplies the colors of some TIFF files by their transparency."""

_COLORS = {"srgb": np.uint8, "b-w": np.uint8, "rgb16": np.uint16, "grey16": np.uint16}
"""Supported kinds of pixels, in libvips' words, with their type."""

_TYPES = {"uchar": np.uint8, "ushort": np.uint16}


class ImageRows:
    """Pixels of a TIFF or PNG file, equal to those of :func:`seamseg.data.images.read_image`, from top to bottom.

    Only the rows of the last call of :meth:`read` stay in memory.

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
        try:
            if self._region is None:
                self._region = pyvips.Region.new(self._image)
            data = self._region.fetch(0, start, self.size[1], end - start)
        except pyvips.Error as error:
            raise BrokenImageError(self.path, f"is truncated or damaged: {_first_line(error)}") from error
        kind = _COLORS[self._image.interpretation]
        stored = np.frombuffer(data, kind).reshape(end - start, self.size[1], self._image.bands)
        if kind == np.uint16:
            self._highest = max(self._highest, int(stored.max()))
        return self._to_rgb(stored)

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
        return 0 < self._highest < TWELVE_BITS


def open_rows(path: Path) -> ImageRows | None:
    """Open a file for reading row by row.

    Args:
        path: Path of an image.

    Returns:
        The rows, or None if the file has to be read whole: it is not a gray or RGB TIFF or PNG file of up to 8 or 16
        bits per channel, it is a TIFF file with transparency, it is stored rotated, it cannot be opened, or pyvips is
        not installed.
    """
    try:
        import pyvips
    except ImportError:
        return None
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error")
    except pyvips.Error:
        return None
    is_upright = not image.get_typeof("orientation") or image.get("orientation") == 1
    is_known = image.bands in _BANDS.get(image.get("vips-loader"), ()) and image.interpretation in _COLORS
    has_type = is_known and _COLORS[image.interpretation] == _TYPES.get(image.format)
    return ImageRows(path, image) if has_type and is_upright else None


def _first_line(error: Exception) -> str:
    lines = str(getattr(error, "detail", error)).strip().splitlines()
    return lines[0] if lines else "libvips gives no reason"
