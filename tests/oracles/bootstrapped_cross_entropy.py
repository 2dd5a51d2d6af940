"""Bootstrapped cross-entropy from the complete upsampled logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

VOID = 255


def pixel_losses(scores: Tensor, target: Tensor, padded_size: tuple[int, int]) -> Tensor:
    """Return the H×W cross-entropy of one image from C×h×w logits of the padded image."""
    enlarged = functional.interpolate(scores[None], padded_size, mode="bilinear", align_corners=False)
    cropped = enlarged[:, :, : target.shape[0], : target.shape[1]]
    return functional.cross_entropy(cropped, target[None], ignore_index=VOID, reduction="none")[0]


def bootstrapped_cross_entropy(
    logits: Tensor,
    targets: Sequence[Tensor],
    padded_size: tuple[int, int],
    hardest_fraction: float,
    class_weights: Tensor | None = None,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Return the mean of the hardest pixels of each image, with gradient, in the type of the logits."""
    means = []
    for scores, target in zip(logits, targets, strict=True):
        losses = pixel_losses(scores, target, padded_size).flatten()
        if focal_gamma > 0:
            missed = (1 - torch.exp(-losses)).clamp(min=1e-30)  # at 0, the derivative of the power may be infinite
            losses = missed**focal_gamma * losses
        if class_weights is not None:
            weights = torch.cat([class_weights.to(losses.dtype), losses.new_ones(VOID + 1 - len(class_weights))])
            losses = losses * weights[target.flatten()]
        means.append(losses.topk(math.ceil(hardest_fraction * len(losses))).values.mean())
    return torch.stack(means)
