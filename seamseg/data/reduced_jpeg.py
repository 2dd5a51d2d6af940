"""Photographs decoded at a half, a quarter or an eighth of their size.

A JPEG file holds blocks of 8×8 frequencies. Turned into 4×4, 2×2 or 1×1 pixels, for a part of the work, they give the
image at that size.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.image_header import JPEG, stored_size
from seamseg.data.images import decode, read_bytes
from seamseg.structures import Size

REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
"""Flags of ``cv2.imdecode`` by the factor."""

_SPARE = 1.25


def reduction(size: Size, target: Size) -> int:
    """The largest factor, 1, 2, 4 or 8, by which an image may be reduced and still be a quarter larger than the target.

    With the rest of the way left to the ordinary filter, photographs differ from those read whole by two levels of 255
    on average, as much as bicubic resampling differs from bilinear; without it by four.
    """
    fits = (f for f in (8, 4, 2) if all(_SPARE * new <= old // f for new, old in zip(target, size, strict=True)))
    return next(fits, 1)


def reduced_size(size: Size, factor: int) -> Size:
    """Height and width of the reduced image; pixels that the edge cuts are there."""
    return -(-size[0] // factor), -(-size[1] // factor)


def read_reduced_jpeg(path: Path, size: Size, factor: int) -> NDArray[np.uint8] | None:
    """Reads a photograph as :func:`seamseg.data.images.read_image` does, but smaller.

    Args:
        path: of the photograph.
        size: height and width that it should have on disk.
        factor: 2, 4 or 8.

    Returns:
        h×w×3 uint8, red first, of :func:`reduced_size`; None if the file is no JPEG of this size.

    Raises:
        BrokenImageError: the file is missing or truncated.
    """
    data = read_bytes(path)
    if not data.startswith(JPEG) or stored_size(data) != size:
        return None
    pixels = decode(path, data, REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.shape[:2] != reduced_size(size, factor):
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)
