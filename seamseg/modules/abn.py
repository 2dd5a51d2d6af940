"""Layers that combine BatchNorm, an optional residual sum, and an activation.

- :class:`ABN`: out of place; the reference for the others.
- :class:`InPlaceABN`: in place, keeps only its output (Rota Bulò et al., CVPR 2018).
- :class:`InPlaceABNSync`: in place, with batch statistics over all ranks.
"""

from __future__ import annotations

import copy
import sys
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from seamseg.errors import SeamsegError
from seamseg.modules.inversion import Inversion, warn_about_small_gamma
from seamseg.modules.recomputation import recorded
from seamseg.ops.collectives import ActiveGroup, Moments, is_started, reduce_differentiable_moments, reduce_moments
from seamseg.ops.constants import constant_like
from seamseg.ops.inplace_abn import (
    Activation,
    RunningStatistics,
    Scale,
    Statistics,
    activate_,
    batch_moments,
    check_activation,
    check_input,
    gamma_of,
    inplace_abn,
    num_samples,
    overwriting_obstacle,
    takes_ordinary_operators,
)
from seamseg.ops.native import at_least_float32
from seamseg.ops.recomputation import is_recomputing

CONVERTERS = ("convert_sync_batchnorm", "convert_syncbn_model")
"""Functions of PyTorch, MMEngine and Apex that replace every ``_BatchNorm`` with a synchronized one."""


