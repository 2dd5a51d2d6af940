"""Conversion between the norms of this project and PyTorch's BatchNorm followed by an activation."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.mabn import MABN
from seamseg.modules.norm import PlainABN
from seamseg.modules.small_batch import SmallBatchABN
from seamseg.ops.inplace_abn import Activation

NormKind = TypeVar("NormKind", bound=ABN)


class FrozenBatchNorm(_BatchNorm):
    """BatchNorm that always uses its running statistics, even after ``train()``.

    Shape:
        N×C×… with any number of dimensions; the output has the same shape.
    """

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Set evaluation mode, whatever ``mode`` is."""
        super().train(False)
        return self

    def reset_running_stats(self) -> None:
        """Keep the statistics; ``update_bn`` would reset them, and nothing would estimate them again."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"the input of a batch norm must be N×C×…, not of shape {tuple(input.shape)}")


def to_batchnorm(norm: ABN, kind: type[_BatchNorm] | None = None) -> nn.Sequential:
    """Return a BatchNorm and an activation that compute the same as ``norm`` without a residual.

    They match in training and in evaluation. Parameters (the weight becomes γ), running statistics, momentum, ε, the
    training mode and the frozen state are copied. Nothing is shared with ``norm``.

    Args:
        norm: Norm to convert; not modified.
        kind: PyTorch class, which determines the number of dimensions. None selects ``SyncBatchNorm`` for synchronized
            norms (any number of dimensions; training in several processes works on GPUs only) and ``BatchNorm2d`` for
            others. Norms with frozen statistics always become :class:`FrozenBatchNorm` (any number of dimensions).

    Returns:
        An ``nn.Sequential`` of ``bn`` and ``activation``.

    Raises:
        ValueError: If ``norm`` trains with statistics of earlier batches and is not frozen.

    Example:
        >>> from seamseg import InPlaceABN, to_batchnorm
        >>> pair = to_batchnorm(InPlaceABN(16))
        >>> type(pair.bn).__name__, pair.activation.negative_slope
        ('BatchNorm2d', 0.01)
    """
    if norm.statistics_frozen:
        kind = FrozenBatchNorm
    elif isinstance(norm, SmallBatchABN):
        raise ValueError(
            f"{type(norm).__name__} trains with statistics of earlier batches, which no layer of PyTorch does; call "
            "freeze() on it first to convert it for inference"
        )
    elif kind is None:
        kind = nn.SyncBatchNorm if isinstance(norm, InPlaceABNSync) else nn.BatchNorm2d
    state = norm.running_mean
    batchnorm = kind(
        norm.num_channels,
        eps=norm.eps,
        momentum=norm.momentum,
        affine=norm.weight is not None,
        device=state.device,
        dtype=state.dtype,
    )
    if isinstance(norm, InPlaceABNSync) and isinstance(batchnorm, nn.SyncBatchNorm):
        batchnorm.process_group = norm.group
    _copy(norm, batchnorm, norm.gamma())
    pair = nn.Sequential(OrderedDict(bn=batchnorm, activation=_activation(norm)))
    return pair.train(norm.training)


def from_batchnorm(
    batchnorm: _BatchNorm,
    activation: Activation = "leaky_relu",
    slope: float = 0.01,
    kind: type[NormKind] = InPlaceABN,  # type: ignore[assignment]
) -> NormKind:
    """Return the norm that computes the same as a BatchNorm followed by an activation.

    The scale of the result is ``signed``. The conversion is exact, except for weights closer to 0 than ε: an in-place
    norm divides by its weights, so these become ±ε with their sign (+ε for 0), and a warning reports their number.

    Args:
        batchnorm: Any BatchNorm of PyTorch; not modified.
        activation: Activation that follows the batch norm. A network trained with ReLU computes something else with a
            leaky ReLU.
        slope: Negative slope of the leaky ReLU or α of the ELU; > 0.
        kind: Class of the result, :class:`seamseg.modules.abn.ABN` or a subclass.

    Raises:
        ValueError: If ``batchnorm`` is a norm of this project, has no running statistics, has ε ≤ 0, if the activation
            is not invertible, or if ``kind`` is MABN, which subtracts no mean.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from seamseg import from_batchnorm
        >>> batchnorm = nn.BatchNorm2d(16)
        >>> norm = from_batchnorm(batchnorm, activation="leaky_relu", slope=0.1)
        >>> x = torch.randn(2, 16, 8, 8)
        >>> expected = nn.functional.leaky_relu(batchnorm(x), 0.1)
        >>> torch.allclose(norm(x), expected, atol=1e-5)
        True
    """
    mean = _checked_mean(batchnorm, kind)
    norm = kind(batchnorm.num_features, activation, slope)
    norm.eps, norm.momentum, norm.scale = batchnorm.eps, batchnorm.momentum, "signed"
    norm.statistics_frozen |= isinstance(batchnorm, FrozenBatchNorm)
    if not batchnorm.affine:
        norm.weight = norm.bias = None
    else:
        _warn_about_raised_weights(norm, batchnorm.weight)
    if isinstance(norm, InPlaceABNSync) and isinstance(batchnorm, nn.SyncBatchNorm):
        norm.group = batchnorm.process_group
    norm.to(mean.device, mean.dtype)
    _copy(batchnorm, norm, None if norm.weight is None else inverse_gamma(norm, batchnorm.weight))
    return norm.train(batchnorm.training)


def _checked_mean(batchnorm: _BatchNorm, kind: type[ABN]) -> Tensor:
    """Return the running mean of a batch norm that can be converted.

    Raises:
        ValueError: It cannot be converted to a norm of this kind.
    """
    if isinstance(batchnorm, ABN):
        raise ValueError(
            f"{type(batchnorm).__name__} includes an activation and is not a plain batch norm; call to_batchnorm first"
        )
    if issubclass(kind, MABN):
        raise ValueError("a batch norm subtracts the mean and MABN does not, so neither can be converted to the other")
    if batchnorm.running_mean is None or batchnorm.running_var is None:
        raise ValueError(
            "a batch norm with track_running_stats=False cannot be converted: it also normalizes by the batch in "
            "evaluation, which no norm of seamseg does; keep it, or train it with running statistics first"
        )
    if not batchnorm.eps > 0:
        raise ValueError(
            f"eps of a batch norm must be greater than 0 to keep the weights of a norm from 0, not {batchnorm.eps:g}"
        )
    return batchnorm.running_mean


def inverse_gamma(norm: ABN, gamma: Tensor) -> Tensor:
    """Return the weight whose :meth:`seamseg.modules.abn.ABN.gamma` is ``gamma``, or the nearest possible one."""
    if isinstance(norm, PlainABN):
        return gamma
    if norm.scale == "abs":
        return (gamma - norm.eps).clamp(min=0)
    least = torch.finfo(gamma.dtype).tiny  # the sign of a zero weight always counts as +
    return torch.where(gamma >= 0, (gamma - norm.eps).clamp(min=0), (gamma + norm.eps).clamp(max=-least))


@torch.no_grad()
def _copy(source: ABN | _BatchNorm, target: ABN | _BatchNorm, weight: Tensor | None) -> None:
    """Copy all parameters and buffers of ``target``; ``weight`` replaces the weight of ``source``."""
    for name, tensor in [*target.named_parameters(), *target.named_buffers()]:
        values = source.get_parameter(name) if isinstance(tensor, nn.Parameter) else source.get_buffer(name)
        tensor.copy_(weight if name == "weight" and weight is not None else values)
        tensor.requires_grad_(values.requires_grad)


def _warn_about_raised_weights(norm: ABN, gamma: Tensor) -> None:
    if isinstance(norm, PlainABN):
        return
    count = int((gamma.abs() < norm.eps).sum())
    if count:
        warnings.warn(
            f"{count} of the {gamma.numel()} weights of a batch norm are closer to 0 than {norm.eps:g}, the smallest "
            f"magnitude that an in-place norm supports; they became ±{norm.eps:g}",
            stacklevel=3,
        )


def _activation(norm: ABN) -> nn.Module:
    if norm.activation == "leaky_relu":
        return nn.LeakyReLU(norm.slope, inplace=True)
    if norm.activation == "relu":
        return nn.ReLU(inplace=True)
    return nn.ELU(norm.slope, inplace=True) if norm.activation == "elu" else nn.Identity()
