"""Moving average batch normalization.

Yan et al., "Towards Stabilizing Batch Statistics in Backward Propagation of Batch Normalization", ICLR 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.modules.small_batch import SmallBatchABN
from seamseg.ops.collectives import Moments
from seamseg.ops.inplace_abn import Activation, Scale, Statistics, batch_moments, num_samples

MAX_CORRECTION = 5.0
"""Maximum of the correction r of the moving average; its minimum is the inverse."""


@dataclass(frozen=True)
class MovingAverages:
    """Averages of :class:`MABN`. An iteration is a call of the layer with at least one sample.

    Attributes:
        window: Number of iterations B that are averaged in the forward and the backward pass.
        momentum: Minimum weight of the new value in the running second moment, in (0, 1].
        plain_iterations: Number of first iterations that use the statistics of the batch only.
        warmup_iterations: Number of first iterations without the correction r.
    """

    window: int = 16
    momentum: float = 0.02
    plain_iterations: int = 100
    warmup_iterations: int = 1000


@dataclass(frozen=True)
class History:
    """Ring buffer of the last values of every channel; shared with the buffers of a layer.

    Attributes:
        values: B×C; rows that have not been written are 0.
        count: Number of values written so far, zero-dimensional int64.
    """

    values: Tensor
    count: Tensor

    def append(self, value: Tensor) -> None:
        """Write C values over the oldest ones."""
        row = (self.count % len(self.values)).reshape(1)  # stays on the device
        self.values.index_copy_(0, row, value.to(self.values.dtype)[None])
        self.count.add_(1)

    def mean(self) -> Tensor:
        """Return the mean of the values written, C; at least one must have been."""
        return self.values.sum(dim=0) / self.count.clamp(max=len(self.values))


class MABN(SmallBatchABN):
    """In-place norm and activation with moving averages in both passes (Yan et al., ICLR 2020, sections 4.1 to 4.3).

    No mean is subtracted; instead, the filters of the layers in front of the norm are centered
    (:mod:`seamseg.modules.adjusted_filters`). With ⟨·⟩ for the mean over the samples of a channel and ``avg`` for the
    mean over the last B iterations, including this one, iteration t = 1, 2, … computes::

        χ_t² = avg ⟨x²⟩                              (⟨x²⟩ of this batch while t ≤ plain_iterations)
        r    = clip(√((χ_t² + ε)/(χ̂² + ε)), 1/5, 5)   (1 while t ≤ warmup_iterations; no gradient)
        z    = x/√(χ_t² + ε),   output = act(γ·r·z + β [+ residual])
        χ̂²  ← (1 − m)·χ̂² + m·χ_t²,   m = max(momentum, 1/t)

    and, with ``dy`` for the gradient in front of the activation and ``g = γ·r·dy``,::

        dx = (g − z·Ψ)/√(χ_t² + ε),   Ψ = avg ⟨g·z⟩   (⟨g·z⟩ of this batch while t ≤ plain_iterations)

    In evaluation, z is ``x/√(χ̂² + ε)`` and r is 1. The ``1/t`` in m is not in the paper: χ̂² starts as the mean of all
    iterations, so that it forgets its initial value at once. As in the authors' code, the average χ_t² updates χ̂².

    γ, β and the activation work as in :class:`seamseg.modules.abn.ABN`, and the backward pass recovers z from the
    output as in :class:`seamseg.modules.abn.InPlaceABN`. The state dict has the names of a BatchNorm (``running_mean``
    is 0, ``running_var`` is χ̂²) and the values of the last B iterations, so that training resumes exactly. A call
    without samples changes nothing. Every rank uses the statistics of its own batches.

    Args:
        num_channels: Number of channels C.
        activation: ``leaky_relu``, ``elu`` or ``identity``.
        slope: Negative slope of the leaky ReLU or α of the ELU; > 0.
        eps: Constant ε > 0.
        scale: Relation of the weight and γ; see :class:`seamseg.modules.abn.ABN`.
        affine: Whether the layer has a weight and a bias.
        averages: Lengths of the averages and of the warm-up; None for the defaults.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from seamseg.modules.adjusted_filters import AdjustedConv2d
        >>> from seamseg.modules.mabn import MABN
        >>> block = nn.Sequential(AdjustedConv2d(3, 16, 3, bias=False), MABN(16))
        >>> block(torch.randn(1, 3, 8, 8)).shape
        torch.Size([1, 16, 6, 6])
    """

    square_history: Tensor
    gradient_history: Tensor
    num_gradients_tracked: Tensor

    def __init__(
        self,
        num_channels: int,
        activation: Activation = "leaky_relu",
        slope: float = 0.01,
        eps: float = 1e-5,
        scale: Scale = "abs",
        affine: bool = True,
        averages: MovingAverages | None = None,
    ) -> None:
        averages = averages or MovingAverages()
        super().__init__(num_channels, activation, slope, eps, averages.momentum, scale, affine)
        self.averages = averages
        self.register_buffer("square_history", torch.zeros(averages.window, num_channels))
        self.register_buffer("gradient_history", torch.zeros(averages.window, num_channels))
        self.register_buffer("num_gradients_tracked", torch.tensor(0))

    def reset_running_stats(self) -> None:
        """Reset the running second moment and the values of earlier iterations unless they are frozen."""
        super().reset_running_stats()
        if not self.statistics_frozen and "square_history" in self._buffers:  # not yet in the constructor of the base
            for buffer in (self.square_history, self.gradient_history, self.num_gradients_tracked):
                buffer.zero_()

    def batch_statistics(self, x: Tensor) -> Statistics:
        """Return the statistics that normalize a training batch, and update the state."""
        self._check_recomputation()
        count = num_samples(x)
        if count == 0:
            return Statistics(self.running_mean, self.running_var)
        moments = batch_moments(x)
        with torch.no_grad():
            return self._averaged(moments)

    def _averaged(self, moments: Moments) -> Statistics:
        """Add the second moments of a batch to the state and return the statistics that normalize the batch."""
        squares = moments.var + moments.mean.square()
        history = History(self.square_history, self.num_batches_tracked)
        history.append(squares)
        iteration = self.num_batches_tracked
        is_plain = iteration <= self.averages.plain_iterations
        averaged = torch.where(is_plain, squares, history.mean().to(squares.dtype))
        running = self.running_var.to(squares.dtype)
        correction = ((averaged + self.eps) / (running + self.eps)).sqrt().clamp(1 / MAX_CORRECTION, MAX_CORRECTION)
        correction.masked_fill_(iteration <= self.averages.warmup_iterations, 1.0)
        new = (1 / iteration).clamp(min=self.momentum or 0.0)  # update_bn sets the momentum None for a plain mean
        self.running_var.lerp_(averaged.to(self.running_var.dtype), new.to(self.running_var.dtype))
        return MovingAverageStatistics(
            mean=torch.zeros_like(averaged),
            var=(averaged + self.eps) / correction.square() - self.eps,
            count=moments.count,
            correction=correction,
            is_plain=is_plain,
            gradients=History(self.gradient_history, self.num_gradients_tracked),
        )


@dataclass(frozen=True, kw_only=True)
class MovingAverageStatistics(Statistics):
    """Statistics of one iteration of :class:`MABN`, which normalize x to ``x̂ = r·z``.

    Attributes:
        correction: Correction r, C.
        is_plain: Whether the backward pass uses only this batch, zero-dimensional bool.
        gradients: The last values of ⟨g·z⟩.
    """

    correction: Tensor
    is_plain: Tensor
    gradients: History

    def gradient_means(self, sums: Tensor, gamma: Tensor) -> Tensor:
        """Add ⟨g·z⟩ to the state; return zeros and ``Ψ/(γ·r²)``, which makes ``(g − z·Ψ)/√(χ² + ε)`` the gradient."""
        assert self.count is not None
        product = gamma * sums[1] / self.count  # g·z = γ·r·dy · x̂/r
        self.gradients.append(product)
        averaged = torch.where(self.is_plain, product, self.gradients.mean().to(product.dtype))
        factor = averaged / (gamma * self.correction.square())
        return torch.stack([torch.zeros_like(factor), factor]).to(sums.dtype)
