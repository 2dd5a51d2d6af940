"""Areas and overlaps of two boxes, one number at a time.

In single precision like the code under test: what ties there, or just reaches a threshold, must do so here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

Box = Sequence[float]


def area(box: Box) -> np.float32:
    """Square pixels of a (y0, x0, y1, x1) box; 0 for one that is inside out."""
    y0, x0, y1, x1 = (np.float32(edge) for edge in box)
    return max(y1 - y0, np.float32(0)) * max(x1 - x0, np.float32(0))


def iou(box: Box, other: Box) -> np.float32:
    """Intersection over union; 0 where there is no union."""
    common = [max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3])]
    intersection = area(common)
    union = area(box) + area(other) - intersection
    return intersection / union if union > 0 else np.float32(0)


def coverage(box: Box, pixels: Tensor) -> np.float32:
    """Marked pixels inside the truncated corners, over the real area; 0 without area."""
    y0, x0, y1, x1 = (int(edge) for edge in box)
    marked = 0
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            marked += bool(pixels[y, x]) and y0 <= y < y1 and x0 <= x < x1
    return np.float32(marked) / area(box) if area(box) > 0 else np.float32(0)
