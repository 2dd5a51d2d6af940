"""Losses, mask targets, and the counts that sums of losses are divided by.

Averaging the gradients of the ranks, as distributed training does, averages their losses. Where every rank divides by
its own counts (the published way), a region of a rank with few regions weighs more than one of a rank with many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.ops.collectives import sum_and_size_over_ranks
from seamseg.ops.native import at_least_float32
from seamseg.structures.categories import VOID
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import PaddedImages
from seamseg.structures.losses import LossSum

LossReduction = Callable[[Sequence[LossSum]], list[Tensor]]
"""Losses to be divided, to zero-dimensional ones."""


def reduce_per_rank(sums: Sequence[LossSum]) -> list[Tensor]:
    """Every rank divides by its own counts."""
    return [one.mean for one in sums]


def reduce_over_ranks(sums: Sequence[LossSum]) -> list[Tensor]:
    """All ranks divide by their common counts: the average over the ranks is the mean of the joined batch.

    One collective for all losses.
    """
    counts = torch.stack([torch.as_tensor(one.count, dtype=torch.float32, device=one.total.device) for one in sums])
    totals, num_ranks = sum_and_size_over_ranks(counts)
    return [one.total * num_ranks / count for one, count in zip(sums, totals.clamp(min=1), strict=True)]


def smooth_l1(prediction: Tensor, target: Tensor, sigma: float) -> Tensor:
    """½σ²d² where |d| < 1/σ², else |d| − ½/σ² (Girshick, Fast R-CNN, eq. 3; σ as in Faster R-CNN).

    Args:
        prediction, target: of one shape.
        sigma: > 0; larger is closer to the absolute difference.

    Returns:
        The loss of every element, of that shape.
    """
    squared = sigma * sigma
    distance = (prediction - target).abs()
    return torch.where(distance < 1 / squared, 0.5 * squared * distance * distance, distance - 0.5 / squared)


IGNORED = -1
"""Target of pixels that don't count."""


def mask_targets(ids: Tensor, boxes: Tensor, segment_ids: Tensor, mask_size: int, void_is_background: bool) -> Tensor:
    """Samples the id map inside every box, all boxes at once.

    Args:
        ids: H×W int64, segment ids of the valid image.
        boxes: P×4, in its pixels.
        segment_ids: P, the id that each mask should show.
        mask_size: M.
        void_is_background: whether void pixels are 0 or ignored.

    Returns:
        P×M×M int64: 1 object, 0 not, −1 ignored. The value at a position is that of the pixel it falls into; positions
        beyond the image read its border.
    """
    height, width = ids.shape
    steps = (torch.arange(mask_size, device=boxes.device, dtype=boxes.dtype) + 0.5) / mask_size
    y0, x0, y1, x1 = boxes.unsqueeze(-1).unbind(1)
    rows = (y0 + steps * (y1 - y0)).floor().to(torch.int64).clamp(0, height - 1)
    columns = (x0 + steps * (x1 - x0)).floor().to(torch.int64).clamp(0, width - 1)
    sampled = ids[rows[:, :, None], columns[:, None, :]]
    targets = (sampled == segment_ids[:, None, None]).to(torch.int64)
    if not void_is_background:
        targets[sampled == 0] = IGNORED
    return targets


BOX_SIGMA = 1.0


@dataclass(frozen=True)
class RoILosses:
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


def box_loss(box_deltas: Tensor, targets: Tensor, classes: Tensor) -> LossSum:
    """Smooth L1 of the true class's box_deltas of the positives, divided by the number of all regions.

    Args:
        box_deltas: R×T×4.
        targets: P×4, of the positive regions in their order.
        classes: R, 0 is background.
    """
    positive = torch.nonzero(classes > 0).squeeze(1)
    found = at_least_float32(box_deltas[positive, classes[positive] - 1])
    return LossSum(smooth_l1(found, targets, BOX_SIGMA).sum(), len(classes))


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


class SemanticLoss:
    """Mean over the images of the mean over each image's hardest pixels.

    Args:
        hardest_fraction: of an image's pixels, above 0 and at most 1; void pixels count with loss 0.
    """

    def __init__(self, hardest_fraction: float = 0.25) -> None:
        self.hardest_fraction = hardest_fraction

    def __call__(self, logits: Tensor, images: PaddedImages, ground_truth: GroundTruth) -> LossSum:
        """Over the images.

        Args:
            logits: N×(S+T)×h×w, covering the padded images.
            images: for their sizes.
            ground_truth: of the images at their valid size.
        """
        losses = []
        for image, (height, width) in enumerate(images.sizes):
            enlarged = functional.interpolate(
                at_least_float32(logits[image : image + 1]),
                size=images.padded_size,
                mode="bilinear",
                align_corners=False,
            )[:, :, :height, :width]
            target = ground_truth.semantic_target(image).unsqueeze(0)
            pixels = functional.cross_entropy(enlarged, target, ignore_index=VOID, reduction="none")
            num_hardest = math.ceil(self.hardest_fraction * height * width)
            losses.append(pixels.flatten().topk(num_hardest, sorted=False).values.mean())
        return LossSum(torch.stack(losses).sum(), len(losses))
