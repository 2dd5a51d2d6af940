"""Bodies whose norms come before the convolutions: ResNeXt and WideResNet-38.

Pre-activation residual blocks: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016. ResNeXt: Xie et
al., CVPR 2017. WideResNet-38: Wu et al., "Wider or Deeper", 2016; both in the form of Rota Bulò et al., "In-Place
Activated BatchNorm", CVPR 2018.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from seamseg.modules.body import Body
from seamseg.modules.max_pool import LeanMaxPool2d
from seamseg.modules.norm import NormFactory


class PreActivationBlock(nn.Module):
    """Residual block whose norms and activations come before its convolutions; nothing follows the sum.

    With two entries in ``channels``: norm, 3×3 (stride), norm, 3×3. With three (bottleneck): norm, 1×1 (stride), norm,
    3×3 (grouped), norm, 1×1.

    Args:
        in_channels: Channels of the input.
        channels: Output channels of the two or three convolutions.
        norm: Factory of the convolutions and of the norms, each with its activation.
        stride: Stride of the first convolution and of the shortcut.
        dilation: Dilation of all 3×3 convolutions.
        groups: Groups of the bottleneck's 3×3 convolution.
        dropout: Probability of dropping a channel in front of the last convolution; 0 adds no layer.

    Shape:
        N×in×H×W to N×channels[-1]×⌈H/stride⌉×⌈W/stride⌉.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        norm: NormFactory,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.bn1 = norm.make(in_channels)
        self.convs = nn.Sequential(_layers(in_channels, channels, norm, stride, dilation, groups, dropout))
        self.proj_conv: nn.Conv2d | None = None
        if stride != 1 or in_channels != channels[-1]:
            self.proj_conv = norm.conv(in_channels, channels[-1], 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the convolutions of the normalized input to the shortcut.

        A block with a projection overwrites ``x`` if the norm is in place; one with an identity shortcut does not.
        """
        if self.proj_conv is not None:
            return self.after_norm(self.bn1(x))
        # The identity shortcut reads x after the norm, so the norm gets a copy. Nothing keeps x for the backward pass:
        # only the norms' outputs stay in memory, half of what BatchNorm and activation keep. A checkpoint keeps x
        # instead, and the recomputation starts from its values. A projection needs no copy: it reads the norm's output,
        # like the first convolution.
        total: Tensor = self.convs(self.bn1(x.clone()))
        return total.add_(x)

    def after_norm(self, normed: Tensor) -> Tensor:
        """Compute the rest of a block with a projection from the output of its first norm, which is only read.

        Raises:
            TypeError: The block has no projection; its shortcut starts in front of the norm.
        """
        if self.proj_conv is None:
            raise TypeError("a block with an identity shortcut needs its input, not the output of its norm")
        total: Tensor = self.convs(normed)
        return total.add_(self.proj_conv(normed))


def _layers(
    in_channels: int,
    channels: Sequence[int],
    norm: NormFactory,
    stride: int,
    dilation: int,
    groups: int,
    dropout: float,
) -> OrderedDict[str, nn.Module]:
    """Build the layers of a block after its first norm, by name."""
    layers = OrderedDict[str, nn.Module]()
    if len(channels) == 2:
        if groups != 1:
            raise ValueError("only bottleneck blocks have grouped convolutions")
        layers["conv1"] = norm.conv(in_channels, channels[0], 3, stride, dilation)
        layers["bn2"] = norm.make(channels[0])
        last = norm.conv(channels[0], channels[1], 3, dilation=dilation)
    else:
        layers["conv1"] = norm.conv(in_channels, channels[0], 1, stride)
        layers["bn2"] = norm.make(channels[0])
        layers["conv2"] = norm.conv(channels[0], channels[1], 3, dilation=dilation, groups=groups)
        layers["bn3"] = norm.make(channels[1])
        last = norm.conv(channels[1], channels[2], 1)
    if dropout:
        layers["dropout"] = nn.Dropout2d(dropout)
    layers[f"conv{len(channels)}"] = last
    return layers


@dataclass(frozen=True)
class BlockGroup:
    """Blocks with the same channels.

    Attributes:
        num_blocks: Number of blocks.
        channels: Output channels of the convolutions of each block. With the stride they must change the shape, so that
            the first block has a projection.
        pool: Whether a 3×3/2 max pool comes before the blocks.
        stride: Stride of the first block.
        dilation: Dilation of the 3×3 convolutions.
        groups: Groups of the bottlenecks' 3×3 convolutions.
        dropout: Probability of dropping a channel in front of the last convolution of each block.
    """

    num_blocks: int
    channels: tuple[int, ...]
    pool: bool = False
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    dropout: float = 0.0


class Stem(NamedTuple):
    """First layers of a body.

    Attributes:
        layers: Layers by name.
        channels: Channels of their output.
        stride: Stride of their output, in pixels.
    """

    layers: OrderedDict[str, nn.Module]
    channels: int
    stride: int


class PreActivationBody(Body):
    """A stem, groups of pre-activation blocks, and a last norm.

    A level is the last map of its stride after the norm that follows it: the first norm of the next group, or
    ``bn_out``. This norm works in place, and the next group keeps its output anyway, so levels cost no memory. In front
    of a max pool, which no norm precedes, the level is the map itself.

    Args:
        stem: First layers, which become ``mod1``.
        groups: The groups ``mod2``, ``mod3``, ….
        norm: Factory of all norms.

    Shape:
        N×3×H×W to one map N×C×h×w per level, fine to coarse; see :attr:`channels` and :attr:`strides`.

    Attributes:
        channels: Channels of each level.
        strides: Stride of each level, in pixels.
    """

    def __init__(self, stem: Stem, groups: Sequence[BlockGroup], norm: NormFactory) -> None:
        super().__init__()
        self.mod1 = nn.Sequential(stem.layers)
        channels, stride = stem.channels, stem.stride
        ends: dict[int, tuple[int, int]] = {}
        for number, group in enumerate(groups, 2):
            if group.pool:
                self.add_module(f"pool{number}", LeanMaxPool2d(3, stride=2, padding=1))
            self.add_module(f"mod{number}", _blocks(channels, group, norm))
            stride *= group.stride * (2 if group.pool else 1)
            channels = group.channels[-1]
            ends[stride] = (number, channels)
        self.bn_out = norm.make(channels)
        levels = {stride: end for stride, end in ends.items() if stride >= 4}
        self.strides = tuple(levels)
        self.channels = tuple(channels for _, channels in levels.values())
        self._level_groups = frozenset(number for number, _ in levels.values())
        self._last_group = len(groups) + 1

    def levels(self, images: Tensor) -> list[Tensor]:
        """Return the levels, fine to coarse."""
        levels: list[Tensor] = []
        x = self.run(self.mod1, images)
        for number in range(2, self._last_group + 1):
            is_level = number - 1 in self._level_groups
            pool = getattr(self, f"pool{number}", None)
            first, *others = self.get_submodule(f"mod{number}").children()
            assert isinstance(first, PreActivationBlock)
            if pool is not None and is_level:
                levels.append(x)
            # The first norm overwrites its input, so a checkpoint must begin after it. It keeps the norm's output,
            # which the level needs anyway.
            x = first.bn1(x if pool is None else pool(x))
            if pool is None and is_level:
                levels.append(x)
            x = self.run(first.after_norm, x)
            for block in others:
                x = self.run(block, x)
        levels.append(self.bn_out(x))
        return levels


def _blocks(in_channels: int, group: BlockGroup, norm: NormFactory) -> nn.Sequential:
    blocks = OrderedDict[str, nn.Module]()
    for block in range(group.num_blocks):
        blocks[f"block{block + 1}"] = PreActivationBlock(
            group.channels[-1] if block else in_channels,
            group.channels,
            norm,
            stride=1 if block else group.stride,
            dilation=group.dilation,
            groups=group.groups,
            dropout=group.dropout,
        )
    return nn.Sequential(blocks)


def downsampling_stem(channels: int, norm: NormFactory, input_3x3: bool) -> Stem:
    """Build the stem of ResNeXt and DenseNet: one 7×7/2 convolution or three 3×3, and a pool; the stride is 4.

    No norm follows the last convolution: the first block begins with one.

    Args:
        channels: Output channels of every convolution.
        norm: Factory of the norms.
        input_3x3: Whether to use three 3×3 convolutions.
    """
    layers = OrderedDict[str, nn.Module]()
    if input_3x3:
        layers["conv1"] = norm.conv(3, channels, 3, stride=2)
        for number in (2, 3):
            layers[f"bn{number - 1}"] = norm.make(channels)
            layers[f"conv{number}"] = norm.conv(channels, channels, 3)
    else:
        layers["conv1"] = norm.conv(3, channels, 7, stride=2)
    layers["pool1"] = LeanMaxPool2d(3, stride=2, padding=1)
    return Stem(layers, channels, stride=4)


ResNeXtName = Literal["resnext50", "resnext101", "resnext152"]

RESNEXT_BLOCKS: dict[ResNeXtName, tuple[int, int, int, int]] = {
    "resnext50": (3, 4, 6, 3),
    "resnext101": (3, 4, 23, 3),
    "resnext152": (3, 8, 36, 3),
}


def build_resnext(name: ResNeXtName, norm: NormFactory, input_3x3: bool = True) -> PreActivationBody:
    """Build a ResNeXt: four groups of bottlenecks with 64 convolution groups, at strides 4, 8, 16, 32.

    Args:
        name: ``resnext50``, ``resnext101`` or ``resnext152``.
        norm: Factory of all norms.
        input_3x3: Whether the stem is three 3×3 convolutions, as published, or one 7×7.
    """
    groups = [
        BlockGroup(num_blocks, (128 * 2**level, 128 * 2**level, 256 * 2**level), stride=2 if level else 1, groups=64)
        for level, num_blocks in enumerate(RESNEXT_BLOCKS[name])
    ]
    return PreActivationBody(downsampling_stem(64, norm, input_3x3), groups, norm)


WideResNetForm = Literal["pooled", "strided", "dilated"]


def build_wide_resnet38(form: WideResNetForm, norm: NormFactory) -> PreActivationBody:
    """Build a WideResNet-38: six groups of blocks with up to 4096 channels.

    Args:
        form: How the maps shrink. ``pooled``: by max pools in front of the first five groups (stride 32). The A2 forms
            have pools in front of the first two only and drop channels in the last two groups. ``strided``: groups 3 to
            5 have a stride (stride 32). ``dilated``: only group 3 has one; later groups are dilated (stride 8).
        norm: Factory of all norms.
    """
    if form == "pooled":
        groups = [
            BlockGroup(num_blocks, widths, pool=number < 5)
            for number, (num_blocks, widths) in enumerate(zip(_WIDE_BLOCKS, WIDE_CHANNELS, strict=True))
        ]
    else:
        strides = (1, 1, 2, 2, 2, 1) if form == "strided" else (1, 1, 2, 1, 1, 1)
        dilations = (1,) * 6 if form == "strided" else (1, 1, 1, 2, 4, 4)
        dropouts = (0.0, 0.0, 0.0, 0.0, 0.3, 0.5)
        groups = [
            BlockGroup(num_blocks, widths, number < 2, strides[number], dilations[number], dropout=dropouts[number])
            for number, (num_blocks, widths) in enumerate(zip(_WIDE_BLOCKS, WIDE_CHANNELS, strict=True))
        ]
    stem = Stem(OrderedDict[str, nn.Module](conv1=norm.conv(3, 64, 3)), channels=64, stride=1)
    return PreActivationBody(stem, groups, norm)


_WIDE_BLOCKS = (3, 3, 6, 3, 1, 1)
WIDE_CHANNELS = ((128, 128), (256, 256), (512, 512), (512, 1024), (512, 1024, 2048), (1024, 2048, 4096))
"""Output channels of the convolutions of a block in each group of a WideResNet-38."""
