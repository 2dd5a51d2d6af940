"""What all bodies have in common."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from seamseg.modules.recomputation import checkpoint


class Body(nn.Module):
    """The part of a network that turns images into maps at several strides.

    Its children are its parts, such as ``mod1``, which settings freeze by name.

    Shape:
        N×3×H×W to one map N×C×h×w per level, fine to coarse.

    Attributes:
        channels: Channels of each level.
        strides: Stride of each level, in pixels.
        recompute: Whether the backward pass recomputes what the parts would keep for it; see
            :mod:`seamseg.modules.recomputation`.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    recompute: bool = False

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the levels, fine to coarse."""
        raise NotImplementedError

    def run(self, part: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Return ``part(*inputs)``, which must not overwrite its inputs; recompute it if :attr:`recompute` is True."""
        return checkpoint(part, *inputs) if self.recompute else part(*inputs)

    def parts(self) -> nn.Module:
        """Return the module that names of parts and of published weights are relative to."""
        return self
