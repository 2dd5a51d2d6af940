"""ResNet bodies (He et al., CVPR 2016): features at strides 4, 8, 16, 32."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from seamseg.modules.norm import Norm
from seamseg.modules.residual import ResidualBlock

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

    def __init__(self, name: ResNetName, norm: Norm) -> None:
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
