"""BatchNorm and activation as one layer.

==============  ========================================================================================
`ABN`           out of place: the reference for the others
`InPlaceABN`    in place, keeping only its output (Rota Bulò et al., CVPR 2018)
`InPlaceABNSync` the same with statistics over all ranks
`AffineAct`     stored statistics that never change, plain weight: a fixed affine map
==============  ========================================================================================

All of them take a residual, which is added before the activation.
"""

from __future__ import annotations

import copy
import sys
import warnings
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from seamseg.errors import SeamsegError
from seamseg.modules.inversion import Inversion, warn_about_small_gamma
from seamseg.ops.collectives import ActiveGroup, is_started, reduce_moments
from seamseg.ops.inplace_abn import (
    Activation,
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

CONVERTERS = ("convert_sync_batchnorm", "convert_syncbn_model")
"""Functions of PyTorch, MMEngine and Apex that replace every ``_BatchNorm`` by a synchronized one."""


class ABN(_BatchNorm):
    """BatchNorm followed by an activation.

    It is a ``_BatchNorm``, so that ``update_bn`` and other tools of PyTorch find it. Converters that would put a plain
    batch norm in its place (``SyncBatchNorm.convert_sync_batchnorm``) get an error.

    Args:
        num_channels: C.
        activation: ``leaky_relu``, ``elu`` or ``identity``.
        slope: of the leaky ReLU, α of the ELU; > 0.
        eps: added to the variance, and to the size of the weight; > 0.
        momentum: of the running statistics ``r ← (1 − m)·r + m·new``; None for the cumulative average.
        scale: ``abs``: γ = abs(w) + ε, the paper's; ``signed``: γ = w + sign(w)·ε, which accepts the weights of an
            ordinary BatchNorm. sign(0) = +1 in both.
        affine: whether there are a weight and a bias; without, γ = 1 and β = 0.

    Shape:
        N×C×…, of any floating type, to the same.

    Attributes:
        layer_name: in its network, for messages; empty if nobody has set it.

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
            raise ValueError(
                f"the eps of a norm must be greater than 0, not {eps}: it keeps variances and weights from 0"
            )
        super().__init__(num_channels, eps, momentum, affine)
        self.activation, self.slope, self.scale = activation, slope, scale
        self.layer_name = ""

    @property
    def num_features(self) -> int:
        """C, as a batch norm calls it.

        Raises:
            ValueError: the reader is one of :data:`CONVERTERS`.
        """
        # They replace every _BatchNorm, and no other hook tells a layer that it is being replaced.
        if sys._getframe(1).f_code.co_name in CONVERTERS:
            raise ValueError(
                f"{self._describe()} cannot be converted to a SyncBatchNorm, which would drop its activation; for "
                "synchronized statistics use InPlaceABNSync, or call seamseg.modules.batchnorm.to_batchnorm first"
            )
        return self.num_channels

    @num_features.setter
    def num_features(self, value: int) -> None:
        self.num_channels = value

    @property
    def updates_running_stats(self) -> bool:
        """Whether the next input is normalized by its own statistics, and moves the running ones."""
        return self.training and not self.statistics_frozen

    def gamma(self) -> Tensor:
        """The factor that the weight stands for; never zero."""
        if self.weight is None:
            return torch.ones_like(self.running_mean)
        return gamma_of(self.weight, self.scale, self.eps)

    def beta(self) -> Tensor:
        """The bias, or zeros."""
        return torch.zeros_like(self.running_mean) if self.bias is None else self.bias

    def freeze(self) -> None:
        """Stops training of the parameters and of the running statistics, which are used from now on."""
        self.statistics_frozen = True
        self.requires_grad_(False)

    def reset_running_stats(self) -> None:
        """Resets the running statistics, unless they are frozen."""
        if not self.statistics_frozen:
            super().reset_running_stats()

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """``act(γ·x̂ + β [+ residual])``."""
        check_input(x, self.num_channels, residual)
        compute = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        mean, var = self.running_mean, self.running_var
        if self.updates_running_stats:
            count = num_samples(x)
            self._check_count(count)
            if count:
                dims = [dim for dim in range(x.ndim) if dim != 1]
                var, mean = torch.var_mean(compute, dim=dims, correction=0)
                self._update_running(mean.detach(), var.detach(), count)
        shape = [1, -1] + [1] * (x.ndim - 2)
        y = (compute - mean.view(shape)) * (self.gamma() * (var + self.eps).rsqrt()).view(shape) + self.beta().view(
            shape
        )
        if residual is not None:
            y = y + residual
        activate_(y, self.activation, self.slope)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_channels}, activation={self.activation}, slope={self.slope}, scale={self.scale}"

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        # As of version 1, in which batches were not counted: a missing count is no error.
        super()._load_from_state_dict(state_dict, prefix, {**local_metadata, "version": 1}, *rest)

    def _describe(self) -> str:
        return f"the norm {self.layer_name}" if self.layer_name else f"a norm over {self.num_channels} channels"

    def _check_count(self, count: float) -> None:
        if count == 1:
            raise SeamsegError(
                f"{self._describe()} got one sample per channel in training, which has no variance; use larger batches "
                "or images, or norm.name=gn"
            )

    def _update_running(self, mean: Tensor, var: Tensor, count: Tensor | int) -> None:
        # An empty batch has no statistics: it does not count, and its moments get weight 0. The count stays on the GPU,
        # since reading it would wait for all work there.
        if isinstance(count, int):
            some: Tensor | int = int(count > 0)
            unbiased = var * (count / max(count - 1, 1))
        else:
            some, unbiased = count > 0, var * count / (count - 1).clamp(min=1)
        running_mean, running_var, num_batches = self.running_mean, self.running_var, self.num_batches_tracked
        num_batches.add_(some)
        momentum = 1 / max(int(num_batches), 1) if self.momentum is None else self.momentum
        new = some * momentum if isinstance(some, int) else some.to(running_mean.dtype) * momentum
        running_mean.lerp_(mean.to(running_mean.dtype), new)
        running_var.lerp_(unbiased.to(running_var.dtype), new)


class InPlaceABN(ABN):
    """:class:`ABN` that overwrites its input and keeps only its output for the backward pass.

    The input must not be needed by anyone else: not by the operation that made it (convolutions, linear layers,
    additions and concatenations don't need theirs), and not by a second reader. Autograd refuses the backward pass
    otherwise; what the type of that operation shows is refused in every forward pass, by the name of the layer. An
    input that shares its memory with another tensor is copied. A residual is read only.

    An output with few bits does not tell the input of a layer with a small γ beside a large β or residual. Where some γ
    is below the bound of :mod:`seamseg.modules.inversion`, the layer normalizes in place and does the rest
    beside it, in float32: the same values, and at least the memory of an ordinary norm. So it does with an ELU behind a
    residual.

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
        super().__init__(num_channels, activation, slope, eps, momentum, scale, affine)
        self.inversion = Inversion()

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if takes_ordinary_operators():
            self._check_own_statistics()
            return super().forward(x, residual)
        self._check_input(x)
        # Where a sum saturates the ELU, one of its terms cannot be told from the other and the output, in any type.
        if residual is not None and self.activation == "elu" and torch.is_grad_enabled():
            return self._beside(x, residual)
        if self.inversion.is_accurate(self, x.dtype, residual):
            weight = torch.ones_like(self.running_mean) if self.weight is None else self.weight
            scale = None if self.weight is None else self.scale
            return self._in_place(x, weight, self.beta(), scale, self.activation, residual)
        if not torch.compiler.is_compiling():
            warn_about_small_gamma()
        return self._beside(x, residual)

    def _check_own_statistics(self) -> None:
        """Refuses statistics that :class:`ABN` does not compute."""

    def batch_statistics(self, x: Tensor) -> Statistics | None:
        """What to normalize a training batch by; None for its own moments.

        Raises:
            SeamsegError: there is one sample per channel.
        """
        self._check_count(num_samples(x))
        return None

    def _in_place(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Scale | None,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        learns = self.updates_running_stats
        statistics = self.batch_statistics(x) if learns else Statistics(self.running_mean, self.running_var)
        z, moments = inplace_abn(x, weight, bias, statistics, self.eps, activation, self.slope, residual, scale)
        if learns:
            mean, var = moments.unbind()
            count = None if statistics is None else statistics.count
            self._update_running(mean, var, num_samples(x) if count is None else count)
        return z

    def _beside(self, x: Tensor, residual: Tensor | None) -> Tensor:
        ones, zeros = torch.ones_like(self.running_mean), torch.zeros_like(self.running_mean)
        # Rounded to a half type, a value near the kink of the activation would get the slope of its other side.
        normalized = self._in_place(at_least_float32(x), ones, zeros, None, "identity", None)
        shape = [1, -1] + [1] * (x.ndim - 2)
        y = normalized * self.gamma().view(shape) + self.beta().view(shape)
        y = y if residual is None else y + residual
        if self.activation != "elu":  # whose gradient far below 0 is lost in a rounded output
            y = y.to(x.dtype)
        activate_(y, self.activation, self.slope)
        return y.to(x.dtype)

    def _check_input(self, x: Tensor) -> None:
        if not (torch.is_grad_enabled() and x.requires_grad):
            return
        obstacle = overwriting_obstacle(x)
        if obstacle is not None:
            raise ValueError(f"{self._describe()} overwrites its input, but {obstacle}")


class InPlaceABNSync(InPlaceABN):
    """:class:`InPlaceABN` with the statistics of all ranks.

    One collective in the forward pass, one in the backward pass; exact for different numbers of samples per rank,
    none included. Without a started process group the statistics are this process's own, which a warning says once.

    Attributes:
        group: the ranks that take part; None means all.
        active: those that take part for the time being, in place of ``group``
            (:func:`seamseg.modules.roi_head.set_active_group`). The others have no samples and run no collective;
            a backward pass keeps to the group of its forward pass. None: ``group`` holds.

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

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A process group cannot be copied: the copy shares it. Which ranks are active at the moment is not copied.
        memo[id(self.group)], memo[id(self.active)] = self.group, None
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__dict__ = copy.deepcopy(self.__dict__, memo)
        return copied

    def _check_own_statistics(self) -> None:
        if self.updates_running_stats and is_started() and dist.get_world_size(self.group) > 1:
            raise ValueError(
                f"{self._describe()} uses the statistics of several processes in training, which cannot be traced, "
                "exported or transformed by torch.func; call eval() on the network first"
            )

    def batch_statistics(self, x: Tensor) -> Statistics | None:
        if not is_started():
            warn_about_missing_group()
            return super().batch_statistics(x)
        group = self.group if self.active is None else self.active.process_group
        if not self._is_joined(x, group):
            return super().batch_statistics(x)
        moments = reduce_moments(batch_moments(x), group)
        # Only few samples can be too few; asking for the count otherwise would make a GPU wait. A rank that has none
        # asks too, so that all ranks of a group fail together; those of an active group know that others have some.
        if num_samples(x) == 1 or (num_samples(x) == 0 and self.active is None):
            self._check_count(float(moments.count))
        return Statistics(moments.mean, moments.var, moments.count, group, synchronized=True)

    def _is_joined(self, x: Tensor, group: dist.ProcessGroup | None) -> bool:
        """Whether the statistics are those of several ranks."""
        if self.active is None:
            return dist.get_world_size(group) > 1
        if not self.active.is_member and num_samples(x):
            raise ValueError(
                f"{self._describe()} got samples on a rank that is not in its active group; tell the group about all "
                "ranks that have some"
            )
        return self.active.is_member and len(self.active.ranks) > 1


class AffineAct(ABN):
    """Stored statistics and a plain weight: ``act(w·(x − μ)/√(σ² + ε) + b)``, for fine-tuning with tiny batches."""

    def __init__(self, num_channels: int, activation: Activation = "leaky_relu", slope: float = 0.01) -> None:
        super().__init__(num_channels, activation, slope)
        self.statistics_frozen = True

    def gamma(self) -> Tensor:
        return torch.ones_like(self.running_mean) if self.weight is None else self.weight


@cache
def warn_about_missing_group() -> None:
    """Once per process."""
    warnings.warn(
        "synchronized norms without a process group use this process's statistics; start the training with torchrun, "
        "or choose norm.name=bn",
        stacklevel=2,
    )
