"""Batch renormalization (Ioffe, "Batch Renormalization", NeurIPS 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.modules.small_batch import SmallBatchABN
from seamseg.ops.collectives import Moments
from seamseg.ops.inplace_abn import Activation, Scale, Statistics, batch_moments, num_samples


@dataclass(frozen=True)
class RenormLimits:
    """Limits of the correction of :class:`BatchRenorm`. An iteration is a call of the layer with samples.

    Attributes:
        max_scale: Final maximum of r, whose minimum is 1/max_scale; ≥ 1.
        max_shift: Final maximum of abs(d); ≥ 0.
        plain_iterations: Number of first iterations without a correction (r = 1, d = 0).
        warmup_iterations: Iteration at which the limits, which grow linearly after ``plain_iterations``, are final.
    """

    max_scale: float = 3.0
    max_shift: float = 5.0
    plain_iterations: int = 5000
    warmup_iterations: int = 40000

    def at(self, iteration: Tensor) -> tuple[Tensor, Tensor]:
        """Return the limits of r and d after a number of iterations, zero-dimensional."""
        span = max(self.warmup_iterations - self.plain_iterations, 1)
        progress = ((iteration - self.plain_iterations) / span).clamp(0, 1)
        return 1 + progress * (self.max_scale - 1), progress * self.max_shift


class BatchRenorm(SmallBatchABN):
    """In-place norm and activation with batch renormalization (Ioffe, NeurIPS 2017, section 3).

    With mean μ_B and deviation σ_B of the batch and running statistics μ and σ before the batch, training computes::

        r = clip(σ_B/σ, 1/r_max, r_max),   d = clip((μ_B − μ)/σ, −d_max, d_max)      (constants in the backward pass)
        x̂ = r·(x − μ_B)/σ_B + d,   output = act(γ·x̂ + β [+ residual])

    where ``σ² = var + ε``. Without the clipping, x̂ is ``(x − μ)/σ``, as in evaluation. The limits grow in the first
    iterations (:class:`RenormLimits`); the paper has the same r_max, and a d_max that is final at iteration 25 000.
    Everything else is as in :class:`seamseg.modules.abn.InPlaceABN`, whose state dict it shares.

    Args:
        num_channels: Number of channels C.
        activation: ``leaky_relu``, ``elu`` or ``identity``.
        slope: Negative slope of the leaky ReLU or α of the ELU; > 0.
        eps: Constant ε > 0.
        momentum: Momentum of the running statistics: the weight of the new batch; None for a cumulative average.
        scale: Relation of the weight and γ; see :class:`seamseg.modules.abn.ABN`.
        affine: Whether the layer has a weight and a bias.
        limits: Limits of the correction; None for the defaults.
    """

    def __init__(
        self,
        num_channels: int,
        activation: Activation = "leaky_relu",
        slope: float = 0.01,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        scale: Scale = "abs",
        affine: bool = True,
        limits: RenormLimits | None = None,
    ) -> None:
        super().__init__(num_channels, activation, slope, eps, momentum, scale, affine)
        self.limits = limits or RenormLimits()

    def batch_statistics(self, x: Tensor) -> Statistics:
        """Return the statistics that normalize a training batch, and update the running ones.

        Raises:
            SeamsegError: If there is one sample per channel.
        """
        self._check_recomputation()
        count = num_samples(x)
        self._check_count(count)
        if count == 0:
            return Statistics(self.running_mean, self.running_var)
        batch = batch_moments(x)
        with torch.no_grad():
            statistics = self._corrected(batch)
            self._running().update(torch.stack([batch.mean, batch.var]), count)
        return statistics

    def _corrected(self, batch: Moments) -> Statistics:
        """Return the statistics that give ``r·(x − μ_B)/σ_B + d``."""
        max_scale, max_shift = (limit.to(batch.var) for limit in self.limits.at(self.num_batches_tracked + 1))
        running = (self.running_var.to(batch.var.dtype) + self.eps).sqrt()
        deviation = (batch.var + self.eps).sqrt()
        r = (deviation / running).clamp(1 / max_scale, max_scale)
        d = ((batch.mean - self.running_mean) / running).clamp(-max_shift, max_shift)
        deviation = deviation / r
        return RenormStatistics(
            mean=batch.mean - d * deviation, var=deviation.square() - self.eps, count=batch.count, r=r, d=d
        )


@dataclass(frozen=True, kw_only=True)
class RenormStatistics(Statistics):
    """Statistics of one iteration of :class:`BatchRenorm`.

    Attributes:
        r: Factor on the deviation, C.
        d: Shift, C.
    """

    r: Tensor
    d: Tensor

    def gradient_means(self, sums: Tensor, gamma: Tensor) -> Tensor:
        """Return a and b of the gradient: that of batch statistics, with ``(x − μ_B)/σ_B = (x̂ − d)/r``."""
        assert self.count is not None
        mean_dy, mean_xdy = (sums / self.count).unbind()
        factor = (mean_xdy - self.d * mean_dy) / self.r.square()
        return torch.stack([mean_dy - self.d * factor, factor]).to(sums.dtype)
