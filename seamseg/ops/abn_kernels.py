"""Native operators of in-place ABN (``csrc/inplace_abn``) for tensors with any strides.

The kernels support two layouts: contiguous, where the samples of a channel are adjacent, and channels last, where the
channels of a sample are adjacent. Tensors in other layouts are copied, and copied back if they are overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seamseg.ops import native


class Layer(NamedTuple):
    """Constants of one layer.

    Attributes:
        gamma: C factors γ.
        beta: C biases β.
        eps: Constant added to the variance.
        activation: Number of the activation in ``csrc/inplace_abn/activation.h``.
        slope: Negative slope of the leaky ReLU or α of the ELU.
    """

    gamma: Tensor
    beta: Tensor
    eps: float
    activation: int
    slope: float


def compute_type(x: Tensor) -> torch.dtype:
    """Return the type of a layer's constants and statistics: float64 for a float64 input, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def moments(x: Tensor) -> Tensor:
    """Return mean and biased variance, 2×C, in float32, or in float64 for a float64 input."""
    result: Tensor = _call("abn_moments", _moments_shape, _dense(x))
    return result


def normalize_(x: Tensor, residual: Tensor | None, moments: Tensor, layer: Layer) -> None:
    """Overwrite ``x`` with ``act(γ·(x − μ)/√(σ² + ε) + β [+ residual])`` for moments μ and σ² (2×C)."""
    dense = _dense(x)
    _call("abn_normalize_", _no_output, dense, _in_layout_of(residual, dense), moments, *_constants(layer, x))
    _write_back(dense, x)


def train_(x: Tensor, residual: Tensor | None, layer: Layer) -> Tensor:
    """Run :func:`normalize_` with the moments of ``x`` itself, and return them."""
    dense = _dense(x)
    result: Tensor = _call("abn_train_", _train_shape, dense, _in_layout_of(residual, dense), *_constants(layer, x))
    _write_back(dense, x)
    return result


def sums(z: Tensor, dz: Tensor, residual: Tensor | None, layer: Layer) -> Tensor:
    """Return ``Σ dy`` and ``Σ x̂·dy``, 2×C, computed from the output and its gradient."""
    z = _dense(z)
    gamma, beta, _, activation, slope = _constants(layer, z)
    result: Tensor = _call(
        "abn_sums", _sums_shape, z, _in_layout_of(dz, z), _in_layout_of(residual, z), gamma, beta, activation, slope
    )
    return result


def gradient(
    z: Tensor, dz: Tensor, residual: Tensor | None, means: Tensor, moments: Tensor, layer: Layer
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of input and residual, given the means of ``dy`` and ``x̂·dy`` over all samples (2×C)."""
    z = _dense(z)
    dx, dr = _call(
        "abn_gradient",
        _gradient_shape,
        z,
        _in_layout_of(dz, z),
        _in_layout_of(residual, z),
        means,
        moments,
        *_constants(layer, z),
    )
    return dx, dr if residual is not None else None


def train_gradient(
    z: Tensor, dz: Tensor, residual: Tensor | None, moments: Tensor, layer: Layer
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Run :func:`sums` and :func:`gradient` with means over these samples; return the gradients and the sums."""
    z = _dense(z)
    dx, dr, totals = _call(
        "abn_train_gradient",
        _train_gradient_shape,
        z,
        _in_layout_of(dz, z),
        _in_layout_of(residual, z),
        moments,
        *_constants(layer, z),
    )
    return dx, dr if residual is not None else None, totals


def fits_layer(x: Tensor, *values: Tensor) -> bool:
    """Return whether :func:`layer_train_` and :func:`layer_gradient` can be used, which only exist on the CPU.

    Args:
        x: Input or output of a layer.
        values: Parameters and running statistics of the layer.
    """
    return (
        x.is_cpu
        and x.dtype != torch.float64
        and not torch.compiler.is_compiling()
        and all(value.dtype == torch.float32 and value.is_contiguous() for value in values)
    )


def layer_train_(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor, Tensor, float] | None,
    scale: int,
    eps: float,
    activation: int,
    slope: float,
) -> Tensor:
    """Run :func:`train_` with the γ of the weight, and update the running statistics.

    For small inputs, calls of operators take longer than their work, and this is a single one.

    Args:
        x: Input, overwritten.
        residual: Addend, or None.
        weight: C weights, float32.
        bias: C biases, float32.
        running: Running mean, running variance, number of batches and momentum; None to update nothing.
        scale: Relation of γ and the weight: 0 for None, 1 for ``abs``, 2 for ``signed``.
        eps: Constant added to the variance, and in γ.
        activation: Number of the activation.
        slope: Negative slope of the leaky ReLU or α of the ELU.

    Returns:
        Mean and biased variance of the batch, 2×C.
    """
    dense = _dense(x)
    result: Tensor = _call(
        "abn_layer_train_",
        _train_shape,
        dense,
        _in_layout_of(residual, dense),
        weight,
        bias,
        *((None, None, None, 0.0) if running is None else running),
        scale,
        eps,
        activation,
        slope,
    )
    _write_back(dense, x)
    return result


