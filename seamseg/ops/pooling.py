"""The mean over a large window, at every position."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def window_mean(x: Tensor, window: int) -> Tensor:
    """Average pool with stride 1 whose result is padded back to the size of its input by replication.

    The window is ``min(window, size)`` per axis; of the ``k − 1`` missing positions ``(k − 1) // 2`` are added before,
    the rest after. Computed by prefix sums: the time does not depend on the window, where a pool of 64×64 would read
    every value 4096 times.

    Args:
        x: N×C×H×W.
        window: at least 1.

    Returns:
        N×C×H×W, accumulated in float32 for half types.
    """
    return _mean_along(_mean_along(x, window, -1), window, -2)


def _mean_along(x: Tensor, window: int, dim: int) -> Tensor:
    size = x.shape[dim]
    if size <= window:
        return x.mean(dim=dim, keepdim=True).expand_as(x)
    compute = x if x.is_floating_point() and x.element_size() >= 4 else x.float()
    before = (window - 1) // 2
    padding = (1, 0, 0, 0) if dim == -1 else (0, 0, 1, 0)
    sums = functional.pad(compute.cumsum(dim), padding)
    mean = (sums.narrow(dim, window, size - window + 1) - sums.narrow(dim, 0, size - window + 1)) / window
    after = size - mean.shape[dim] - before
    replicate = (before, after, 0, 0) if dim == -1 else (0, 0, before, after)
    return functional.pad(mean, replicate, mode="replicate").to(x.dtype)