class ABN(_BatchNorm):
    """BatchNorm followed by an activation.

    The class derives from ``_BatchNorm``, so PyTorch tools such as ``update_bn`` find it. Converters that would replace
    it with a plain batch norm, such as ``SyncBatchNorm.convert_sync_batchnorm``, get an error.

    Args:
        num_channels: Number of channels C.
        activation: ``leaky_relu``, ``elu`` or ``identity``.
        slope: Negative slope of the leaky ReLU or α of the ELU; > 0.
        eps: Constant ε > 0 added to the variance and to the magnitude of the weight.
        momentum: Momentum m of the running statistics, ``r ← (1 − m)·r + m·new``; None for a cumulative average.
        scale: Factor γ for a weight w: ``abs`` is γ = abs(w) + ε, as in the paper; ``signed`` is γ = w + sign(w)·ε,
            which accepts the weights of an ordinary BatchNorm. In both cases sign(0) = +1.
        affine: Whether the layer has a weight and a bias; otherwise γ = 1 and β = 0.

    Shape:
        N×C×… of any floating-point type; the output has the same shape and type.

    Attributes:
        layer_name: Name of the layer in its network, for messages; empty if not set.

    Example:
        >>> import torch
        >>> from seamseg import ABN
        >>> norm = ABN(64, activation="elu", slope=1.0)
        >>> norm(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
    """

    weight: nn.Parameter | None  # type: ignore[assignment]
    bias: nn.Parameter | None  # type: ignore[assignment]
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    statistics_frozen = False

    def __init__(
        self,
        num_channels: int,
        activation: Activation = "leaky_relu",
        slope: float = 0.01,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        scale: Scale = "abs",
        affine: bool = True,
    ) -> None:
        check_activation(activation, slope)
        if not eps > 0:
            raise ValueError(f"eps of a norm must be greater than 0 to keep variances and weights from 0, not {eps}")
        super().__init__(num_channels, eps, momentum, affine)
        self.activation, self.slope, self.scale = activation, slope, scale
        self.layer_name = ""
        self.inversion = Inversion()  # not a cached property, whose lock would divide compiled graphs

    @property
    def num_features(self) -> int:
        """Number of channels, under the name of ``_BatchNorm``; raises ValueError if read by :data:`CONVERTERS`."""
        # Reading this attribute is the only sign a layer gets that a converter is about to replace it.
        if sys._getframe(1).f_code.co_name in CONVERTERS:
            raise ValueError(
                f"{self._describe()} cannot be converted to SyncBatchNorm, which would drop its activation; use "
                "InPlaceABNSync for synchronized statistics, or call seamseg.modules.batchnorm.to_batchnorm first"
            )
        return self.num_channels

    @num_features.setter
    def num_features(self, value: int) -> None:
        self.num_channels = value

    @property
    def updates_running_stats(self) -> bool:
        """Whether the next input is normalized by its own statistics and updates the running ones."""
        return self.training and not self.statistics_frozen

    def gamma(self) -> Tensor:
        """Return the factor γ, C values; never zero."""
        if self.weight is None:
            return torch.ones_like(self.running_mean)
        return gamma_of(self.weight, self.scale, self.eps)

    def beta(self) -> Tensor:
        """Return the bias β, or C zeros if there is none."""
        return torch.zeros_like(self.running_mean) if self.bias is None else self.bias

    def freeze(self) -> None:
        """Stop training the parameters and updating the running statistics; the latter are used from now on."""
        self.statistics_frozen = True
        self.requires_grad_(False)

    def reset_running_stats(self) -> None:
        """Reset the running statistics unless they are frozen."""
        if not self.statistics_frozen:
            super().reset_running_stats()

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute ``act(γ·x̂ + β [+ residual])``."""
        check_input(x, self.num_channels, residual)
        compute = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        mean, var = self.running_mean, self.running_var
        if self.updates_running_stats:
            count = num_samples(x)
            self._check_count(count)
            if count:
                dims = [dim for dim in range(x.ndim) if dim != 1]
                var, mean = torch.var_mean(compute, dim=dims, correction=0)
                if not is_recomputing():  # the forward pass has already counted the batch
                    self._running().update(torch.stack([mean.detach(), var.detach()]), count)
        shape = [1, -1] + [1] * (x.ndim - 2)
        scale = self.gamma() * (var + self.eps).rsqrt()
        y = (compute - mean.view(shape)) * scale.view(shape) + self.beta().view(shape)
        activate_(y, self.activation, self.slope, residual)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """Return the settings that ``print`` shows."""
        return f"{self.num_channels}, activation={self.activation}, slope={self.slope}, scale={self.scale}"

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        # Version 1 had no num_batches_tracked, so PyTorch accepts a state dict without it.
        super()._load_from_state_dict(state_dict, prefix, {**local_metadata, "version": 1}, *rest)

    def _describe(self) -> str:
        return f"the norm {self.layer_name}" if self.layer_name else f"a norm over {self.num_channels} channels"

    def _check_count(self, count: float) -> None:
        if count == 1:
            raise SeamsegError(
                f"{self._describe()} got one sample per channel in training, which has no variance; use larger batches "
                "or images, or set norm.name=gn"
            )

    def _running(self) -> RunningStatistics:
        return RunningStatistics(self.running_mean, self.running_var, self.num_batches_tracked, self.momentum)


class InPlaceABN(ABN):
    """:class:`ABN` that overwrites its input and keeps only its output for the backward pass.

    Nothing else may need the input: neither the operation that produced it (convolutions, linear layers, additions and
    concatenations do not need their output) nor a second consumer. Otherwise autograd raises an error in the backward
    pass; operations known to need their output are rejected in the forward pass, with the name of the layer. An input
    that shares memory with another tensor is copied. The residual is only read.

    A low-precision output does not determine the input of a layer with a small γ next to a large β or residual. If any
    γ is below the bound of :mod:`seamseg.modules.inversion`, the layer only normalizes in place and computes the rest
    out of place in float32. The values are the same; the layer needs at least as much memory as an ordinary norm. The
    same applies to an ELU after a residual.

    Attributes:
        keeps_half_input: Whether gradients of half-precision inputs are computed like those of :class:`ABN` in compiled
            graphs, for weights of any size. Otherwise, the graph is compiled again when a γ crosses the bound.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from seamseg import InPlaceABN
        >>> block = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), InPlaceABN(16))
        >>> block(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 16, 8, 8])

        The last norm of a residual block adds the residual and applies the activation in the same step:

        >>> convolution, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), InPlaceABN(16)
        >>> x = torch.randn(2, 16, 8, 8, requires_grad=True)
        >>> norm(convolution(x), residual=x).sum().backward()
        >>> x.grad.shape
        torch.Size([2, 16, 8, 8])
    """

    keeps_half_input = False

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute ``act(γ·x̂ + β [+ residual])`` and write it over ``x`` if possible."""
        if takes_ordinary_operators():
            self._check_own_statistics()
            return super().forward(x, residual)
        if self.keeps_half_input and _is_compiled_in_half(x):
            return super().forward(x, residual)
        if torch.is_grad_enabled() and x.requires_grad and (obstacle := overwriting_obstacle(x)) is not None:
            raise ValueError(f"{self._describe()} overwrites its input, but {obstacle}")
        # If the sum saturates the ELU, no type keeps enough of it to recover the input from output and residual.
        if residual is not None and self.activation == "elu" and torch.is_grad_enabled():
            return self._forward_keeping_normalized(x, residual)
        if self.inversion.is_accurate(self, x.dtype, residual):
            return self._in_place(x, residual)
        if not torch.compiler.is_compiling():
            warn_about_small_gamma()
        return self._forward_keeping_normalized(x, residual)

    def _check_own_statistics(self) -> None:
        """Raise an error for statistics that :class:`ABN` does not compute."""

    def batch_statistics(self, x: Tensor) -> Statistics | None:
        """Return the statistics that normalize a training batch, or None for the moments of ``x``.

        Raises:
            SeamsegError: If there is one sample per channel.
        """
        self._check_count(num_samples(x))
        return None

    def share_moments(self, mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Update the running statistics with a training batch whose moments are part of the graph.

        Args:
            mean: Mean of the samples on this rank, C.
            var: Their biased variance, C.
            count: Number of samples per channel.

        Returns:
            Mean and variance that normalize the batch.

        Raises:
            SeamsegError: If there is one sample per channel.
        """
        self._check_count(count)
        self._update_running(torch.stack([mean.detach(), var.detach()]), count)
        return mean, var

    def _in_place(self, x: Tensor, residual: Tensor | None, only_normalize: bool = False) -> Tensor:
        in_training = self.updates_running_stats
        statistics = (
            recorded(self.batch_statistics, x) if in_training else Statistics(self.running_mean, self.running_var)
        )
        activation: Activation = "identity" if only_normalize else self.activation
        bias = torch.zeros_like(self.running_mean) if only_normalize else self.beta()
        weight: Tensor | None = None if only_normalize else self.weight
        scale = None if weight is None else self.scale
        weight = torch.ones_like(self.running_mean) if weight is None else weight
        # A recomputation has already counted the batch in the forward pass. A compiled graph cannot update statistics
        # within a function.
        is_updating = in_training and not is_recomputing()
        updates_later = statistics is not None or torch.compiler.is_compiling()
        running = self._running() if is_updating and not updates_later else None
        z, moments = inplace_abn(
            x, weight, bias, statistics, self.eps, activation, self.slope, residual, scale, running
        )
        if is_updating and updates_later:
            count = None if statistics is None else statistics.count
            self._update_running(moments, num_samples(x) if count is None else count)
        return z

    def _update_running(self, moments: Tensor, count: Tensor | int) -> None:
        """Update the running statistics with a batch whose statistics come from :meth:`batch_statistics`."""
        self._running().update(moments, count)

    def _forward_keeping_normalized(self, x: Tensor, residual: Tensor | None) -> Tensor:
        # In half precision, rounding can move a value across the kink of the activation and give it the wrong slope.
        normalized = self._in_place(at_least_float32(x), residual=None, only_normalize=True)
        shape = [1, -1] + [1] * (x.ndim - 2)
        y = normalized * self.gamma().view(shape) + self.beta().view(shape)
        y = y if residual is None else y + residual
        if self.activation != "elu":  # a rounded output loses the gradient of an ELU far below 0
            y = y.to(x.dtype)
        activate_(y, self.activation, self.slope)
        return y.to(x.dtype)


def _is_compiled_in_half(x: Tensor) -> bool:
    in_half = x.dtype in (torch.float16, torch.bfloat16)
    return in_half and torch.is_grad_enabled() and torch.compiler.is_compiling()


class InPlaceABNSync(InPlaceABN):
    """:class:`InPlaceABN` with batch statistics over all ranks.

    The layer runs one collective in the forward pass and one in the backward pass. The statistics are exact for
    different numbers of samples per rank, including zero. Without an initialized process group, the layer uses the
    statistics of this process and warns once.

    Attributes:
        group: Process group that shares the statistics; None for all ranks.
        active: Ranks that share them at the moment, instead of ``group``; None to use ``group``. It is set by
            :func:`seamseg.modules.shared_batch_stats.set_active_group`. Other ranks have no samples and run no
            collective. A backward pass uses the group of its forward pass.

    Example:
        Build the network with synchronized norms and start the program with ``torchrun``. In evaluation, no process
        group is needed:

        >>> import torch
        >>> from torch import nn
        >>> from seamseg import InPlaceABNSync
        >>> block = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), InPlaceABNSync(16)).eval()
        >>> block(torch.randn(1, 3, 8, 8)).shape
        torch.Size([1, 16, 6, 6])
    """

    group: dist.ProcessGroup | None = None
    active: ActiveGroup | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> InPlaceABNSync:
        # A process group cannot be copied, so the copy shares it. The active group is temporary and not copied.
        memo[id(self.group)], memo[id(self.active)] = self.group, None
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__dict__ = copy.deepcopy(self.__dict__, memo)
        return copied

    def _check_own_statistics(self) -> None:
        if self.updates_running_stats and is_started() and dist.get_world_size(self.group) > 1:
            raise ValueError(
                f"{self._describe()} shares statistics between processes in training, which cannot be traced, "
                "exported or transformed by torch.func; call eval() on the network first"
            )

    def batch_statistics(self, x: Tensor) -> Statistics | None:
        """Return the statistics over all ranks, or None if only this rank takes part."""
        if not self._is_joined(num_samples(x)):
            return super().batch_statistics(x)
        moments = reduce_moments(batch_moments(x), self._current_group)
        self._check_total(num_samples(x), moments.count)
        return Statistics(moments.mean, moments.var, moments.count, self._current_group, synchronized=True)

    def share_moments(self, mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Combine the moments of all ranks, and update the running statistics with them."""
        if not self._is_joined(count):
            return super().share_moments(mean, var, count)
        local = Moments(mean, var, constant_like(mean, float(count)))
        moments = reduce_differentiable_moments(local, self._current_group)
        self._check_total(count, moments.count)
        self._update_running(torch.stack([moments.mean.detach(), moments.var.detach()]), moments.count)
        return moments.mean, moments.var

    @property
    def _current_group(self) -> dist.ProcessGroup | None:
        return self.group if self.active is None else self.active.process_group

    def _check_total(self, count: int, total: Tensor) -> None:
        # Reading the total makes a GPU wait, so read it only if it can be 1. A rank without samples checks, too, so
        # that all ranks of a group fail together; in an active group, some other rank has samples.
        if count == 1 or (count == 0 and self.active is None):
            self._check_count(float(total))

    def _is_joined(self, count: int) -> bool:
        """Return whether the statistics of ``count`` samples on this rank are shared by several ranks."""
        if not is_started():
            warn_about_missing_group()
            return False
        if self.active is None:
            return dist.get_world_size(self.group) > 1
        if not self.active.is_member and count:
            raise ValueError(
                f"{self._describe()} got samples on a rank outside its active group; the group must contain all ranks "
                "that have samples"
            )
        return self.active.is_member and len(self.active.ranks) > 1


@cache
def warn_about_missing_group() -> None:
    """Warn once per process."""
    warnings.warn(
        "synchronized norms without a process group use the statistics of this process only; start the training with "
        "torchrun, or set norm.name=bn",
        stacklevel=2,
    )
