"""The size of a photograph without decoding it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from seamseg.data.images import BrokenImageError, read_image
from seamseg.structures import Size

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_HEAD = 1 << 16
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the others of these define tables
_SCAN, _END = 0xDA, b"\xff\xd9"
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def image_size(path: Path) -> Size:
    """Height and width as stored, from the header of a JPEG or PNG; images of other kinds are decoded.

    Raises:
        BrokenImageError: the file is missing, or no image.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            size = _size_in(head)
            if size is None and head.startswith(_JPEG):  # large thumbnails and profiles come first
                size = _size_in(head + file.read())
    except OSError as error:
        raise BrokenImageError(path, f"cannot be opened: {error.strerror}") from error
    if size is None or min(size) < 1:
        height, width = read_image(path).shape[:2]
        return height, width
    return size


def _size_in(head: bytes) -> Size | None:
    if head.startswith(_PNG) and head[12:16] == b"IHDR" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return height, width
    return _size_in_jpeg(head) if head.startswith(_JPEG) else None


def _size_in_jpeg(head: bytes) -> Size | None:
    """From the first frame header (JPEG standard, ITU-T T.81, B.2.2); None where it is not found."""
    for marker, position in _jpeg_segments(head):
        if marker in _FRAMES and position + 9 <= len(head):
            height, width = struct.unpack(">HH", head[position + 5 : position + 9])
            return height, width
    return None


def jpeg_is_complete(data: bytes) -> bool:
    """Whether a JPEG file has an end; decoders paint what is missing grey and say nothing.

    Compressed pixels contain no marker, so the first end after their beginning is the image's, not a thumbnail's.
    """
    begin = next((position for marker, position in _jpeg_segments(data) if marker == _SCAN), None)
    return begin is not None and data.find(_END, begin) >= 0


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and position of the segments up to the compressed pixels; ends where the data is cut or damaged."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        yield marker, position
        if marker == _SCAN:
            return
        length = 0 if marker in _WITHOUT_LENGTH else struct.unpack(">H", data[position + 2 : position + 4])[0]
        position += 2 + length
