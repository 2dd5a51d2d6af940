"""Masks resampled over the whole image by PyTorch's sampler."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def paste_values(logits: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Return H×W float64: the interpolated probability at every pixel of the image."""
    y0, x0, y1, x1 = box.double().tolist()
    rows = (torch.arange(size[0], dtype=torch.float64) + 0.5 - y0) / (y1 - y0) * 2 - 1
    columns = (torch.arange(size[1], dtype=torch.float64) + 0.5 - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack([columns[None, :].expand(size), rows[:, None].expand(size)], dim=-1)
    probabilities = logits.double().sigmoid()[None, None]
    return F.grid_sample(probabilities, grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)[0, 0]
