"""Rectangles with round corners."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from seamseg.structures.categories import Color

Rectangle = tuple[int, int, int, int]
"""y0, x0, y1, x1 in pixels, half-open."""

_POINTS = 4


def fill_rounded(
    canvas: npt.NDArray[np.uint8], rectangle: Rectangle, radius: int, color: Color, opacity: float = 1.0
) -> None:
    """Paints a rectangle with smooth round corners into an H×W×3 picture, in place; it must lie inside."""
    y0, x0, y1, x1 = rectangle
    area = canvas[y0:y1, x0:x1]
    alpha = rounded_mask(y1 - y0, x1 - x0, radius)[:, :, None] * opacity
    area[:] = np.rint(area * (1 - alpha) + np.array(color, np.float32) * alpha)


@lru_cache(maxsize=64)
def rounded_mask(height: int, width: int, radius: int) -> npt.NDArray[np.float32]:
    """H×W coverage of the pixels, 0 … 1, by a rectangle of that size with round corners."""
    radius = min(radius, height // 2, width // 2)
    mask = np.ones((height, width), np.float32)
    if radius:
        quarter = _quarter_disc(radius)
        mask[:radius, :radius] = quarter
        mask[:radius, -radius:] = quarter[:, ::-1]
        mask[-radius:, :radius] = quarter[::-1]
        mask[-radius:, -radius:] = quarter[::-1, ::-1]
    mask.setflags(write=False)
    return mask


def _quarter_disc(radius: int) -> npt.NDArray[np.float32]:
    """Coverage of the pixels by the top left quarter of a disc, by counting points."""
    points = radius - (np.arange(radius * _POINTS) + 0.5) / _POINTS
    inside = np.hypot.outer(points, points) <= radius
    return np.asarray(inside.reshape(radius, _POINTS, radius, _POINTS).mean(axis=(1, 3)), np.float32)


def paste_rounded(canvas: npt.NDArray[np.uint8], picture: npt.NDArray[np.uint8], y: int, x: int, radius: int) -> None:
    """Puts a picture with round corners into a larger one, in place; it must lie inside."""
    height, width = picture.shape[:2]
    area = canvas[y : y + height, x : x + width]
    alpha = rounded_mask(height, width, radius)[:, :, None]
    area[:] = np.rint(area * (1 - alpha) + picture * alpha)
