"""DenseNets (Huang et al., CVPR 2017) for ImageNet and CIFAR."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from seamseg.modules.body import Body
from seamseg.modules.norm import NormFactory
from seamseg.modules.pre_activation import Stem, downsampling_stem
from seamseg.modules.recomputation import checkpoint

BOTTLENECK_FACTOR = 4
"""Output channels of each 1×1 convolution, as a multiple of the growth."""


class DenseGroup(nn.Module):
    """Layers that each read all maps before them and add ``growth`` channels.

    A layer is norm, 1×1, norm, 3×3. Every map is read by all later layers, so a norm must not overwrite it. The norms
    work in place on the concatenation instead: ``torch.cat`` returns a fresh tensor, also for a single map, so no
    further copy is needed. Neither maps nor concatenations are kept for the backward pass, only the norms' outputs,
    half of what BatchNorm and activation keep.

    The outputs of the norms on concatenations still take memory that is quadratic in the number of layers. Optionally,
    the backward pass computes concatenation, norm and 1×1 convolution again (Pleiss et al., "Memory-Efficient
    Implementation of DenseNets", 2017, section 3). Then only the maps and the outputs of the second norms are kept.

    Args:
        in_channels: Channels of the input.
        growth: Channels that each layer adds.
        num_layers: Number of layers.
        norm: Factory of the norms.

    Shape:
        N×in×H×W to N×(in + num_layers·growth)×H×W.
    """

    def __init__(self, in_channels: int, growth: int, num_layers: int, norm: NormFactory) -> None:
        super().__init__()
        inner = BOTTLENECK_FACTOR * growth
        self.convs1, self.convs3 = nn.ModuleList(), nn.ModuleList()
        for layer in range(num_layers):
            incoming = in_channels + layer * growth
            conv1 = norm.conv(incoming, inner, 1)
            conv3 = norm.conv(inner, growth, 3)
            self.convs1.append(nn.Sequential(OrderedDict(bn=norm.make(incoming), conv=conv1)))
            self.convs3.append(nn.Sequential(OrderedDict(bn=norm.make(inner), conv=conv3)))

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        """Append the channels of every layer to the input.

        Args:
            x: N×in×H×W.
            recompute: Whether the backward pass recomputes the concatenations and their norms.
        """
        maps = [x]
        for conv1, conv3 in zip(self.convs1, self.convs3, strict=True):
            bottleneck = partial(_on_concatenation, conv1)
            maps.append(conv3(checkpoint(bottleneck, *maps) if recompute else bottleneck(*maps)))
        return torch.cat(maps, dim=1)


def _on_concatenation(layer: nn.Module, *maps: Tensor) -> Tensor:
    """Return the output of the layer for the maps side by side."""
    output: Tensor = layer(torch.cat(maps, dim=1))
    return output


DenseNetName = Literal["densenet121", "densenet169", "densenet201", "densenet264"]

DENSENET_LAYERS: dict[DenseNetName, tuple[int, int, int, int]] = {
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
    "densenet264": (6, 12, 64, 48),
}


class DenseNet(Body):
    """A stem, dense groups with transitions between them, and a last norm.

    A transition is norm, 1×1 to half the channels, 2×2 mean. A level is the output of a group after the norm that
    follows it, in the transition or ``bn_out``.

    Args:
        stem: First layers, which become ``mod1``.
        growth: Channels that each layer adds.
        num_layers: Number of layers of each group.
        norm: Factory of all norms.

    Shape:
        N×3×H×W to one map N×C×h×w per group, fine to coarse; see :attr:`channels` and :attr:`strides`.

    Attributes:
        channels: Channels of each level.
        strides: Stride of each level, in pixels.
    """

    def __init__(self, stem: Stem, growth: int, num_layers: Sequence[int], norm: NormFactory) -> None:
        super().__init__()
        self.mod1 = nn.Sequential(stem.layers)
        channels = stem.channels
        widths = []
        for number, layers in enumerate(num_layers, 2):
            self.add_module(f"mod{number}", DenseGroup(channels, growth, layers, norm))
            channels += layers * growth
            widths.append(channels)
            if len(widths) < len(num_layers):
                self.add_module(f"tra{number}", _transition(channels, norm))
                channels //= 2
        self.bn_out = norm.make(channels)
        self.channels = tuple(widths)
        self.strides = tuple(stem.stride * 2**group for group in range(len(widths)))

    def levels(self, images: Tensor) -> list[Tensor]:
        """Return one normalized level per group, fine to coarse."""
        levels: list[Tensor] = []
        x = self.run(self.mod1, images)
        for number in range(2, len(self.channels) + 2):
            x = self.get_submodule(f"mod{number}")(x, self.recompute == "all")
            if number == len(self.channels) + 1:
                levels.append(self.bn_out(x))
            else:
                norm, conv, pool = self.get_submodule(f"tra{number}").children()
                x = norm(x)
                levels.append(x)
                # A 1×1 convolution and a mean commute. Averaging first takes a quarter of the multiplications, and a
                # quarter of the pixels is kept for the gradient of the convolution instead of all for that of the mean.
                x = conv(pool(x))
        return levels


def _transition(channels: int, norm: NormFactory) -> nn.Sequential:
    conv = norm.conv(channels, channels // 2, 1)
    return nn.Sequential(OrderedDict(bn=norm.make(channels), conv=conv, pool=nn.AvgPool2d(2)))


def build_densenet(name: DenseNetName, norm: NormFactory, input_3x3: bool = True) -> DenseNet:
    """Build a DenseNet for ImageNet: growth 32, four groups at strides 4, 8, 16, 32.

    Args:
        name: ``densenet121``, ``densenet169``, ``densenet201`` or ``densenet264``.
        norm: Factory of all norms.
        input_3x3: Whether the stem is three 3×3 convolutions, as published, or one 7×7.
    """
    return DenseNet(downsampling_stem(64, norm, input_3x3), 32, DENSENET_LAYERS[name], norm)


def build_cifar_densenet(norm: NormFactory) -> DenseNet:
    """Build DenseNet-BC-100 for 32×32 images: growth 12, three groups of 16 layers at strides 1, 2, 4."""
    layers = OrderedDict[str, nn.Module](conv1=norm.conv(3, 24, 3))
    return DenseNet(Stem(layers, channels=24, stride=1), 12, (16, 16, 16), norm)
