"""Encoding and decoding of single boxes in double precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

Numbers = Sequence[float]


def encode(box: Numbers, target: Numbers) -> list[float]:
    """Return (dy, dx, dh, dw): moves of the center in sides of the box, and logarithms of the growth of the sides."""
    (cy, cx, height, width), (target_y, target_x, target_height, target_width) = _centered(box), _centered(target)
    return [
        (target_y - cy) / height,
        (target_x - cx) / width,
        math.log(target_height / height),
        math.log(target_width / width),
    ]


def decode(box: Numbers, delta: Numbers) -> list[float]:
    """Return the box moved and stretched by a delta; no side grows by more than 1000/16."""
    cy, cx, height, width = _centered(box)
    cy, cx = cy + delta[0] * height, cx + delta[1] * width
    height, width = (side * min(math.exp(log), 1000 / 16) for side, log in ((height, delta[2]), (width, delta[3])))
    return [cy - height / 2, cx - width / 2, cy + height / 2, cx + width / 2]


def clip(box: Numbers, size: tuple[int, int]) -> list[float]:
    """Return the part of the box inside the image; it has no area if box and image do not intersect."""
    return [min(max(edge, 0.0), float(limit)) for edge, limit in zip(box, (*size, *size), strict=True)]


def _centered(box: Numbers) -> tuple[float, float, float, float]:
    y0, x0, y1, x1 = box
    return (y0 + y1) / 2, (x0 + x1) / 2, y1 - y0, x1 - x0
