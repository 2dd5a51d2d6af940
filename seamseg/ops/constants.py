"""Small constants on the device of other tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def constant_like(
    x: Tensor, numbers: float | Sequence[float] | Sequence[Sequence[float]], dtype: torch.dtype | None = None
) -> Tensor:
    """Return numbers as a tensor like ``x.new_tensor(numbers)``, without waiting for a GPU.

    ``new_tensor`` copies from ordinary memory and waits until the GPU has finished all work before the copy. Here, the
    numbers are copied from pinned memory, which PyTorch does not reuse before the copy is done.

    Args:
        x: Tensor whose device the result has.
        numbers: Number, row of numbers, or rows of numbers.
        dtype: Type of the result; None for that of ``x``.

    Example:
        >>> constant_like(torch.zeros(3), [1, 2])
        tensor([1., 2.])
    """
    dtype = dtype or x.dtype
    if not x.is_cuda:
        return x.new_tensor(numbers, dtype=dtype)
    return torch.tensor(numbers, dtype=dtype, pin_memory=True).to(x.device, non_blocking=True)
