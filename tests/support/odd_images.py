"""Image files of many kinds, including files that no decoder can read.

for name, image in odd_images().items():
    (folder / name).write_bytes(image.data)
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (40, 56)
_NOISE = np.random.default_rng(0).integers(0, 256, size=(*SIZE, 3), dtype=np.uint8)
PIXELS: NDArray[np.uint8] = np.asarray(cv2.GaussianBlur(_NOISE, (9, 9), 3), np.uint8)
"""H×W×3 RGB, smooth enough to survive JPEG compression."""


@dataclass(frozen=True)
class OddImage:
    """An image file.

    Attributes:
        data: Content of the file.
        expected: Expected upright pixels, H×W×3. None if reading the file must fail.
        tolerance: Maximum mean difference from the expected pixels.
        said: Part of the expected error message.
    """

    data: bytes
    expected: NDArray[np.uint8] | None
    tolerance: float = 0.0
    said: str = ""


def odd_images() -> dict[str, OddImage]:
    """Make all images, by file name."""
    gray = np.repeat(np.asarray(Image.fromarray(PIXELS).convert("L"))[..., None], 3, axis=2)
    jpeg = pillow("JPEG", quality=95)
    progressive = pillow("JPEG", quality=95, progressive=True)
    opaque = np.dstack([PIXELS[..., ::-1], np.full(SIZE, 7, np.uint8)])
    palette = Image.fromarray(PIXELS).quantize(16)
    damaged = "cannot be decoded: it is truncated, damaged or not an image"
    return {
        "color-16.png": OddImage(opencv(".png", PIXELS[..., ::-1].astype(np.uint16) * 257), PIXELS),
        "color-16.tif": OddImage(opencv(".tif", PIXELS[..., ::-1].astype(np.uint16) * 257), PIXELS),
        "gray.png": OddImage(opencv(".png", gray[..., 0]), gray),
        "gray-16.png": OddImage(opencv(".png", gray[..., 0].astype(np.uint16) * 257), gray),
        "gray.jpg": OddImage(pillow("JPEG", Image.fromarray(gray[..., 0]), quality=95), gray, 3),
        "cmyk.jpg": OddImage(pillow("JPEG", Image.fromarray(PIXELS).convert("CMYK"), quality=95), PIXELS, 4),
        "cmyk.tif": OddImage(pillow("TIFF", Image.fromarray(PIXELS).convert("CMYK")), PIXELS, 1),
        "alpha.png": OddImage(opencv(".png", opaque), PIXELS),
        "palette.png": OddImage(pillow("PNG", palette), np.asarray(palette.convert("RGB"))),
        "progressive.jpg": OddImage(progressive, PIXELS, 4),
        "rotated.jpg": OddImage(turned(6), np.rot90(PIXELS, -1), 4),
        "upside-down.jpg": OddImage(turned(3), np.rot90(PIXELS, 2), 4),
        "one-pixel.png": OddImage(opencv(".png", PIXELS[:1, :1, ::-1]), PIXELS[:1, :1]),
        "one-pixel.jpg": OddImage(pillow("JPEG", Image.fromarray(PIXELS[:1, :1])), PIXELS[:1, :1], 8),
        "truncated.jpg": OddImage(jpeg[: len(jpeg) // 2], None, said=damaged),
        "without-end.jpg": OddImage(jpeg[:-30], None, said="is damaged: Premature end"),
        "truncated-progressive.jpg": OddImage(
            progressive[: len(progressive) // 2], None, said="is damaged: Premature end"
        ),
        "damaged.jpg": OddImage(jpeg[:-300] + jpeg[200:300] + jpeg[-200:], None, said="is damaged: "),
        "truncated.png": OddImage(opencv(".png", PIXELS)[:-60], None, said=damaged),
        "empty.jpg": OddImage(b"", None, said="is an empty file"),
        "text.png": OddImage(b"hello", None, said=damaged),
    }


def pillow(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    """Encode an image with Pillow."""
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **options)
    return file.getvalue()


def opencv(suffix: str, pixels: NDArray[np.generic]) -> bytes:
    """Encode BGR pixels with OpenCV."""
    return cv2.imencode(suffix, np.ascontiguousarray(pixels))[1].tobytes()


def turned(orientation: int, pixels: NDArray[np.uint8] = PIXELS) -> bytes:
    """Encode a JPEG with an EXIF orientation: 6 means rotated by 90 degrees clockwise, 3 means upside down."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return pillow("JPEG", Image.fromarray(pixels), quality=95, exif=exif)


def vast_png(height: int, width: int, channels: int = 1) -> bytes:
    """Encode a black 8-bit PNG without holding its pixels in memory."""
    rows = height if height < 100 else 100
    assert height % rows == 0
    block = bytes(rows * (1 + width * channels))
    stream = zlib.compressobj(1)
    first = stream.compress(block) + stream.flush(zlib.Z_FULL_FLUSH)
    again = stream.compress(block) + stream.flush(zlib.Z_FULL_FLUSH)
    times = height // rows
    checksum = zlib.adler32(b"")
    for _ in range(times):
        checksum = zlib.adler32(block, checksum)
    data = first + again * (times - 1) + b"\x01\x00\x00\xff\xff" + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
