"""A convolution and the norm behind it."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from seamseg.modules.norm import Norm


def conv_norm(in_channels: int, out_channels: int, kernel_size: int, norm: Norm, stride: int = 1) -> nn.Sequential:
    """``conv`` (no bias, same size at stride 1) and ``bn`` (norm and activation)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=norm.make(out_channels)))
