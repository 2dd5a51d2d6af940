"""Feature pyramid network (Lin et al. 2017, "Feature Pyramid Networks for Object Detection") and its backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from seamseg.modules.body import Body
from seamseg.modules.compilation import Compilable, compilable
from seamseg.modules.norm import NormFactory


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, norm: NormFactory, stride: int = 1
) -> nn.Sequential:
    """Return ``conv``, a convolution without bias (same size at stride 1), and ``bn``, a norm with activation."""
    conv = norm.conv(in_channels, out_channels, kernel_size, stride)
    return nn.Sequential(OrderedDict(conv=conv, bn=norm.make(out_channels)))


class FPN(nn.Module):
    """Project the backbone's maps to one width and add coarse maps to finer ones.

    Args:
        in_channels: Number of channels of each backbone map, fine to coarse.
        channels: Number of channels of every pyramid level.
        extra_levels: Number of additional coarse levels. Each is a 3×3 convolution with stride 2, the first on the
            backbone's last map, the others on the previous extra level.
        norm: Factory of the norm after every convolution.

    Shape:
        Maps N×in×h×w to ``len(in_channels) + extra_levels`` maps N×channels×h×w, fine to coarse.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, extra_levels: int, norm: NormFactory) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_norm(incoming, channels, 1, norm) for incoming in in_channels)
        self.output = nn.ModuleList(conv_norm(channels, channels, 3, norm) for _ in in_channels)
        self.extra = nn.ModuleList(
            conv_norm(channels if level else in_channels[-1], channels, 3, norm, stride=2)
            for level in range(extra_levels)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Compute the pyramid levels from the backbone's maps, both fine to coarse."""
        laterals = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        merged = [laterals[-1]]
        for finer in reversed(laterals[:-1]):
            merged.insert(0, finer + functional.interpolate(merged[0], size=finer.shape[-2:], mode="nearest"))
        levels = [output(level) for output, level in zip(self.output, merged, strict=True)]
        coarse = features[-1]
        for extra in self.extra:
            coarse = extra(coarse)
            levels.append(coarse)
        return levels


class PyramidBody(Compilable):
    """Backbone followed by a feature pyramid.

    Shape:
        N×3×H×W to maps N×C×h×w, fine to coarse.
    """

    def __init__(self, backbone: Body, fpn: FPN) -> None:
        super().__init__()
        self.backbone, self.fpn = backbone, fpn

    @compilable
    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the pyramid levels of N×3×H×W images, fine to coarse."""
        levels: list[Tensor] = self.fpn(self.backbone(images))
        return levels
