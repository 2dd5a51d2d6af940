"""Check whether the backward pass of an in-place norm can recover its input from its output.

The output ``z = act(γ·x̂ + β + r)`` is stored with the unit roundoff u of its type, so ``x̂ = (act⁻¹(z) − r − β)/γ``
has an error of about ``u·max(|act⁻¹(z)|, |r|, |β|)/|γ|``. The output is accurate enough if every channel satisfies

    ``|γ| ≥ 8·u·max(1, |β|, s)``,

where s is the root mean square of the residual or, for an ELU, ``exp(2·|γ| − β)``, because an ELU keeps little of
values far below 0. The error of x̂ is then at most 8 % in half precision, and at most 14 % in float32 and float64,
which are not computed in a wider type. The error of the gradients of input and weight is smaller. For smaller γ, the
gradients would be less accurate than those of a norm that keeps its input.
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

from seamseg.ops import abn_kernels
from seamseg.ops.inplace_abn import Activation
from seamseg.ops.native import has_values

_MARGIN = 8.0
# Largest root mean square of a residual that half precision is prepared for. Measuring each residual would take time
# and make a GPU wait.
_HALF_RESIDUAL = 8.0
# Float32 and float64 skip measuring residuals if γ is large enough for this root mean square. Only weights very close
# to 0 are not.
_WIDE_RESIDUAL = 1000.0


class AffineLayer(Protocol):
    """Part of a norm that the check needs; see :class:`seamseg.modules.abn.ABN`.

    Attributes:
        weight: C parameters, or None if γ = 1.
        bias: C parameters, or None if β = 0.
        eps: Constant added to the magnitude of the weight.
        activation: Name of the activation.
    """

    weight: torch.nn.Parameter | None
    bias: torch.nn.Parameter | None
    eps: float
    activation: Activation

    def beta(self) -> Tensor:
        """Return β, C values."""


class Inversion:
    """Smallest :func:`gammas` of one layer, computed in every call or set for all layers of a network at once."""

    def __init__(self) -> None:
        self._smallest: Sequence[float] | None = None  # None: not known yet
        self._known: tuple[int, ...] = ()
        self._compiled_answers: dict[torch.dtype, tuple[bool, bool]] = {}  # without and with residual

    def is_accurate(self, layer: AffineLayer, dtype: torch.dtype, residual: Tensor | None) -> bool:
        """Return whether the input can be recovered from an output of this type.

        Args:
            layer: Norm that defines γ and β.
            dtype: Type of the activations.
            residual: N×C×…, added before the activation, or None.
        """
        weight, is_half = layer.weight, dtype in (torch.float16, torch.bfloat16)
        if weight is None or weight.numel() == 0 or not has_values(weight) or not torch.is_grad_enabled():
            return True
        if not dtype.is_floating_point:
            return True  # the kernels raise the error
        if torch.compiler.is_compiling():
            # Not from the values themselves: a graph would be compiled again whenever they change.
            return self._compiled_answers.get(dtype, (not is_half,) * 2)[residual is not None]
        bias = layer.beta()
        if abn_kernels.fits_layer(weight, weight, bias):
            self._smallest = abn_kernels.smallest_gammas(weight, bias, layer.eps, layer.activation == "elu")
        # Reading the values makes a GPU wait, so float32 and float64, which hardly ever need them, rely on
        # cache_min_gammas there.
        elif (is_half or weight.is_cpu) and self._known != _parameter_versions(layer):
            self._smallest = gammas(layer, weight, bias).min(axis=1).tolist()
        if self._smallest is None:
            return not is_half
        relative, gamma = self._smallest
        unit = _unit(dtype)
        if residual is None or relative < unit:
            return relative >= unit
        if is_half:
            return gamma >= unit * _HALF_RESIDUAL
        return gamma >= unit * _WIDE_RESIDUAL or gamma >= unit * _largest_rms(residual)

    def cache_min_gamma(self, layer: AffineLayer, smallest: Sequence[float]) -> None:
        """Store the smallest :func:`gammas` of the layer in its current state.

        Compiled graphs know only these values, in the form of answers to :meth:`is_accurate`.

        Call it after every optimizer step: the fused optimizers of torch change weights without changing their version.
        """
        self._smallest, self._known = smallest, _parameter_versions(layer)
        relative, gamma = smallest
        self._compiled_answers = {
            dtype: (relative >= unit, relative >= unit and gamma >= unit * _HALF_RESIDUAL)
            for dtype, unit in _UNITS.items()
        }


def _unit(dtype: torch.dtype) -> float:
    """Return the lowest accurate |γ| relative to the size of the other terms."""
    return _MARGIN * torch.finfo(dtype).eps / 2


_UNITS = {dtype: _unit(dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)}


def gammas(layer: AffineLayer, weight: Tensor, bias: Tensor) -> NDArray[np.float32]:
    """Return |γ| relative to the size of the other terms except residuals, and |γ|, for every channel.

    NumPy needs a third of torch's time for so few numbers.

    Args:
        layer: Norm that defines ε and the activation.
        weight: C weights; reading them makes a GPU wait once.
        bias: C biases.

    Returns:
        2×C float32: relative |γ|, |γ|.
    """
    weight, bias = torch.stack([weight.detach(), bias.detach()]).float().cpu().numpy()
    gamma = np.abs(weight) + layer.eps  # with either scale
    size = np.maximum(np.abs(bias), 1)
    if layer.activation == "elu":
        size = np.maximum(size, np.exp(2 * gamma - bias))
    return np.stack([gamma / size, gamma])


def _largest_rms(residual: Tensor) -> float:
    """Return the largest root mean square of a channel; 0 without samples."""
    if residual.numel() == 0:
        return 0.0
    dims = [dim for dim in range(residual.ndim) if dim != 1]
    largest: Tensor = torch.linalg.vector_norm(residual.detach(), dim=dims).max()
    return float(largest) * math.sqrt(residual.shape[1] / residual.numel())


def _parameter_versions(layer: AffineLayer) -> tuple[int, ...]:
    """Return numbers that change whenever weight or bias change, except by fused optimizers."""
    parameters = [value for value in (layer.weight, layer.bias) if value is not None]
    return tuple(number for value in parameters for number in (value.data_ptr(), value._version))


@cache
def warn_about_small_gamma() -> None:
    """Warn once per process."""
    warnings.warn(
        "some norms have weights too close to 0, or biases or residuals too large in comparison, to recover the input "
        "from the output; these layers also keep their normalized input, so training needs more memory than with "
        "in-place norms only",
        stacklevel=2,
    )
