"""Anchors: the boxes that the proposals start from (Ren et al., Faster R-CNN, section 3.1.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seamseg.structures.images import Size


class AnchorGrid:
    """One scale and several shapes at every position of every level.

    Args:
        ratios: height over width, one anchor each.
        scale: side of a square anchor in positions of its level.
        strides: pixels between positions, per level.
    """

    def __init__(self, ratios: Sequence[float], scale: float, strides: Sequence[int]) -> None:
        self.ratios, self.scale, self.strides = tuple(ratios), scale, tuple(strides)

    def __call__(self, level_sizes: Sequence[Size], device: torch.device) -> Tensor:
        """All anchors of images whose levels have these heights and widths.

        Always float32: matching compares overlaps that tie, and another precision breaks the ties otherwise.

        Returns:
            K×4 in pixels, in the order level, row, column, ratio.

        Raises:
            ValueError: there are more or fewer levels than strides.
        """
        if len(level_sizes) != len(self.strides):
            raise ValueError(f"{len(level_sizes)} feature levels were given to anchors of {len(self.strides)} strides")
        levels = [self._level(size, stride) for size, stride in zip(level_sizes, self.strides, strict=True)]
        return torch.cat(levels).to(device)

    def _level(self, size: Size, stride: int) -> Tensor:
        half_sizes = [
            (stride * self.scale * math.sqrt(ratio) / 2, stride * self.scale / math.sqrt(ratio) / 2)
            for ratio in self.ratios
        ]
        shapes = torch.tensor([[-height, -width, height, width] for height, width in half_sizes])
        rows, columns = (torch.arange(count, dtype=torch.float32) * stride + stride / 2 for count in size)
        center_y, center_x = torch.meshgrid(rows, columns, indexing="ij")
        centers = torch.stack([center_y, center_x, center_y, center_x], dim=-1)
        return (centers[:, :, None] + shapes).flatten(0, 2)
