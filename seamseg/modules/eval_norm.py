"""EvalNorm: statistics of training, corrected for single images at inference (Singh and Shrivastava, ICCV 2019).

A norm that was trained with m images at a time normalized each image by statistics that contained the image itself. The
running statistics do not contain the image at inference; with small m, this difference costs accuracy.
"""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

from seamseg.errors import SettingsError
from seamseg.modules.abn import ABN
from seamseg.modules.norm import AffineAct
from seamseg.modules.roi_head import RoIHead
from seamseg.modules.small_batch import SmallBatchABN
from seamseg.ops.inplace_abn import activate_, check_input
from seamseg.ops.native import at_least_float32

Network = TypeVar("Network", bound=nn.Module)


class EvalNorm(nn.Module):
    """Norm and activation that mix an image's own statistics with running ones, for inference.

    With mean μ_s and variance σ_s² of one channel of one image, running statistics μ and σ², and the share α,::

        μ̂  = α·μ_s + (1 − α)·μ
        σ̂² = α·σ_s² + (1 − α)·σ² + α·(1 − α)·(μ_s − μ)²
        output = act(γ·(x − μ̂)/√(σ̂² + ε) + β [+ residual])

    These are the moments of a batch of which the fraction α is the image itself and the rest is typical, so α = 1/m for
    a norm that was trained with m images at a time. (The paper estimates α per layer; 1/m needs no data.)

    Args:
        norm: Trained norm, which is not modified.
        share: Share α of the image's own statistics, in 0 … 1.

    Shape:
        N×C×…; the output has the same shape and type.
    """

    def __init__(self, norm: ABN, share: float) -> None:
        super().__init__()
        self.norm, self.share = norm, share

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute ``act(norm(x) [+ residual])`` out of place."""
        norm, share = self.norm, self.share
        check_input(x, norm.num_channels, residual)
        compute = at_least_float32(x)
        shape = [1, -1] + [1] * (x.ndim - 2)
        mean, var = norm.running_mean.view(shape), norm.running_var.view(shape)
        dims = list(range(2, x.ndim))
        own_mean = compute.mean(dim=dims, keepdim=True) if dims else compute
        own_var = (compute - own_mean).square()
        own_var = own_var.mean(dim=dims, keepdim=True) if dims else own_var
        var = share * own_var + (1 - share) * var + share * (1 - share) * (own_mean - mean).square()
        mean = share * own_mean + (1 - share) * mean
        y = (compute - mean) * (norm.gamma().view(shape) * (var + norm.eps).rsqrt()) + norm.beta().view(shape)
        activate_(y, norm.activation, norm.slope, residual)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """Return the settings that ``print`` shows."""
        return f"share={self.share}"


def eval_norms(network: Network, share: float) -> Network:
    """Copy a trained network for inference and let its norms mix in the statistics of each image.

    Norms in a :class:`seamseg.modules.roi_head.RoIHead` stay as they are: they were trained with hundreds of regions at
    a time, so their share is almost 0. Norms with frozen statistics stay as well.

    Args:
        network: Network to copy; not modified.
        share: Share of an image's own statistics, in 0 … 1: 1/m for norms that were trained with m images at a time. 0
            gives the running statistics.

    Returns:
        The copy in evaluation mode. Its state-dict names differ.

    Raises:
        SeamsegError: The share is not in 0 … 1, or the network has no norm that was trained with batch statistics.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from seamseg import InPlaceABN
        >>> from seamseg.modules import eval_norms
        >>> network = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), InPlaceABN(16))
        >>> eval_norms(network, 0.5)(torch.randn(1, 3, 8, 8)).shape
        torch.Size([1, 16, 6, 6])
    """
    if not 0 <= share <= 1:
        raise SettingsError(f"the share of an image's own statistics must be in 0 … 1, not {share}")
    copied = copy.deepcopy(network).eval()
    if not _convert(copied, share):
        raise SettingsError(
            "no norm of the network was trained with batch statistics, which EvalNorm requires; use it with "
            "norm.name=bn, syncbn or plain, or leave it out"
        )
    return copied


def _convert(module: nn.Module, share: float) -> int:
    """Replace the norms inside of a module; return their number."""
    number = 0
    for name, child in list(module.named_children()):
        if isinstance(child, RoIHead):
            continue
        if isinstance(child, ABN):
            if not (isinstance(child, (AffineAct, SmallBatchABN)) or child.statistics_frozen):
                setattr(module, name, EvalNorm(child, share))
                number += 1
        else:
            number += _convert(child, share)
    return number
