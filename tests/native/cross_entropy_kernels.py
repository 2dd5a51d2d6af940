"""The CUDA kernels of the cross-entropy of upsampled logits on the CPU, called like their operators."""

from __future__ import annotations

import ctypes

import torch
from native.harness import TYPES, Operators
from torch import Tensor


class _Call(ctypes.Structure):
    """Arguments of a kernel, as in cuda_host/cross_entropy.cpp."""

    _fields_ = [
        *[(name, ctypes.c_double) for name in ("row_step", "column_step")],
        *[(name, ctypes.c_int64) for name in ("type", "classes", "height", "width", "num_rows", "num_columns")],
        *[(name, ctypes.c_void_p) for name in ("values", "taps", "target")],
        *[(name, ctypes.c_void_p) for name in ("losses", "log_sums", "chosen", "weight", "factors", "gradient")],
    ]


class CrossEntropyKernels(Operators):
    """Cross-entropy and its gradient."""

    def upsampled_cross_entropy(
        self, logits: Tensor, target: Tensor, row_step: float, column_step: float
    ) -> tuple[Tensor, Tensor]:
        losses, log_sums = (torch.full(target.shape, torch.nan) for _ in range(2))
        steps, target = (row_step, column_step), target.contiguous()
        self._run("cross_entropy_losses", logits, steps, target, target=target, losses=losses, log_sums=log_sums)
        return losses, log_sums

    def upsampled_cross_entropy_gradient(
        self,
        logits: Tensor,
        classes: Tensor,
        log_sums: Tensor,
        weight: Tensor,
        factors: Tensor | None,
        row_step: float,
        column_step: float,
    ) -> Tensor:
        gradient = torch.full(logits.shape, torch.nan)
        steps, kept = (row_step, column_step), {"chosen": classes.contiguous(), "log_sums": log_sums.contiguous()}
        if factors is not None:
            kept["factors"] = factors.contiguous()
        self._run("cross_entropy_gradient", logits, steps, classes, **kept, weight=weight, gradient=gradient)
        return gradient

    def _run(
        self, function: str, logits: Tensor, steps: tuple[float, float], pixels: Tensor, **tensors: Tensor
    ) -> None:
        logits, taps = logits.contiguous(), torch.full((3 * sum(pixels.shape),), -7, dtype=torch.int32)
        sizes = (*logits.shape, *pixels.shape)
        call = _Call(*steps, TYPES.index(logits.dtype), *sizes, logits.data_ptr(), taps.data_ptr())
        for name, tensor in tensors.items():
            setattr(call, name, tensor.data_ptr())
        self.kernels.call(function, ctypes.byref(call))
