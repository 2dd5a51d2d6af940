"""What all bodies have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from seamseg.modules.compilation import Compilable, compilable
from seamseg.modules.recomputation import checkpoint, compile_within


class Body(Compilable):
    """The part of a network that turns images into maps at several strides.

    Its children are its parts, such as ``mod1``, which settings freeze by name.

    Shape:
        N×3×H×W to one map N×C×h×w per level, fine to coarse.

    Attributes:
        channels: Channels of each level.
        strides: Stride of each level, in pixels.
        recompute: Parts whose features the backward pass computes again instead of keeping them; see
            :mod:`seamseg.modules.recomputation`. ``largest`` are the parts of a ResNet on large maps, which keep much
            and compute little; other bodies recompute nothing then.
        compile_budget: Fraction in 0 … 1 of what a compiled body keeps without recomputation that it may keep; a step
            of the training then runs compiled. None for no compilation.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    recompute: Literal["nothing", "largest", "all"] = "nothing"
    compile_budget: float | None = None

    @compilable
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the levels, fine to coarse."""
        if self.compile_budget is not None and self.training and torch.is_grad_enabled():
            return _compiled(self.compile_budget)(self, images)
        return self.levels(images)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Compute the levels, fine to coarse."""
        raise NotImplementedError

    def run(self, part: Callable[..., Tensor], *inputs: Tensor, is_largest: bool = False) -> Tensor:
        """Return ``part(*inputs)``, which must not overwrite its inputs; recompute it as :attr:`recompute` says."""
        recompute = self.recompute == "all" or (self.recompute == "largest" and is_largest)
        return checkpoint(part, *inputs) if recompute else part(*inputs)

    def parts(self) -> nn.Module:
        """Return the module that names of parts and of published weights are relative to."""
        return self


@cache
def _compiled(budget: float) -> Callable[[Body, Tensor], list[Tensor]]:
    """Return a compiled function for all bodies; a copy of a body thus never calls the original."""
    return compile_within(budget, _levels)


def _levels(body: Body, images: Tensor) -> list[Tensor]:
    return body.levels(images)
