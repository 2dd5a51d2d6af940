"""Semantic head: a small DeepLab per pyramid level, with an average over a large window."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from seamseg.modules.compilation import Compilable, compilable
from seamseg.modules.norm import NormFactory
from seamseg.ops.window_mean import window_mean

NUM_LEVELS = 4
"""Number of finest pyramid levels that the head reads."""


class MiniDeepLab(nn.Module):
    """Context at three ranges: 3×3 convolution, 3×3 convolution with dilation 6, and mean over a large window.

    Args:
        in_channels: Number of channels of the feature pyramid.
        channels: Number of channels of each of the three contexts and of the output.
        window: Side of the window of the mean, in positions of the level.
        norm: Factory of the norms after the concatenated contexts and after the last convolution.

    Shape:
        N×in×h×w to N×channels×h×w.
    """

    def __init__(self, in_channels: int, channels: int, window: int, norm: NormFactory) -> None:
        super().__init__()
        self.window = window
        self.conv1_3x3 = norm.conv(in_channels, channels, 3)
        self.conv1_dil = norm.conv(in_channels, channels, 3, dilation=6)
        self.conv1_glb = norm.conv(in_channels, channels, 1)
        self.bn1 = norm.make(3 * channels)
        self.conv2 = norm.conv(3 * channels, channels, 1)
        self.bn2 = norm.make(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Combine the three contexts of one pyramid level."""
        # The published order is mean, then convolution. Both are linear, and here the mean has fewer channels.
        context = window_mean(self.conv1_glb(x), self.window)
        hidden = self.bn1(torch.cat([self.conv1_3x3(x), self.conv1_dil(x), context], dim=1))
        output: Tensor = self.bn2(self.conv2(hidden))
        return output


class SemanticHead(Compilable):
    """Class logits at the size of the finest level.

    Args:
        in_channels: Number of channels of the feature pyramid.
        channels: Number of output channels of each level's :class:`MiniDeepLab`.
        num_classes: Number of stuff and thing classes, S + T.
        window: Side of the window of the mean; see :class:`MiniDeepLab`.
        norm: Factory of the norms of all layers.

    Shape:
        The finest four levels, N×in×h×w each, to N×num_classes×h×w logits at the size of the finest level.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, window: int, norm: NormFactory) -> None:
        super().__init__()
        self.output = nn.ModuleList(MiniDeepLab(in_channels, channels, window, norm) for _ in range(NUM_LEVELS))
        self.conv_sem = nn.Conv2d(NUM_LEVELS * channels, num_classes, 1)

    @compilable
    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Predict class logits from the pyramid levels, fine to coarse."""
        contexts = [branch(level) for branch, level in zip(self.output, levels[:NUM_LEVELS], strict=True)]
        # The published order is upsampling, concatenation, convolution. All are linear, and here only the logits are
        # upsampled.
        weights = self.conv_sem.weight.chunk(NUM_LEVELS, dim=1)
        logits = functional.conv2d(contexts[0], weights[0], self.conv_sem.bias)
        for context, weight in zip(contexts[1:], weights[1:], strict=True):
            scores = functional.conv2d(context, weight)
            logits = logits + functional.interpolate(scores, size=logits.shape[-2:], mode="bilinear")
        return logits
