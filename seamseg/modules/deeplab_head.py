"""DeepLabV3 head (Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seamseg.modules.compilation import Compilable, compilable
from seamseg.modules.norm import NormFactory
from seamseg.ops.window_mean import window_mean

DILATIONS = (12, 24, 36)
INFERENCE_WINDOW = 84
"""Side of the window whose mean replaces the global mean at inference, in positions of the map, as published."""


class DeepLabHead(Compilable):
    """Four convolutions with different dilations and the mean of the whole map, combined.

    Args:
        in_channels: Channels of the body's last level.
        norm: Factory of the norms, each with its activation.
        channels: Channels of each branch.
        out_channels: Channels of the output.

    Attributes:
        out_channels: Channels of the output.

    Shape:
        N×in×h×w to N×out_channels×h×w.
    """

    def __init__(self, in_channels: int, norm: NormFactory, channels: int = 256, out_channels: int = 256) -> None:
        super().__init__()
        convs = [norm.conv(in_channels, channels, 1)]
        for dilation in DILATIONS:
            convs.append(norm.conv(in_channels, channels, 3, dilation=dilation))
        self.out_channels = out_channels
        self.map_convs = nn.ModuleList(convs)
        self.map_bn = norm.make(channels * len(convs))
        self.global_pooling_conv = norm.conv(in_channels, channels, 1)
        self.global_pooling_bn = norm.make(channels)
        self.red_conv = norm.conv(channels * len(convs), out_channels, 1)
        self.pool_red_conv = norm.conv(channels, out_channels, 1)
        self.red_bn = norm.make(out_channels)

    @compilable
    def forward(self, x: Tensor) -> Tensor:
        """Combine the branches; at inference, the global mean is that of a window."""
        branches = self.map_bn(torch.cat([conv(x) for conv in self.map_convs], dim=1))
        mean = x.mean(dim=(2, 3), keepdim=True) if self.training else window_mean(x, INFERENCE_WINDOW)
        context = self.pool_red_conv(self.global_pooling_bn(self.global_pooling_conv(mean)))
        output: Tensor = self.red_bn(self.red_conv(branches) + context)
        return output
