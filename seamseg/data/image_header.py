"""Image sizes from the first bytes of PNG and JPEG files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from seamseg.structures import Size

JPEG = b"\xff\xd8"
"""First bytes of every JPEG file."""

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the excluded markers define tables
_SCAN = 0xDA
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def stored_size(head: bytes) -> Size | None:
    """Return height and width of the pixels in a PNG or JPEG file.

    The EXIF orientation is ignored. Sizes of 0 are possible.

    Args:
        head: First bytes of the file.

    Returns:
        Height and width, or None for other formats and for JPEG files that state their size after these bytes.
    """
    return _size_in_jpeg(head) if head.startswith(JPEG) else size_in_png(head)


def size_in_png(head: bytes) -> Size | None:
    """Return height and width from the first 24 bytes of a PNG (ISO/IEC 15948, 11.2.2); None for other files."""
    if not head.startswith(_PNG) or len(head) < len(_PNG) + 8:
        return None
    width, height = struct.unpack_from(">II", head, len(_PNG))
    return height, width


def _size_in_jpeg(head: bytes) -> Size | None:
    """Return height and width from the first frame header (JPEG standard, ITU-T T.81, B.2.2)."""
    for marker, position in _jpeg_segments(head):
        if marker in _FRAMES and position + 9 <= len(head):
            height, width = struct.unpack_from(">HH", head, position + 5)
            return height, width
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and position of each segment up to the compressed pixels; stop where the data is cut or damaged."""
    position = len(JPEG)
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        yield marker, position
        if marker == _SCAN:
            return
        length = 0 if marker in _WITHOUT_LENGTH else struct.unpack_from(">H", data, position + 2)[0]
        position += 2 + length
