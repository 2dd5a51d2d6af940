"""PNG files of segment ids (Kirillov et al. 2019, "Panoptic Segmentation") and of classes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.images import decode, read_bytes
from seamseg.errors import BrokenImageError, DataError, NativeLibraryError
from seamseg.ops.id_maps import read_id_png

MAX_SEGMENT_ID = 2**24 - 1
"""The largest id that three channels of eight bits can hold."""


def read_panoptic_png(path: Path) -> NDArray[np.int32]:
    """Read H×W segment ids, ``red + 256 green + 65536 blue``; 0 is void.

    Raises:
        BrokenImageError: The file is missing, truncated or not an 8-bit color image without transparency.
    """
    data = read_bytes(path)
    try:
        ids: NDArray[np.int32] = read_id_png(data).numpy()
        return ids
    except NativeLibraryError:
        raise
    except ValueError:  # OpenCV reads some kinds of PNG more, and says what is wrong with the others
        return _ids_of_picture(path, decode(path, data, cv2.IMREAD_UNCHANGED))


def _ids_of_picture(path: Path, pixels: NDArray[Any]) -> NDArray[np.int32]:
    if pixels.ndim == 3 and pixels.shape[2] == 4 and pixels.dtype == np.uint8 and pixels[..., 3].min() == 255:
        pixels = np.ascontiguousarray(pixels[..., :3])
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        reason = f"has {channels} channel(s) of {8 * pixels.itemsize} bits; segment ids need red, green, blue of 8 bits"
        raise BrokenImageError(path, reason)
    ids = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGBA).view("<i4")[..., 0]
    ids &= MAX_SEGMENT_ID
    return ids.astype(np.int32, copy=False)  # a copy where the machine keeps the highest byte first


def write_panoptic_png(path: Path, ids: NDArray[np.integer]) -> None:
    """Write H×W segment ids from 0 to 2²⁴ − 1; the inverse of :func:`read_panoptic_png`.

    Raises:
        SeamsegError: An id is out of range.
        OSError: The file cannot be written.
    """
    if ids.size and (ids.min() < 0 or ids.max() > MAX_SEGMENT_ID):
        raise DataError(f"{path}: segment ids lie in 0 … {MAX_SEGMENT_ID}, these in {ids.min()} … {ids.max()}")
    bytes_of_ids = np.ascontiguousarray(ids, "<i4").view(np.uint8).reshape(*ids.shape, 4)
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(bytes_of_ids, cv2.COLOR_RGBA2BGR))[1].tobytes())


UNLABELED = -1
"""The value of transparent pixels."""

_OPAQUE = 128  # alpha from which a pixel counts; edges of shapes drawn with soft edges lie between
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _PALETTE, _GRAY_ALPHA = 0, 3, 4


def read_label_map(path: Path) -> NDArray[np.int32]:
    """Read an image of labels as H×W int32 values.

    Gray images yield their values (8 or 16 bits; fewer bits are not stretched to 255), palette images the palette
    indices, and color images ``red + 256 green + 65536 blue``. Pixels that are more transparent than opaque are
    :data:`UNLABELED`.

    Raises:
        BrokenImageError: The file is missing or damaged, or has 16-bit colors or transparency.
    """
    data = read_bytes(path)
    indices = _indices(path, data)
    pixels = decode(path, data, cv2.IMREAD_UNCHANGED) if indices is None else indices
    if pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16):
        return pixels.astype(np.int32)
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4) and pixels.dtype == np.uint8:
        blue, green, red = (pixels[..., channel].astype(np.int32) for channel in range(3))
        values = red if _kind(data) == _GRAY_ALPHA else red + 256 * green + 65536 * blue
        return values if pixels.shape[2] == 3 else np.where(pixels[..., 3] < _OPAQUE, np.int32(UNLABELED), values)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = f"has {channels} channel(s) of {8 * pixels.itemsize} bits"
    raise BrokenImageError(path, f"{kind}; maps of numbers are gray, with a palette, or red, green, blue of 8 bits")


def color_text(value: int) -> str:
    """Return the value of a colored pixel in hexadecimal notation, ``#rrggbb``."""
    return f"#{value & 255:02x}{value >> 8 & 255:02x}{value >> 16:02x}"


def _kind(data: bytes) -> int | None:
    """Return the color type of a PNG; None for other files."""
    return data[25] if len(data) >= 33 and data.startswith(_SIGNATURE) else None


def _indices(path: Path, data: bytes) -> NDArray[np.uint8] | None:
    """Return the stored values of a palette PNG or of a gray PNG with fewer than 8 bits; None for other files.

    OpenCV would replace the indices by colors and stretch the values to 0 … 255. The same compressed data yields the
    stored values when the palette is dropped and the color type is set to gray.
    """
    kind = _kind(data)
    if kind is None:
        return None
    depth = data[24]
    if depth not in (1, 2, 4, 8) or not (kind == _PALETTE or (kind == _GRAY and depth < 8)):
        return None
    stretch: int = 255 // (2**depth - 1)
    pixels = decode(path, _as_gray(data), cv2.IMREAD_UNCHANGED)
    return np.asarray(pixels // stretch, np.uint8)


def _as_gray(data: bytes) -> bytes:
    """Return the PNG with its color type set to gray and only the chunks needed for the pixels."""
    chunks = [_SIGNATURE]
    for name, content in _chunks(data):
        if name == b"IHDR":
            content = content[:9] + bytes([_GRAY]) + content[10:]
        if name in (b"IHDR", b"IDAT", b"IEND"):
            body = name + content
            chunks.append(struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body)))
    return b"".join(chunks)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk up to the end of the file."""
    position = len(_SIGNATURE)
    while position + 8 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length
