"""Residual blocks with the activation behind the sum (He et al., CVPR 2016)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from seamseg.modules.norm import Norm


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, or 1×1, 3×3, 1×1 (bottleneck), beside a shortcut.

    The stride is the first convolution's of a plain block and the 3×3's of a bottleneck.

    Args:
        in_channels: of the input.
        channels: of the inner convolutions.
        out_channels: of the output.
        norm: its activation also follows the sum.
        stride: 1 or 2.
        bottleneck: which of the two forms.

    Shape:
        N×in×H×W to N×out×⌈H/stride⌉×⌈W/stride⌉.
    """

    def __init__(
        self, in_channels: int, channels: int, out_channels: int, norm: Norm, stride: int, bottleneck: bool
    ) -> None:
        super().__init__()
        build = _bottleneck if bottleneck else _plain
        self.convs = build(in_channels, channels, out_channels, norm, stride)
        if stride != 1 or in_channels != out_channels:
            self.proj_conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.proj_bn = norm.make(out_channels, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.proj_bn(self.proj_conv(x)) if hasattr(self, "proj_conv") else x
        *inner, last_norm = self.convs
        for layer in inner:
            x = layer(x)
        # Norm, sum and activation are one step, which an in-place norm does in the memory of its input.
        total: Tensor = last_norm(x, residual)
        return total


def _plain(in_channels: int, channels: int, out_channels: int, norm: Norm, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False),
            bn1=norm.make(channels),
            conv2=nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            bn2=norm.make(out_channels),
        )
    )


def _bottleneck(in_channels: int, channels: int, out_channels: int, norm: Norm, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, channels, 1, bias=False),
            bn1=norm.make(channels),
            conv2=nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False),
            bn2=norm.make(channels),
            conv3=nn.Conv2d(channels, out_channels, 1, bias=False),
            bn3=norm.make(out_channels),
        )
    )
