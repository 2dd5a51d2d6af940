"""RoI features: the level by its formula, then one interpolated value after the other."""

from __future__ import annotations

import math

import torch
from oracles.bilinear import bilinear
from oracles.overlap import Box
from torch import Tensor


def level_of(box: Box, num_levels: int) -> int:
    """Return the level: the third for boxes of 224 pixels, and one level per factor of two."""
    y0, x0, y1, x1 = box
    level = math.floor(2 + math.log2(math.sqrt((y1 - y0) * (x1 - x0)) / 224 + 1e-6))
    return min(max(level, 0), num_levels - 1)


def region_features(levels: list[Tensor], image: int, box: Box, padded_size: tuple[int, int], size: int) -> Tensor:
    """Return C×size×size features of one box of one image.

    Args:
        levels: Pyramid levels, N×C×h×w each.
        image: Index of the image in 0 … N − 1.
        box: Box in pixels of the padded image.
        padded_size: Height and width of the padded image.
        size: Side of the result.
    """
    level = levels[level_of(box, len(levels))][image]
    channels, height, width = level.shape
    scale_y, scale_x = height / padded_size[0], width / padded_size[1]
    y0, y1 = ((edge - 0.5) * scale_y + 0.5 for edge in (box[0], box[2]))
    x0, x1 = ((edge - 0.5) * scale_x + 0.5 for edge in (box[1], box[3]))
    features = torch.empty(channels, size, size, dtype=torch.float64)
    for channel in range(channels):
        for i in range(size):
            for j in range(size):
                y, x = y0 + (i + 0.5) / size * (y1 - y0), x0 + (j + 0.5) / size * (x1 - x0)
                features[channel, i, j] = bilinear(level[channel], y, x)
    return features
