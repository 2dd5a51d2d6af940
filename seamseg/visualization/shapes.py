"""Rectangles with round corners, and outlines and stripes of segments."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.structures.categories import Color

Rectangle = tuple[int, int, int, int]
"""Edges (y0, x0, y1, x1) in pixels, half-open."""

_POINTS = 4


def fill_rounded(
    canvas: npt.NDArray[np.uint8], rectangle: Rectangle, radius: int, color: Color, opacity: float = 1.0
) -> None:
    """Fill a rectangle with smooth round corners in a picture, in place.

    Args:
        canvas: Picture, H×W×3 uint8 RGB.
        rectangle: Rectangle inside the picture.
        radius: Radius of the corners in pixels.
        color: Color of the rectangle.
        opacity: Opacity of the rectangle in 0 … 1.
    """
    y0, x0, y1, x1 = rectangle
    area = canvas[y0:y1, x0:x1]
    alpha = rounded_mask(y1 - y0, x1 - x0, radius)[:, :, None] * opacity
    area[:] = np.rint(area * (1 - alpha) + np.array(color, np.float32) * alpha)


@lru_cache(maxsize=64)
def rounded_mask(height: int, width: int, radius: int) -> npt.NDArray[np.float32]:
    """Return how much of each pixel a rectangle with round corners covers, H×W in 0 … 1."""
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
    """Return how much of each pixel the top left quarter of a disc covers, by counting points."""
    points = radius - (np.arange(radius * _POINTS) + 0.5) / _POINTS
    inside = np.hypot.outer(points, points) <= radius
    return np.asarray(inside.reshape(radius, _POINTS, radius, _POINTS).mean(axis=(1, 3)), np.float32)


def paste_rounded(canvas: npt.NDArray[np.uint8], picture: npt.NDArray[np.uint8], y: int, x: int, radius: int) -> None:
    """Paste a picture with round corners into a larger one, in place.

    Args:
        canvas: Larger picture, H×W×3 uint8 RGB.
        picture: Picture to paste; it must fit inside.
        y: Row of its top left pixel.
        x: Column of its top left pixel.
        radius: Radius of the corners in pixels.
    """
    height, width = picture.shape[:2]
    area = canvas[y : y + height, x : x + width]
    alpha = rounded_mask(height, width, radius)[:, :, None]
    area[:] = np.rint(area * (1 - alpha) + picture * alpha)


Alpha = npt.NDArray[np.float32]
"""Coverage of each pixel by a line, H×W in 0 … 1."""

_PIXELS_PER_THICKNESS = 550
_FAINTEST = 0.4


def line_thickness(height: int, width: int) -> float:
    """Return the line thickness in pixels for an image of that size; below 1, draw a fainter line of one pixel."""
    return math.sqrt(height * width) / _PIXELS_PER_THICKNESS


def outlines(ids: npt.NDArray[np.int64], outlined: npt.NDArray[np.bool_]) -> Alpha:
    """Return smooth lines along the inside of the borders of chosen segments.

    Args:
        ids: Segment ids 0 … K, H×W.
        outlined: Whether each segment has a line, K+1.
    """
    thickness = line_thickness(*ids.shape)
    radius = max(1, round(thickness))
    # A pixel is near a border if the maximum and minimum ids around it differ. float32 is exact up to 16 million ids.
    numbers = ids.astype(np.float32)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    border = (cv2.dilate(numbers, disc) != cv2.erode(numbers, disc)) & outlined[ids]
    smooth = cv2.GaussianBlur(border.astype(np.float32), (0, 0), 0.3 + 0.3 * radius)
    strength = min(1.0, max(_FAINTEST, thickness))
    return np.asarray(np.minimum(1.25 * smooth, 1) * strength, np.float32)


def stripes(height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return a mask of diagonal stripes, H×W; they cover a quarter of the pixels."""
    stroke = max(1, round(2.4 * line_thickness(height, width)))
    return np.add.outer(np.arange(height, dtype=np.int32), np.arange(width, dtype=np.int32)) % (4 * stroke) < stroke


def blend(canvas: npt.NDArray[np.uint8], alpha: Alpha, level: int) -> None:
    """Blend a gray level into a picture, in place.

    Args:
        canvas: Picture, H×W×3 uint8 RGB.
        alpha: Opacity of each pixel, H×W in 0 … 1.
        level: Gray level, 0 … 255.
    """
    touched = alpha > 0
    part = alpha[touched][:, None]
    canvas[touched] = np.rint(canvas[touched] * (1 - part) + level * part)
