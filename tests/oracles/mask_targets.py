"""Mask targets, one position at a time."""

from __future__ import annotations

import math

from oracles.overlap import Box
from torch import Tensor


def mask_target(ids: Tensor, box: Box, segment: int, mask_size: int, void_is_background: bool) -> list[list[int]]:
    """Return M×M: 1 for positions in a pixel of the segment, 0 for others, −1 for ignored void."""
    height, width = ids.shape
    y0, x0, y1, x1 = box
    target = []
    for i in range(mask_size):
        row = []
        for j in range(mask_size):
            y = math.floor(y0 + (i + 0.5) / mask_size * (y1 - y0))
            x = math.floor(x0 + (j + 0.5) / mask_size * (x1 - x0))
            found = int(ids[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])
            ignored = found == 0 and not void_is_background
            row.append(-1 if ignored else int(found == segment))
        target.append(row)
    return target
