"""Backbone and feature pyramid: from images to the maps that the heads read."""

from __future__ import annotations

from torch import Tensor, nn

from seamseg.modules.fpn import FPN
from seamseg.modules.resnet import ResNet


class PyramidBody(nn.Module):
    """A backbone and the pyramid on it.

    Shape:
        N×3×H×W to maps N×C×h×w, fine to coarse.
    """

    def __init__(self, backbone: ResNet, fpn: FPN) -> None:
        super().__init__()
        self.backbone, self.fpn = backbone, fpn

    def forward(self, images: Tensor) -> list[Tensor]:
        levels: list[Tensor] = self.fpn(self.backbone(images))
        return levels
