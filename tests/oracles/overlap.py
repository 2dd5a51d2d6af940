"""Areas and overlaps of two boxes, one number at a time.

The computation uses single precision like the code under test, so that ties and exact thresholds are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

Box = Sequence[float]


def area(box: Box) -> np.float32:
    """Return the area of a (y0, x0, y1, x1) box in square pixels; 0 for a box with negative sides."""
    y0, x0, y1, x1 = (np.float32(edge) for edge in box)
    return max(y1 - y0, np.float32(0)) * max(x1 - x0, np.float32(0))


def iou(box: Box, other: Box) -> np.float32:
    """Return the intersection over union; 0 if the union is empty."""
    common = [max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3])]
    intersection = area(common)
    union = area(box) + area(other) - intersection
    return intersection / union if union > 0 else np.float32(0)


def coverage(box: Box, pixels: Tensor) -> np.float32:
    """Return the number of marked pixels inside the truncated corners, divided by the exact area; 0 without area."""
    y0, x0, y1, x1 = (int(edge) for edge in box)
    marked = 0
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            marked += bool(pixels[y, x]) and y0 <= y < y1 and x0 <= x < x1
    return np.float32(marked) / area(box) if area(box) > 0 else np.float32(0)
