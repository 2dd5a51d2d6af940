"""Anchors, the boxes that proposals are decoded from (Ren et al., Faster R-CNN, section 3.1.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seamseg.structures.images import Size


class AnchorGrid:
    """Anchors with one scale and several aspect ratios at every position of every level.

    Args:
        ratios: Ratios of height to width, one anchor per ratio.
        scale: Side of a square anchor, in positions of its level.
        strides: Distance between neighboring positions of each level, in pixels.
    """

    def __init__(self, ratios: Sequence[float], scale: float, strides: Sequence[int]) -> None:
        self.ratios, self.scale, self.strides = tuple(ratios), scale, tuple(strides)

    def __call__(self, level_sizes: Sequence[Size], device: torch.device) -> Tensor:
        """Return all anchors of images with the given level sizes.

        Anchors are always float32: matching compares overlaps, and another precision would break ties differently.

        Args:
            level_sizes: Height and width of each level, in positions.
            device: Device of the result.

        Returns:
            K×4 boxes in pixels, in the order level, row, column, ratio.

        Raises:
            ValueError: If the number of levels differs from the number of strides.
        """
        if len(level_sizes) != len(self.strides):
            raise ValueError(f"got {len(level_sizes)} feature levels for anchors with {len(self.strides)} strides")
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
