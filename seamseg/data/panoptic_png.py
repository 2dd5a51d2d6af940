"""Segment ids as colours: the PNG files of the COCO panoptic format (Kirillov et al. 2019, "Panoptic Segmentation")."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.images import BrokenImageError, decode, read_bytes
from seamseg.ops.id_maps import read_id_png

MAX_SEGMENT_ID = 2**24 - 1
"""The largest id that three channels of eight bits can hold."""


def read_panoptic_png(path: Path) -> NDArray[np.int32]:
    """Reads H×W segment ids, ``red + 256 green + 65536 blue``; 0 is void.

    Raises:
        BrokenImageError: the file is missing, truncated or not a colour image of eight bits without transparency.
    """
    data = read_bytes(path)
    try:
        ids: NDArray[np.int32] = read_id_png(data).numpy()
        return ids
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
    """Writes H×W segment ids of 0 … 2²⁴ − 1; the inverse of :func:`read_panoptic_png`.

    Raises:
        ValueError: an id does not fit.
        OSError: the file cannot be written.
    """
    if ids.size and (ids.min() < 0 or ids.max() > MAX_SEGMENT_ID):
        raise ValueError(f"{path}: segment ids lie in 0 … {MAX_SEGMENT_ID}, these in {ids.min()} … {ids.max()}")
    bytes_of_ids = np.ascontiguousarray(ids, "<i4").view(np.uint8).reshape(*ids.shape, 4)
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(bytes_of_ids, cv2.COLOR_RGBA2BGR))[1].tobytes())