def layer_gradient(
    z: Tensor,
    dz: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    moments: Tensor,
    scale: int,
    eps: float,
    activation: int,
    slope: float,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Return the gradients of input, residual, weight and bias of :func:`layer_train_`, given its output ``z``."""
    z = _dense(z)
    dx, dr, dweight, dbias = _call(
        "abn_layer_gradient",
        _layer_gradient_shape,
        z,
        _in_layout_of(dz, z),
        _in_layout_of(residual, z),
        weight,
        bias,
        moments,
        scale,
        eps,
        activation,
        slope,
    )
    return dx, dr if residual is not None else None, dweight, dbias


def smallest_gammas(weight: Tensor, bias: Tensor, eps: float, is_elu: bool) -> tuple[float, float]:
    """Return the minima of :func:`seamseg.modules.inversion.gammas` of float32 parameters on the CPU."""
    result: tuple[float, float] = _call("abn_smallest_gammas", _no_output, weight, bias, eps, is_elu)
    return result


def _call(operator: str, shapes: Callable[..., Any], x: Tensor, *arguments: Any) -> Any:
    if torch.compiler.is_compiling():
        native.require(operator, shapes)
        native.require_device(x.device)
        kernel = getattr(torch.ops.seamseg, operator).default
    else:
        kernel = _kernel(operator, shapes, x.device.type)
    try:
        return kernel(x, *arguments)
    except RuntimeError as error:
        raise native.argument_error(error, operator) from None


@cache
def _kernel(operator: str, shapes: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Return an operator that is known to be usable; a norm calls it once per layer and pass."""
    native.require(operator, shapes)
    native.require_device(torch.device(device))
    kernel: Callable[..., Any] = getattr(torch.ops.seamseg, operator).default
    return kernel


def _constants(layer: Layer, x: Tensor) -> tuple[Tensor, Tensor, float, int, float]:
    compute = compute_type(x)
    gamma, beta = layer.gamma.to(compute).contiguous(), layer.beta.to(compute).contiguous()
    return gamma, beta, layer.eps, layer.activation, layer.slope


def _is_interleaved(x: Tensor) -> bool:
    return x.movedim(1, -1).is_contiguous()


def _dense(x: Tensor) -> Tensor:
    return x if x.is_contiguous() or _is_interleaved(x) else x.contiguous()


def _in_layout_of(other: Tensor | None, x: Tensor) -> Tensor | None:
    """Return ``other`` in the layout of ``x``."""
    if other is None:
        return None
    return other.contiguous() if x.is_contiguous() else other.movedim(1, -1).contiguous().movedim(-1, 1)


def _write_back(dense: Tensor, x: Tensor) -> None:
    if dense is not x:
        x.copy_(dense)


# --- shapes, for torch.compile and meta tensors -----------------------------------------------------------------------


def _moments_shape(x: Tensor) -> Tensor:
    return x.new_empty((2, x.shape[1]), dtype=compute_type(x))


def _no_output(*_: Any) -> None:
    return None


def _train_shape(x: Tensor, *_: Any) -> Tensor:
    return _moments_shape(x)


def _sums_shape(z: Tensor, *_: Any) -> Tensor:
    return _moments_shape(z)


def _gradient_shape(z: Tensor, dz: Tensor, residual: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(z), torch.empty_like(z) if residual is not None else z.new_empty(0)


def _train_gradient_shape(z: Tensor, dz: Tensor, residual: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return *_gradient_shape(z, dz, residual), _moments_shape(z)


def _layer_gradient_shape(
    z: Tensor, dz: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return *_gradient_shape(z, dz, residual), torch.empty_like(weight), torch.empty_like(bias)
