r"""Whether the backward pass of an in-place norm can recover its input from its output.

The output ``z = act(γ·x̂ + β + r)`` is kept with the unit roundoff u of the activations' type, so that
``x̂ = (act⁻¹(z) − r − β)/γ`` is off by about ``4u·max(|act⁻¹(z)|, |r|, |β|)/|γ|`` at most. float32 and float64
(u = 6e-8, 1e-16) leave an error of the gradients of at most about 2e-2 for any γ that the norms can have. bfloat16 and
float16 (u = 4e-3, 5e-4) do not: below the sizes listed here, gradients would be worse than those of a norm that keeps
its input.
"""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor

# The smallest |γ| by type: of a plain norm, and of one with a residual, where u is multiplied by both terms of a sum.
_SMALLEST_GAMMA = {torch.bfloat16: (1e-2, 1e-1), torch.float16: (1e-3, 3e-2)}


class Inversion:
    """The smallest size in a layer's weight: looked at in every call, or learnt from who looks at all layers."""

    def __init__(self) -> None:
        self._smallest = 0.0  # not looked at yet: nothing is certain
        self._known: tuple[int, int] | None = None

    def is_accurate(self, weight: Tensor | None, dtype: torch.dtype, with_residual: bool) -> bool:
        """Whether the input can be recovered from an output of this type.

        Args:
            weight: C, of the layer; its sizes are those of γ but for ε. None stands for ones.
            dtype: of the activations.
            with_residual: whether the output holds one.
        """
        if weight is None or weight.numel() == 0 or dtype not in _SMALLEST_GAMMA or not torch.is_grad_enabled():
            return True
        if weight.is_meta:
            return True
        # A compiled graph keeps what was known when it was compiled.
        if not torch.compiler.is_compiling() and self._known != _state(weight):
            self._smallest = float(weight.detach().abs().min())
        return self._smallest >= _SMALLEST_GAMMA[dtype][with_residual]

    def learn(self, weight: Tensor, smallest: float) -> None:
        """Takes over the smallest size of the weight as it is now.

        To be called after every step of an optimiser: the fused ones of torch change weights without a trace.
        """
        self._smallest, self._known = smallest, _state(weight)


def _state(weight: Tensor) -> tuple[int, int]:
    """Changes whenever the weight does, but for fused optimisers."""
    return weight.data_ptr(), weight._version


@cache
def warn_about_small_gamma() -> None:
    """Once per process."""
    warnings.warn(
        "some norms have weights so near 0 that half types cannot keep their output alone; these layers keep their "
        "normalised input too, and the training needs more memory than in-place norms would",
        stacklevel=2,
    )
