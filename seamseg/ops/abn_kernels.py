"""The native operators of in-place ABN (``csrc/inplace_abn``), called with tensors of any strides.

The kernels take two layouts: samples of a channel side by side (contiguous), and channels side by side (channels last).
What lies otherwise is copied, and copied back where it is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seamseg.ops import native


class Layer(NamedTuple):
    """The constants of one layer.

    Attributes:
        gamma, beta: C.
        eps: added to the variance.
        activation: its number in ``csrc/inplace_abn/activation.h``.
        slope: of the leaky ReLU, α of the ELU.
    """

    gamma: Tensor
    beta: Tensor
    eps: float
    activation: int
    slope: float


def compute_type(x: Tensor) -> torch.dtype:
    """Of the constants and statistics of a layer with this input."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def moments(x: Tensor) -> Tensor:
    """2×C: mean and biased variance, in float32, or float64 for a float64 input."""
    result: Tensor = _call("abn_moments", _moments_shape, _dense(x))
    return result


def normalize_(x: Tensor, residual: Tensor | None, moments: Tensor, layer: Layer) -> None:
    """Overwrites ``x`` with ``act(γ·(x − μ)/√(σ² + ε) + β [+ residual])``, from the moments μ and σ² (2×C)."""
    dense = _dense(x)
    _call("abn_normalize_", _nothing, dense, _like(residual, dense), moments, *_constants(layer, x))
    _write_back(dense, x)


def train_(x: Tensor, residual: Tensor | None, layer: Layer) -> Tensor:
    """:func:`normalize_` with the moments of ``x`` itself, which are returned."""
    dense = _dense(x)
    result: Tensor = _call("abn_train_", _train_shape, dense, _like(residual, dense), *_constants(layer, x))
    _write_back(dense, x)
    return result


def sums(z: Tensor, dz: Tensor, residual: Tensor | None, layer: Layer) -> Tensor:
    """2×C: ``Σ dy`` and ``Σ x̂·dy``, from the output and its gradient."""
    z = _dense(z)
    gamma, beta, _, activation, slope = _constants(layer, z)
    result: Tensor = _call("abn_sums", _sums_shape, z, _like(dz, z), _like(residual, z), gamma, beta, activation, slope)
    return result


def gradient(
    z: Tensor, dz: Tensor, residual: Tensor | None, means: Tensor, moments: Tensor, layer: Layer
) -> tuple[Tensor, Tensor | None]:
    """Gradients of the input and of the residual, from the means of ``dy`` and ``x̂·dy`` over all samples (2×C)."""
    z = _dense(z)
    dx, dr = _call(
        "abn_gradient", _gradient_shape, z, _like(dz, z), _like(residual, z), means, moments, *_constants(layer, z)
    )
    return dx, dr if residual is not None else None


def train_gradient(
    z: Tensor, dz: Tensor, residual: Tensor | None, moments: Tensor, layer: Layer
) -> tuple[Tensor, Tensor | None, Tensor]:
    """:func:`sums` and :func:`gradient` with their means over these samples: gradients, and the sums."""
    z = _dense(z)
    dx, dr, totals = _call(
        "abn_train_gradient", _train_gradient_shape, z, _like(dz, z), _like(residual, z), moments, *_constants(layer, z)
    )
    return dx, dr if residual is not None else None, totals


def _call(operator: str, shapes: Callable[..., Any], x: Tensor, *arguments: Any) -> Any:
    native.require(operator, shapes)
    native.require_device(x.device)
    try:
        return getattr(torch.ops.seamseg, operator).default(x, *arguments)
    except RuntimeError as error:
        raise native.argument_error(error, operator) from None


def _constants(layer: Layer, x: Tensor) -> tuple[Tensor, Tensor, float, int, float]:
    compute = compute_type(x)
    gamma, beta = layer.gamma.to(compute).contiguous(), layer.beta.to(compute).contiguous()
    return gamma, beta, layer.eps, layer.activation, layer.slope


def _is_interleaved(x: Tensor) -> bool:
    return x.movedim(1, -1).is_contiguous()


def _dense(x: Tensor) -> Tensor:
    return x if x.is_contiguous() or _is_interleaved(x) else x.contiguous()


def _like(other: Tensor | None, x: Tensor) -> Tensor | None:
    """In the layout of ``x``."""
    if other is None:
        return None
    return other.contiguous() if x.is_contiguous() else other.movedim(1, -1).contiguous().movedim(-1, 1)


def _write_back(dense: Tensor, x: Tensor) -> None:
    if dense is not x:
        x.copy_(dense)


# --- shapes, for torch.compile and meta tensors -----------------------------------------------------------------------


def _moments_shape(x: Tensor) -> Tensor:
    return x.new_empty((2, x.shape[1]), dtype=compute_type(x))


def _nothing(*_: Any) -> None:
    return None


def _train_shape(x: Tensor, *_: Any) -> Tensor:
    return _moments_shape(x)


def _sums_shape(z: Tensor, *_: Any) -> Tensor:
    return _moments_shape(z)


def _gradient_shape(z: Tensor, dz: Tensor, residual: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(z), torch.empty_like(z) if residual is not None else z.new_empty(0)


def _train_gradient_shape(z: Tensor, dz: Tensor, residual: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return *_gradient_shape(z, dz, residual), _moments_shape(z)
