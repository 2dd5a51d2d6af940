"""Group norm, one group of one image at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def group_norm(x: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Return the normalized, scaled and shifted N×C×… in float64; differentiable."""
    images = []
    for image in x.double():
        groups = []
        for group in image.chunk(num_groups):
            centered = group - group.mean()
            groups.append(centered / (centered.square().mean() + eps).sqrt())
        per_channel = [-1] + [1] * (image.ndim - 1)
        images.append(torch.cat(groups) * weight.double().view(per_channel) + bias.double().view(per_channel))
    return torch.stack(images)
