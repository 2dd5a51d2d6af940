"""In-Place Activated BatchNorm as a function (Rota Bulò et al., CVPR 2018, section 3.2, "InPlace-ABN I").

Normalisation, affine map and activation overwrite their input, and the backward pass needs the output alone: it inverts
the activation and the affine map. A BatchNorm followed by an activation would keep both their inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from seamseg.ops.collectives import Moments, sum_over_ranks

Activation = Literal["leaky_relu", "elu", "identity"]


@dataclass(frozen=True)
class Statistics:
    """What the input is normalised by.

    Attributes:
        mean, var: C, in float32 or float64; var is biased.
        count: number of samples per channel if they are the batch's own statistics, so that the backward pass goes
            through them; None if they are constants (running statistics).
        group: the ranks the samples are spread over; None with ``synchronised`` means all of them.
        synchronised: whether the sums of the backward pass are taken over ``group``.
    """

    mean: Tensor
    var: Tensor
    count: Tensor | None = None
    group: dist.ProcessGroup | None = None
    synchronised: bool = False


def check_activation(activation: str, slope: float) -> None:
    """Whether the activation can be inverted.

    Raises:
        ValueError: it is unknown or not invertible, or its slope is not positive.
    """
    if activation == "relu":
        raise ValueError(
            "an in-place norm cannot use relu: it maps all negative values to 0, so the backward pass cannot recover "
            "them; use leaky_relu, elu or identity"
        )
    if activation not in ("leaky_relu", "elu", "identity"):
        raise ValueError(f"unknown activation {activation!r}; known are leaky_relu, elu and identity")
    if activation != "identity" and slope <= 0:
        raise ValueError(f"the slope of {activation} must be greater than 0 to be inverted, not {slope}")


def batch_moments(x: Tensor) -> Moments:
    """Mean and biased variance of every channel, in two passes (one would lose small variances at large means).

    Args:
        x: N×C×…, any floating type; N may be 0, which gives zeros with count 0.
    """
    compute = _in_compute_type(x)
    dims = _reduced_dims(x)
    count = x.numel() // x.shape[1]
    if count == 0:
        zero = compute.new_zeros(x.shape[1])
        return Moments(zero, zero, compute.new_zeros(()))
    mean = compute.mean(dim=dims)
    var = (compute - _per_channel(mean, x)).square_().mean(dim=dims)
    return Moments(mean, var, torch.full_like(mean[0], count))


def inplace_abn(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    statistics: Statistics,
    eps: float,
    activation: Activation,
    slope: float,
) -> Tensor:
    """``act(γ·(x − μ)/√(σ² + ε) + β)``, written over ``x``.

    Args:
        x: N×C×…, overwritten; any floating type, kept.
        gamma: C, not zero (the backward pass divides by it).
        beta: C.
        statistics: what to normalise by.
        eps: added to the variance.
        activation: one that :func:`check_activation` accepts.
        slope: of the leaky ReLU, or α of the ELU.

    Returns:
        ``x`` itself, with the values of the output.
    """
    return cast(Tensor, _InPlaceABN.apply(x, gamma, beta, statistics, eps, activation, slope))


class _Context(FunctionCtx):
    saved_tensors: tuple[Tensor, ...]
    statistics: Statistics
    activation: Activation
    slope: float


class _InPlaceABN(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        statistics: Statistics,
        eps: float,
        activation: Activation,
        slope: float,
    ) -> Tensor:
        ctx.mark_dirty(x)
        rstd = (statistics.var + eps).rsqrt()
        normalise_(x, statistics.mean, gamma * rstd, beta)
        activate_(x, activation, slope)
        ctx.save_for_backward(x, gamma, beta, rstd)
        ctx.statistics, ctx.activation, ctx.slope = statistics, activation, slope
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, dz: Tensor) -> tuple[Tensor | None, ...]:
        z, gamma, beta, rstd = ctx.saved_tensors
        dy, normalised = invert_activation(dz, z, gamma, beta, ctx.activation, ctx.slope)
        dims = _reduced_dims(z)
        sum_dy, sum_xdy = dy.sum(dim=dims), (normalised * dy).sum(dim=dims)
        dx = _input_gradient(dy, normalised, sum_dy, sum_xdy, gamma * rstd, ctx.statistics)
        return dx.to(z.dtype), sum_xdy.to(gamma.dtype), sum_dy.to(beta.dtype), None, None, None, None


def normalise_(x: Tensor, mean: Tensor, factor: Tensor, beta: Tensor) -> None:
    """``x ← (x − μ)·factor + β`` per channel."""
    if x.dtype in (torch.float16, torch.bfloat16):
        x.copy_((x.float() - _per_channel(mean, x)) * _per_channel(factor, x) + _per_channel(beta, x))
    else:
        x.sub_(_per_channel(mean, x)).mul_(_per_channel(factor, x)).add_(_per_channel(beta, x))


def activate_(x: Tensor, activation: Activation, slope: float) -> None:
    """Applies the activation in place."""
    if activation == "leaky_relu":
        functional.leaky_relu_(x, slope)
    elif activation == "elu":
        functional.elu_(x, slope)


def invert_activation(
    dz: Tensor, z: Tensor, gamma: Tensor, beta: Tensor, activation: Activation, slope: float
) -> tuple[Tensor, Tensor]:
    """From the output back to the normalised input.

    Returns:
        dy: gradient before the activation.
        normalised: x̂ = (act⁻¹(z) − β)/γ. Both N×C×…, float32 for half types.
    """
    z, dz = _in_compute_type(z), _in_compute_type(dz)
    if activation == "leaky_relu":
        dy = torch.ops.aten.leaky_relu_backward(dz, z, slope, True)
        y = functional.leaky_relu(z, 1 / slope)
    elif activation == "elu":
        dy = torch.where(z > 0, dz, dz * (z + slope))
        # log1p of exactly −1 would be −∞ where the ELU is saturated; the gradient there is 0 anyway.
        tiny = torch.finfo(z.dtype).eps
        y = torch.where(z > 0, z, torch.log1p((z / slope).clamp(min=-1 + tiny)))
    else:
        dy, y = dz, z.clone()
    return dy, y.sub_(_per_channel(beta, z)).div_(_per_channel(gamma, z))


def _input_gradient(
    dy: Tensor, normalised: Tensor, sum_dy: Tensor, sum_xdy: Tensor, factor: Tensor, statistics: Statistics
) -> Tensor:
    """``(dy − mean(dy) − x̂·mean(x̂ dy))·γ/√(σ² + ε)``, or ``dy·γ/√(σ² + ε)`` under constant statistics."""
    if statistics.count is None:
        return dy * _per_channel(factor, dy)
    sums = torch.stack([sum_dy, sum_xdy])
    if statistics.synchronised:
        sums = sum_over_ranks(sums, statistics.group)
    mean_dy, mean_xdy = sums / statistics.count.clamp(min=1)
    centred = dy - _per_channel(mean_dy, dy)
    return centred.addcmul_(normalised, _per_channel(mean_xdy, dy), value=-1).mul_(_per_channel(factor, dy))


def _in_compute_type(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _reduced_dims(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.ndim - 2))
