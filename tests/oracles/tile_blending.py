"""Class of every pixel from overlapping tiles, with image-sized scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def blended_scores(logits: Sequence[Tensor], windows: Sequence[tuple[int, int, int, int]], size: tuple) -> Tensor:
    """Average the enlarged logits of all tiles, weighted by the distances to the edges of the tile: C×H×W."""
    total, weights = torch.zeros(len(logits[0]), *size), torch.zeros(size)
    for scores, (y0, x0, y1, x1) in zip(logits, windows, strict=True):
        height, width = y1 - y0, x1 - x0
        large = functional.interpolate(scores[None], (height, width), mode="bilinear", align_corners=False)[0]
        for y in range(height):
            for x in range(width):
                weight = min(y + 0.5, height - y - 0.5) * min(x + 0.5, width - x - 0.5)
                total[:, y0 + y, x0 + x] += weight * large[:, y, x]
                weights[y0 + y, x0 + x] += weight
    return total / weights
