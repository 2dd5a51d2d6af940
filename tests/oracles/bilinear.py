"""Bilinear interpolation of single values in double precision."""

from __future__ import annotations

import math

from torch import Tensor


def bilinear(values: Tensor, y: float, x: float) -> float:
    """Return the value at (y, x), where value (i, j) has its center at (i + ½, j + ½); the border extends outward.

    Args:
        values: h×w.
        y: Row coordinate.
        x: Column coordinate.
    """
    height, width = values.shape
    y, x = min(max(y - 0.5, 0.0), height - 1.0), min(max(x - 0.5, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = float(values[top, left]) * (1 - across) + float(values[top, right]) * across
    lower = float(values[bottom, left]) * (1 - across) + float(values[bottom, right]) * across
    return upper * (1 - down) + lower * down
