"""Between the norms here and PyTorch's BatchNorm followed by an activation."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seamseg.modules.abn import ABN, AffineAct, InPlaceABN, InPlaceABNSync
from seamseg.ops.inplace_abn import Activation

NormKind = TypeVar("NormKind", bound=ABN)


class FrozenBatchNorm(_BatchNorm):
    """BatchNorm that always uses its running statistics: ``train()`` does not reach it.

    Shape:
        N×C×…, any number of dimensions, to the same.
    """

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        super().train(False)
        return self

    def reset_running_stats(self) -> None:
        """Keeps the statistics: those that ``update_bn`` reset would not be learned again."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"a batch norm takes N×C×…, and got an input of the shape {tuple(input.shape)}")


def to_batchnorm(norm: ABN, kind: type[_BatchNorm] | None = None) -> nn.Sequential:
    """A BatchNorm and an activation that together compute what ``norm`` computes without a residual.

    In training and in evaluation; parameters (γ, not the weight behind it), running statistics, momentum, ε, training
    mode and what is frozen are taken over. Nothing is shared with ``norm``.

    Args:
        norm: stays as it is.
        kind: PyTorch's class, which decides on the number of dimensions. None chooses ``SyncBatchNorm`` for
            synchronized norms (any number; it trains several processes on GPUs only) and ``BatchNorm2d`` for others.
            Norms with frozen statistics become :class:`FrozenBatchNorm` (any number), whatever it says.

    Returns:
        ``bn`` and ``activation``.

    Example:
        >>> from seamseg import InPlaceABN, to_batchnorm
        >>> pair = to_batchnorm(InPlaceABN(16))
        >>> type(pair.bn).__name__, pair.activation.negative_slope
        ('BatchNorm2d', 0.01)
    """
    if norm.statistics_frozen:
        kind = FrozenBatchNorm
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
    """The norm that computes what a BatchNorm and the activation behind it compute.

    Exactly, but for weights that are nearer to 0 than ε: in-place norms, which divide by them, take ±ε instead (and
    the sign of a 0 as +), and a warning says how many these are. The scale is ``signed``.

    Args:
        batchnorm: any of PyTorch's; stays as it is.
        activation, slope: what follows it. A network that was trained with a ReLU is not the same with a leaky one.
        kind: :class:`seamseg.modules.abn.ABN` or a class derived from it.

    Raises:
        ValueError: the batch norm is a norm of this project, there are no running statistics, ε is not positive, or the
            activation cannot be inverted.

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
    if isinstance(batchnorm, ABN):
        raise ValueError(
            f"a norm with an activation ({type(batchnorm).__name__}) is not a plain batch norm; call to_batchnorm first"
        )
    mean = batchnorm.running_mean
    if mean is None or batchnorm.running_var is None:
        raise ValueError(
            "a batch norm with track_running_stats=False normalizes by the batch in evaluation too, which no norm here "
            "does; keep it, or train it with running statistics first"
        )
    if not batchnorm.eps > 0:
        raise ValueError(
            f"eps of a batch norm must be greater than 0 to keep the weights of a norm from 0, not {batchnorm.eps:g}"
        )
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


def inverse_gamma(norm: ABN, gamma: Tensor) -> Tensor:
    """The weight whose :meth:`seamseg.modules.abn.ABN.gamma` is ``gamma``, or the nearest."""
    if isinstance(norm, AffineAct):
        return gamma
    if norm.scale == "abs":
        return (gamma - norm.eps).clamp(min=0)
    least = torch.finfo(gamma.dtype).tiny  # a zero would count as positive, whatever its sign
    return torch.where(gamma >= 0, (gamma - norm.eps).clamp(min=0), (gamma + norm.eps).clamp(max=-least))


@torch.no_grad()
def _copy(source: ABN | _BatchNorm, target: ABN | _BatchNorm, weight: Tensor | None) -> None:
    """Everything but the weight is the same tensor in both."""
    for name, values in [*source.named_parameters(), *source.named_buffers()]:
        tensor = target.get_parameter(name) if isinstance(values, nn.Parameter) else target.get_buffer(name)
        tensor.copy_(weight if name == "weight" and weight is not None else values)
        tensor.requires_grad_(values.requires_grad)


def _warn_about_raised_weights(norm: ABN, gamma: Tensor) -> None:
    if isinstance(norm, AffineAct):
        return
    count = int((gamma.abs() < norm.eps).sum())
    if count:
        warnings.warn(
            f"{count} of the {gamma.numel()} weights of a batch norm are nearer to 0 than {norm.eps:g}, which an "
            f"in-place norm cannot have; they became {norm.eps:g} with their sign",
            stacklevel=3,
        )


def _activation(norm: ABN) -> nn.Module:
    if norm.activation == "leaky_relu":
        return nn.LeakyReLU(norm.slope, inplace=True)
    return nn.ELU(norm.slope, inplace=True) if norm.activation == "elu" else nn.Identity()
