"""ResNet and its residual blocks with the activation after the sum (He et al., CVPR 2016)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from seamseg.modules.body import Body
from seamseg.modules.norm import NormFactory


class ResidualBlock(nn.Module):
    """Residual block with two 3×3 convolutions, or with 1×1, 3×3 and 1×1 convolutions (bottleneck).

    The first convolution of a plain block has the stride, or the 3×3 convolution of a bottleneck.

    Args:
        in_channels: Number of input channels.
        channels: Number of channels of the inner convolutions.
        out_channels: Number of output channels.
        norm: Factory of the norms; its activation also follows the sum.
        stride: 1 or 2.
        bottleneck: Whether the block is a bottleneck.

    Shape:
        N×in×H×W to N×out×⌈H/stride⌉×⌈W/stride⌉.
    """

    def __init__(
        self, in_channels: int, channels: int, out_channels: int, norm: NormFactory, stride: int, bottleneck: bool
    ) -> None:
        super().__init__()
        build = _bottleneck if bottleneck else _plain
        self.convs = build(in_channels, channels, out_channels, norm, stride)
        if stride != 1 or in_channels != out_channels:
            self.proj_conv = norm.conv(in_channels, out_channels, 1, stride)
            self.proj_bn = norm.make(out_channels, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the activation of convolutions plus shortcut."""
        residual = self.proj_bn(self.proj_conv(x)) if hasattr(self, "proj_conv") else x
        *inner, last_norm = self.convs
        for layer in inner:
            x = layer(x)
        # An in-place norm computes norm, sum and activation in the memory of its input.
        total: Tensor = last_norm(x, residual)
        return total


def _plain(in_channels: int, channels: int, out_channels: int, norm: NormFactory, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=norm.conv(in_channels, channels, 3, stride),
            bn1=norm.make(channels),
            conv2=norm.conv(channels, out_channels, 3),
            bn2=norm.make(out_channels),
        )
    )


def _bottleneck(in_channels: int, channels: int, out_channels: int, norm: NormFactory, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=norm.conv(in_channels, channels, 1),
            bn1=norm.make(channels),
            conv2=norm.conv(channels, channels, 3, stride),
            bn2=norm.make(channels),
            conv3=norm.conv(channels, out_channels, 1),
            bn3=norm.make(out_channels),
        )
    )


ResNetName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


@dataclass(frozen=True)
class _Shape:
    blocks: tuple[int, int, int, int]
    bottleneck: bool


RESNET_BLOCKS: dict[ResNetName, _Shape] = {
    "resnet18": _Shape((2, 2, 2, 2), bottleneck=False),
    "resnet34": _Shape((3, 4, 6, 3), bottleneck=False),
    "resnet50": _Shape((3, 4, 6, 3), bottleneck=True),
    "resnet101": _Shape((3, 4, 23, 3), bottleneck=True),
    "resnet152": _Shape((3, 8, 36, 3), bottleneck=True),
}
"""Number of blocks per group, and type of the blocks, of every ResNet."""
STEM_CHANNELS = 64
"""Number of output channels of the stem."""
_LARGE = 2**16
"""Number of positions of a large map, over all images. Two images of 512×1024 pixels have it at stride 4, so that the
stem and the first group are recomputed."""


class ResNet(Body):
    """Convolutional part of a ResNet.

    ``mod1`` is the stem (7×7 convolution with stride 2, norm, 3×3 max pool with stride 2); ``mod2`` … ``mod5`` are the
    groups of residual blocks.

    Args:
        name: ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101`` or ``resnet152``.
        norm: Factory of the norm after every convolution.

    Shape:
        N×3×H×W to four maps N×C×h×w at strides 4, 8, 16 and 32; see :attr:`channels`.

    Attributes:
        channels: Number of channels of the four maps.
        strides: Strides of the four maps in pixels.
    """

    def __init__(self, name: ResNetName, norm: NormFactory) -> None:
        super().__init__()
        shape = RESNET_BLOCKS[name]
        expansion = 4 if shape.bottleneck else 1
        self.channels = tuple(STEM_CHANNELS * 2**group * expansion for group in range(4))
        self.strides = (4, 8, 16, 32)
        self.mod1 = nn.Sequential(
            OrderedDict(
                conv1=norm.conv(3, STEM_CHANNELS, 7, stride=2),
                bn1=norm.make(STEM_CHANNELS),
                pool1=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )
        incoming = (STEM_CHANNELS, *self.channels[:-1])
        for group, num_blocks in enumerate(shape.blocks):
            inner = STEM_CHANNELS * 2**group
            blocks = OrderedDict[str, nn.Module]()
            for block in range(num_blocks):
                first = block == 0
                blocks[f"block{block + 1}"] = ResidualBlock(
                    incoming[group] if first else self.channels[group],
                    inner,
                    self.channels[group],
                    norm,
                    stride=2 if first and group > 0 else 1,
                    bottleneck=shape.bottleneck,
                )
            self.add_module(f"mod{group + 2}", nn.Sequential(blocks))

    def levels(self, images: Tensor) -> list[Tensor]:
        """Compute the four feature maps of N×3×H×W images, fine to coarse."""
        features = []
        # No block overwrites its input, not even with in-place norms: convolutions and the sum only read it.
        num_positions = images.shape[0] * images.shape[2] * images.shape[3]
        x = self.run(self.mod1, images, is_largest=num_positions >= _LARGE * 4**2)
        for group, stride in zip((2, 3, 4, 5), self.strides, strict=True):
            for block in self.get_submodule(f"mod{group}").children():
                x = self.run(block, x, is_largest=num_positions >= _LARGE * stride**2)
            features.append(x)
        return features
