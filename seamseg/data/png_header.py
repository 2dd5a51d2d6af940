"""What the first bytes of a PNG say."""

from __future__ import annotations

import struct
from pathlib import Path

from seamseg.data.images import BrokenImageError
from seamseg.structures import Size

_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def png_size(path: Path) -> Size:
    """Height and width of a PNG, without decoding it.

    Raises:
        BrokenImageError: the file is missing, or is no PNG.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_START) + 8)
    except OSError as error:
        raise BrokenImageError(path, f"cannot be opened: {error.strerror}") from error
    if len(head) < len(_START) + 8 or not head.startswith(_START):
        raise BrokenImageError(path, "is no PNG")
    width, height = struct.unpack(">II", head[len(_START) :])
    if width == 0 or height == 0:
        raise BrokenImageError(path, "is a PNG without pixels")
    return height, width
