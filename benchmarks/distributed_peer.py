"""The collectives of torch.nn.SyncBatchNorm in plain operations, as that layer does not work on the CPU.

As in ``torch/nn/modules/_functions.py``, the forward pass gathers mean, 1/σ and count (2C + 1 numbers); the
backward pass reduces two sums (2C numbers).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seamseg.modules.abn import ABN, InPlaceABNSync
from seamseg.networks import PyramidNet


class SyncBatchNormOnCPU(nn.Module):
    """Out-of-place synchronized BatchNorm and activation.

    Args:
        norm: Norm of this project whose parameters are copied.
    """

    def __init__(self, norm: ABN) -> None:
        super().__init__()
        self.eps, self.momentum, self.activation, self.slope = (
            norm.eps,
            norm.momentum or 0.1,
            norm.activation,
            norm.slope,
        )
        self.weight = nn.Parameter(norm.gamma().detach().clone())
        self.bias = nn.Parameter(norm.beta().detach().clone())
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer.clone())

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Normalize, add the residual and activate."""
        y, mean, var = _Function.apply(x, self.weight, self.bias, self.eps)
        self._update_running(mean, var)
        y = y if residual is None else y + residual
        if self.activation == "leaky_relu":
            return functional.leaky_relu(y, self.slope)
        return functional.elu(y, self.slope) if self.activation == "elu" else y

    def _update_running(self, mean: Tensor, var: Tensor) -> None:
        self.get_buffer("num_batches_tracked").add_(1)
        self.get_buffer("running_mean").lerp_(mean, self.momentum)
        self.get_buffer("running_var").lerp_(var, self.momentum)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        dims, shape = [dim for dim in range(x.ndim) if dim != 1], [1, -1] + [1] * (x.ndim - 2)
        count = x.numel() // x.shape[1]
        var, mean = torch.var_mean(x, dims, correction=0) if count else x.new_zeros(2, x.shape[1]).unbind()
        packed = torch.cat([mean, (var + eps).rsqrt(), x.new_tensor([float(count)])])
        of_ranks = [torch.empty_like(packed) for _ in range(dist.get_world_size())]
        dist.all_gather(of_ranks, packed)
        gathered, channels = torch.stack(of_ranks), x.shape[1]
        means, scales, counts = gathered[:, :channels], gathered[:, channels:-1], gathered[:, -1:]
        total = counts.sum().clamp(min=1)
        mean = (means * counts).sum(0) / total
        var = ((scales.pow(-2) - eps + (means - mean).square()) * counts).sum(0) / total
        normed = (x - mean.view(shape)) * (var + eps).rsqrt().view(shape)
        ctx.save_for_backward(normed, weight, var)
        ctx.eps, ctx.total = eps, total
        ctx.mark_non_differentiable(mean, var)
        return normed * weight.view(shape) + bias.view(shape), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        normed, weight, var = ctx.saved_tensors
        dims, shape = [dim for dim in range(dy.ndim) if dim != 1], [1, -1] + [1] * (dy.ndim - 2)
        local = torch.cat([dy.sum(dims), (dy * normed).sum(dims)])
        sums = local.clone()
        dist.all_reduce(sums)
        mean_dy, mean_xdy = (part.view(shape) for part in (sums / ctx.total).chunk(2))
        dx = (dy - mean_dy - normed * mean_xdy) * (weight * (var + ctx.eps).rsqrt()).view(shape)
        of_bias, of_weight = local.chunk(2)
        return dx, of_weight, of_bias, None


def with_sync_batch_norm(network: PyramidNet) -> PyramidNet:
    """Return a copy in which every synchronized norm is replaced."""
    peer = copy.deepcopy(network)
    for parent in list(peer.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, InPlaceABNSync):
                setattr(parent, name, SyncBatchNormOnCPU(child))
    return peer
