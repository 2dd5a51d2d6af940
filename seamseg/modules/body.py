"""What all bodies have in common."""

from __future__ import annotations

from torch import Tensor, nn


class Body(nn.Module):
    """The part of a network that turns images into maps at several strides.

    Its children are its parts, such as ``mod1``, which settings freeze by name.

    Shape:
        N×3×H×W to one map N×C×h×w per level, fine to coarse.

    Attributes:
        channels: Channels of each level.
        strides: Stride of each level, in pixels.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the levels, fine to coarse."""
        raise NotImplementedError

    def parts(self) -> nn.Module:
        """Return the module that names of parts and of published weights are relative to."""
        return self
