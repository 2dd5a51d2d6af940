"""Valid files to be damaged."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from support.odd_images import PIXELS, odd_images, opencv, pillow

SIZE = (40, 56)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@cache
def images() -> dict[str, bytes]:
    """Return images by name: every readable kind, in every format."""
    sound = {name: odd.data for name, odd in odd_images().items() if odd.expected is not None}
    plain = {
        f"plain{suffix}": opencv(suffix, PIXELS[..., ::-1]) for suffix in (".jpg", ".bmp", ".webp", ".tif", ".ppm")
    }
    return sound | plain | {"profile.jpg": pillow("JPEG", icc_profile=bytes(3000), dpi=(72, 72))}


@cache
def id_maps() -> list[NDArray[np.int64]]:
    """Return typical regions of an annotation, and noise."""
    regions = np.ones(SIZE, np.int64)
    regions[25:] = 2 + 256 * 7
    regions[10:30, 5:20], regions[18:35, 15:33], regions[:, 50:] = 70_000, 70_001, 0
    noise = np.random.default_rng(0).integers(0, 2**24, SIZE)
    return [regions, regions.T[: SIZE[0], : SIZE[0]].copy(), noise]


@cache
def id_pngs() -> list[bytes]:
    """Return PNGs of segment ids with all row filters and all kinds of compressed blocks."""
    files = [opencv(".png", np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8)) for ids in id_maps()]
    for ids in id_maps():
        rows = filtered_rows(ids, [0, 1, 2, 3, 4])
        for level, strategy in (
            (0, zlib.Z_DEFAULT_STRATEGY),
            (9, zlib.Z_FIXED),
            (6, zlib.Z_HUFFMAN_ONLY),
            (6, zlib.Z_RLE),
        ):
            files.append(png_file(ids.shape, deflated(rows, level, strategy)))
    return files


def filtered_rows(ids: NDArray[np.int64], filters: Sequence[int]) -> bytes:
    """Return RGB rows with the filters of the PNG standard (ISO/IEC 15948, 9.2), used in turn."""
    pixels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.int64)
    left = np.pad(pixels, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    above, corner = (np.pad(one, ((1, 0), (0, 0), (0, 0)))[:-1] for one in (pixels, left))
    distances = np.stack([abs(left + above - corner - one) for one in (left, above, corner)])
    nearest = np.choose(distances.argmin(axis=0), [left, above, corner])
    predictions = [0 * pixels, left, above, (left + above) // 2, nearest]
    rows = []
    for y in range(len(ids)):
        kind = filters[y % len(filters)]
        rows.append(bytes([kind]) + (pixels[y] - predictions[kind][y]).astype(np.uint8).tobytes())
    return b"".join(rows)


def deflated(rows: bytes, level: int, strategy: int) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
    return stream.compress(rows) + stream.flush()


def png_file(size: Sequence[int], data: bytes) -> bytes:
    """Return an RGB PNG with these compressed rows."""
    header = struct.pack(">IIBBBBB", size[1], size[0], 8, 2, 0, 0, 0)
    return SIGNATURE + b"".join(png_chunk(*part) for part in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")))


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
