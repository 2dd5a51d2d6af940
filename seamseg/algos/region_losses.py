"""Losses of the region head (He et al., Mask R-CNN, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.algos.mask_targets import IGNORED
from seamseg.ops.half_types import at_least_float32
from seamseg.ops.smooth_l1 import smooth_l1
from seamseg.structures.losses import LossSum

SHIFT_SIGMA = 1.0


@dataclass(frozen=True)
class RegionLosses:
    """Of the regions of all images."""

    classes: LossSum
    boxes: LossSum
    masks: LossSum


def class_loss(logits: Tensor, classes: Tensor) -> LossSum:
    """Cross-entropy, mean over all regions.

    Args:
        logits: R×(T+1).
        classes: R, 0 is background.
    """
    return LossSum(functional.cross_entropy(at_least_float32(logits), classes, reduction="sum"), len(classes))


def box_loss(shifts: Tensor, targets: Tensor, classes: Tensor) -> LossSum:
    """Smooth L1 of the true class's shifts of the positives, divided by the number of all regions.

    Args:
        shifts: R×T×4.
        targets: P×4, of the positive regions in their order.
        classes: R, 0 is background.
    """
    positive = torch.nonzero(classes > 0).squeeze(1)
    found = at_least_float32(shifts[positive, classes[positive] - 1])
    return LossSum(smooth_l1(found, targets, SHIFT_SIGMA).sum(), len(classes))


def mask_loss(logits: Tensor, targets: Tensor, things: Tensor) -> LossSum:
    """Binary cross-entropy of the true class's mask, mean over the pixels that count.

    Args:
        logits: P×T×M×M of the positive regions.
        targets: P×M×M: 1, 0, or −1 for pixels that don't count.
        things: P, the true class among the things.
    """
    chosen = at_least_float32(logits[torch.arange(len(things), device=things.device), things])
    counts = (targets != IGNORED).to(chosen.dtype)
    loss = functional.binary_cross_entropy_with_logits(
        chosen, targets.clamp(min=0).to(chosen.dtype), weight=counts, reduction="sum"
    )
    return LossSum(loss, counts.sum())
