"""RoIAlign of one region after the other by torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align


def multilevel_roi_align(
    levels: Sequence[Tensor], boxes: Tensor, image_index: Tensor, level_index: Tensor, output_size: int
) -> Tensor:
    """Return R×C×output×output float32 features; arguments as in the operator.

    In float32, positions are rounded as in the operator.
    """
    size, levels = (output_size, output_size), [level.float() for level in levels]
    features = [levels[0].new_zeros(0, levels[0].shape[1], *size)]
    for (y0, x0, y1, x1), image, level in zip(boxes.tolist(), image_index.tolist(), level_index.tolist(), strict=True):
        region = torch.tensor([[image, x0, y0, x1, y1]])
        features.append(roi_align(levels[level], region, size, 1.0, sampling_ratio=1, aligned=True))
    return torch.cat(features) + 0 * sum(level.sum() for level in levels)
