"""Losses of the region head (He et al., Mask R-CNN, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.algos.mask_targets import IGNORED
from seamseg.ops.smooth_l1 import smooth_l1

SHIFT_SIGMA = 1.0


@dataclass(frozen=True)
class RegionLosses:
    """Zero-dimensional each."""

    classes: Tensor
    boxes: Tensor
    masks: Tensor


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy, mean over all regions (0 without any).

    Args:
        logits: R×(T+1).
        classes: R, 0 is background.
    """
    return functional.cross_entropy(logits.float(), classes, reduction="sum") / max(len(classes), 1)


def box_loss(shifts: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
    """Smooth L1 of the true class's shifts of the positives, divided by the number of all regions.

    Args:
        shifts: R×T×4.
        targets: P×4, of the positive regions in their order.
        classes: R, 0 is background.
    """
    positive = torch.nonzero(classes > 0).squeeze(1)
    found = shifts[positive, classes[positive] - 1].float()
    return smooth_l1(found, targets, SHIFT_SIGMA).sum() / max(len(classes), 1)


def mask_loss(logits: Tensor, targets: Tensor, things: Tensor) -> Tensor:
    """Binary cross-entropy of the true class's mask, mean over the pixels that count (0 without any).

    Args:
        logits: P×T×M×M of the positive regions.
        targets: P×M×M: 1, 0, or −1 for pixels that don't count.
        things: P, the true class among the things.
    """
    chosen = logits[torch.arange(len(things), device=things.device), things].float()
    counts = (targets != IGNORED).to(chosen.dtype)
    loss = functional.binary_cross_entropy_with_logits(
        chosen, targets.clamp(min=0).to(chosen.dtype), weight=counts, reduction="sum"
    )
    return loss / counts.sum().clamp(min=1)
