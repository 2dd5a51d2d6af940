r"""Whether the backward pass of an in-place norm can recover its input from its output.

The output ``z = act(γ·x̂ + β + r)`` is kept with the unit roundoff u of its type, so ``x̂ = (act⁻¹(z) − r − β)/γ`` is
off by about ``u·max(|act⁻¹(z)|, |r|, |β|)/|γ|``. The output is enough if in every channel

    ``|γ| ≥ 8·u·max(1, |β|, s)``,

where s is the root mean square of the residual, or for an ELU ``exp(2·|γ| − β)``, since an ELU keeps little of what is
far below 0. The error of x̂ is then at most 8 % in half types, and 14 % in float32 and float64, which are not computed
in a wider type; that of the gradients of input and weight is smaller. With smaller γ they would be worse than those of
a norm that keeps its input.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.ops.inplace_abn import Activation

_MARGIN = 8.0
# Root mean square of the largest residuals that half types are prepared for: measuring each would cost time, and on a
# GPU a wait.
_HALF_RESIDUAL = 8.0
# Up to this size wide types need not measure a residual. Only weights very near 0 are below that.
_WIDE_RESIDUAL = 1000.0


class AffineLayer(Protocol):
    """The part of a norm that decides: :class:`seamseg.modules.abn.ABN`."""

    weight: torch.nn.Parameter | None
    bias: torch.nn.Parameter | None
    eps: float
    activation: Activation

    def beta(self) -> Tensor: ...


class Inversion:
    """A layer's smallest :func:`gammas`, found in every call or set by who looks at all layers at once."""

    def __init__(self) -> None:
        self._smallest: Sequence[float] | None = None  # None: not known yet
        self._known: tuple[int, ...] = ()

    def is_accurate(self, layer: AffineLayer, dtype: torch.dtype, residual: Tensor | None) -> bool:
        """Whether the input can be recovered from an output of this type.

        Args:
            layer: Norm whose γ and β are meant.
            dtype: Type of the activations.
            residual: N×C×…, added before the activation, or None.
        """
        weight, is_half = layer.weight, dtype in (torch.float16, torch.bfloat16)
        if weight is None or weight.numel() == 0 or weight.is_meta or not torch.is_grad_enabled():
            return True
        if not dtype.is_floating_point:
            return True  # refused by the kernels
        # A compiled graph keeps what was known when it was compiled. On a GPU a look would wait, so wide types, which
        # hardly ever need it, rely on a look at all layers.
        if not torch.compiler.is_compiling() and (is_half or weight.is_cpu) and self._known != _state(layer):
            self._smallest = gammas(layer, weight, layer.beta()).min(axis=1).tolist()
        if self._smallest is None:
            return not is_half
        relative, gamma = self._smallest
        unit = _MARGIN * torch.finfo(dtype).eps / 2
        if residual is None or relative < unit:
            return relative >= unit
        if is_half or torch.compiler.is_compiling():
            return gamma >= unit * _HALF_RESIDUAL
        return gamma >= unit * _WIDE_RESIDUAL or gamma >= unit * _size(residual)

    def learn(self, layer: AffineLayer, smallest: Sequence[float]) -> None:
        """Takes over the smallest :func:`gammas` of the layer as it is now.

        To be called after every step of an optimizer: the fused ones of torch change weights without a trace.
        """
        self._smallest, self._known = smallest, _state(layer)


def gammas(layer: AffineLayer, weight: Tensor, bias: Tensor) -> NDArray[np.float32]:
    """2×C: |γ| of every channel in relation to the size of its other terms, but for residuals, and |γ|.

    Computed by NumPy, which takes a third of the time of torch for so few numbers.

    Args:
        layer: Norm that says what weight and bias mean.
        weight, bias: C each; a GPU is waited for once.
    """
    weight, bias = torch.stack([weight.detach(), bias.detach()]).float().cpu().numpy()
    gamma = np.abs(weight) + layer.eps  # with either scale
    size = np.maximum(np.abs(bias), 1)
    if layer.activation == "elu":
        size = np.maximum(size, np.exp(2 * gamma - bias))
    return np.stack([gamma / size, gamma])


def _size(residual: Tensor) -> float:
    """Largest root mean square of a channel; 0 without samples."""
    if residual.numel() == 0:
        return 0.0
    dims = [dim for dim in range(residual.ndim) if dim != 1]
    largest: Tensor = torch.linalg.vector_norm(residual.detach(), dim=dims).max()
    return float(largest) * math.sqrt(residual.shape[1] / residual.numel())


def _state(layer: AffineLayer) -> tuple[int, ...]:
    """Changes whenever weight or bias do, but for fused optimizers."""
    parameters = [value for value in (layer.weight, layer.bias) if value is not None]
    return tuple(number for value in parameters for number in (value.data_ptr(), value._version))


@cache
def warn_about_small_gamma() -> None:
    """Once per process."""
    warnings.warn(
        "some norms have weights so near 0, or biases or residuals so large beside them, that their output does not "
        "tell their input; these layers keep their normalized input too, and the training needs more memory than "
        "in-place norms would",
        stacklevel=2,
    )
