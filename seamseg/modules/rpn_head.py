"""Head of the region proposal network (Ren et al., Faster R-CNN, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seamseg.modules.compilation import Compilable, compilable
from seamseg.modules.norm import NormFactory


class RPNHead(Compilable):
    """Objectness and box_deltas of A anchors at every position; all pyramid levels share the weights.

    Args:
        in_channels: Number of channels of the feature pyramid.
        channels: Number of channels of the hidden layer.
        num_anchors: Number of anchors A per position.
        norm: Factory of the norm after the hidden layer. The levels pass through the norm one after the other, fine to
            coarse. In training, each level is therefore normalized by its own statistics, and the running statistics
            are updated once per level.
    """

    def __init__(self, in_channels: int, channels: int, num_anchors: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv1 = norm.conv(in_channels, channels, 3)
        self.bn1 = norm.make(channels)
        self.conv_obj = nn.Conv2d(channels, num_anchors, 1)
        self.conv_bbx = nn.Conv2d(channels, 4 * num_anchors, 1)

    @compilable
    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict objectness and box_deltas for the levels that have anchors.

        Args:
            levels: Feature maps, N×C×h×w each.

        Returns:
            objectness: N×K logits.
            box_deltas: N×K×4. K counts the anchors of all levels in the order level, row, column, anchor.
        """
        objectness, box_deltas = zip(*(self._level(level) for level in levels), strict=True)
        return torch.cat(objectness, dim=1), torch.cat(box_deltas, dim=1)

    def _level(self, level: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.bn1(self.conv1(level))
        objectness = self.conv_obj(hidden).permute(0, 2, 3, 1).flatten(1)
        box_deltas = self.conv_bbx(hidden).permute(0, 2, 3, 1).reshape(level.shape[0], -1, 4)
        return objectness, box_deltas
