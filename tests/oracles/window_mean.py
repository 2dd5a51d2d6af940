"""Mean over a window as an average pool with padding."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def window_mean(x: Tensor, window: int) -> Tensor:
    """Average-pool with stride 1; of k − 1 missing positions, (k − 1) // 2 repeat the first, the rest the last one."""
    height, width = (min(window, size) for size in x.shape[-2:])
    pooled = functional.avg_pool2d(x, (height, width), stride=1)
    top, left = (height - 1) // 2, (width - 1) // 2
    return functional.pad(pooled, (left, width - 1 - left, top, height - 1 - top), mode="replicate")
