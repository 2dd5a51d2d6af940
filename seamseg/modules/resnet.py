"""ResNets, and their residual blocks with the activation after the sum (He et al., CVPR 2016)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from seamseg.modules.norm import NormFactory


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
        self, in_channels: int, channels: int, out_channels: int, norm: NormFactory, stride: int, bottleneck: bool
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


def _plain(in_channels: int, channels: int, out_channels: int, norm: NormFactory, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False),
            bn1=norm.make(channels),
            conv2=nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            bn2=norm.make(out_channels),
        )
    )


def _bottleneck(in_channels: int, channels: int, out_channels: int, norm: NormFactory, stride: int) -> nn.Sequential:
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


ResNetName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


@dataclass(frozen=True)
class _Shape:
    blocks: tuple[int, int, int, int]
    bottleneck: bool


SHAPES: dict[str, _Shape] = {
    "resnet18": _Shape((2, 2, 2, 2), bottleneck=False),
    "resnet34": _Shape((3, 4, 6, 3), bottleneck=False),
    "resnet50": _Shape((3, 4, 6, 3), bottleneck=True),
    "resnet101": _Shape((3, 4, 23, 3), bottleneck=True),
    "resnet152": _Shape((3, 8, 36, 3), bottleneck=True),
}
STEM_CHANNELS = 64


class ResNet(nn.Module):
    """The convolutional part of a ResNet.

    ``mod1`` is the stem (7×7/2 convolution, norm, 3×3/2 max pool), ``mod2`` … ``mod5`` the groups of residual blocks.

    Args:
        name: ``resnet18`` … ``resnet152``.
        norm: what follows every convolution.

    Shape:
        N×3×H×W to four maps N×C×h×w at strides 4, 8, 16, 32; see :attr:`channels`.

    Attributes:
        channels: of the four maps.
        strides: of the four maps.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, name: ResNetName, norm: NormFactory) -> None:
        super().__init__()
        shape = SHAPES[name]
        expansion = 4 if shape.bottleneck else 1
        self.channels = tuple(STEM_CHANNELS * 2**group * expansion for group in range(4))
        self.mod1 = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, STEM_CHANNELS, 7, stride=2, padding=3, bias=False),
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

    def forward(self, images: Tensor) -> list[Tensor]:
        features = []
        x = self.mod1(images)
        for group in (2, 3, 4, 5):
            x = self.get_submodule(f"mod{group}")(x)
            features.append(x)
        return features
