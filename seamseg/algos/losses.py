"""Losses, mask targets, and the counts that divide the sums of losses.

Distributed training averages the gradients, and therefore the losses, of all ranks. If every rank divides by its own
counts, as in the published training, a region on a rank with few regions has more weight than one on a rank with many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.algos.box_regression import crop_aware_targets, smooth_l1
from seamseg.ops.bootstrapped_cross_entropy import bootstrapped_cross_entropy
from seamseg.ops.collectives import sum_and_size_over_ranks
from seamseg.ops.constants import constant_like
from seamseg.ops.native import at_least_float32
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import PaddedImages
from seamseg.structures.losses import LossSum
from seamseg.structures.panoptic_segmentation import LayeredSegmentation

LossReduction = Callable[[Sequence[LossSum]], list[Tensor]]
"""Function that divides loss sums by their counts and returns zero-dimensional losses."""


def reduce_per_rank(sums: Sequence[LossSum]) -> list[Tensor]:
    """Divide the sums by the counts of this rank."""
    return [one.mean for one in sums]


def reduce_over_ranks(sums: Sequence[LossSum]) -> list[Tensor]:
    """Divide the sums so that their average over the ranks is the mean over the joint batch.

    All losses share one collective.
    """
    counts = torch.stack([_as_float32(one.count, one.total) for one in sums])
    totals, num_ranks = sum_and_size_over_ranks(counts)
    return [one.total * num_ranks / count for one, count in zip(sums, totals.clamp(min=1), strict=True)]


def _as_float32(count: Tensor | int, total: Tensor) -> Tensor:
    return count.float() if isinstance(count, Tensor) else constant_like(total, count, torch.float32)


IGNORED = -1
"""Target of pixels without loss."""
TARGETS = "targets"
"""Name of the spans, in a profile of a training step, in which regions are matched, sampled and given targets."""


def mask_targets(
    annotation: LayeredSegmentation, boxes: Tensor, segment_ids: Tensor, mask_size: int, void_is_background: bool
) -> Tensor:
    """Sample the id maps inside all boxes at once, each in the layer of its segment.

    Args:
        annotation: Segments of the image without padding.
        boxes: P×4 in pixels of the image.
        segment_ids: P, the segment id of each mask.
        mask_size: Side M of the masks.
        void_is_background: Whether void pixels get target 0; otherwise they are ignored.

    Returns:
        P×M×M int64: 1 for the object, 0 for other pixels, −1 for ignored pixels. Each position has the value of the
        pixel it falls into; positions outside the image read its border.
    """
    steps = (torch.arange(mask_size, device=boxes.device, dtype=boxes.dtype) + 0.5) / mask_size
    y0, x0, y1, x1 = boxes.unsqueeze(-1).unbind(1)
    y, x = y0 + steps * (y1 - y0), x0 + steps * (x1 - x0)
    return _targets_at(annotation, y[:, :, None], x[:, None, :], segment_ids[:, None, None], void_is_background)


def point_targets(
    annotation: LayeredSegmentation, points: Tensor, segment_ids: Tensor, void_is_background: bool
) -> Tensor:
    """Sample the id maps at the points of each region, in the layer of its segment.

    Args:
        annotation: Segments of the image without padding.
        points: P×N×2 (y, x) in pixels of the image.
        segment_ids: P, the segment id of each region.
        void_is_background: Whether void pixels get target 0; otherwise they are ignored.

    Returns:
        P×N int64; see :func:`mask_targets`.
    """
    y, x = points.unbind(-1)
    return _targets_at(annotation, y, x, segment_ids[:, None], void_is_background)


def _targets_at(
    annotation: LayeredSegmentation, y: Tensor, x: Tensor, segment_ids: Tensor, void_is_background: bool
) -> Tensor:
    """Return the targets of segments at positions in pixels, whose shapes broadcast."""
    height, width = annotation.size
    rows = y.floor().to(torch.int64).clamp(0, height - 1)
    columns = x.floor().to(torch.int64).clamp(0, width - 1)
    sampled = annotation.ids[annotation.layer_of_segment[segment_ids], rows, columns]
    targets = (sampled == segment_ids).to(torch.int64)
    if not void_is_background:
        targets[sampled == 0] = IGNORED
    return targets


def of_class(values: Tensor, things: Tensor) -> Tensor:
    """Return the entry of its class from every row of R×T×…."""
    return values[torch.arange(things.shape[0], device=things.device), things]


BOX_SIGMA = 1.0
"""Parameter σ of the smooth L1 loss of region boxes."""


@dataclass(frozen=True)
class BoxLosses:
    """Losses of the regions that one box stage was trained with, of all images.

    Attributes:
        classes: Cross-entropy of the classes.
        boxes: Smooth L1 loss of the box_deltas.
    """

    classes: LossSum
    boxes: LossSum


@dataclass(frozen=True)
class RoILosses(BoxLosses):
    """Losses of the sampled regions of all images; classes and boxes belong to the first stage.

    Attributes:
        masks: Binary cross-entropy of the masks; None from a head without masks.
        points: Binary cross-entropy of the masks at points; None from a head that predicts none.
        mask_scores: Squared error of the predicted mask scores; None from a head that does not score masks.
        later_stages: Losses of each further stage of a cascade.
    """

    masks: LossSum | None
    points: LossSum | None = None
    mask_scores: LossSum | None = None
    later_stages: Sequence[BoxLosses] = ()


def class_loss(
    logits: Tensor, classes: Tensor, class_weights: Sequence[float] | None = None, focal_gamma: float = 0.0
) -> LossSum:
    """Compute the cross-entropy, as a mean over all regions.

    Args:
        logits: R×(T+1).
        classes: R, the true classes; 0 is background.
        class_weights: T+1 factors of the losses of each class's regions; None for 1. The sum is still divided by the
            number of regions.
        focal_gamma: Exponent γ ≥ 0 of the focal loss (Lin et al., ICCV 2017, eq. 4, for several classes): losses are
            multiplied by (1 − p)^γ, where p is the probability of the true class. 0 disables it.
    """
    logits = at_least_float32(logits)
    if class_weights is None and focal_gamma == 0:
        return LossSum(functional.cross_entropy(logits, classes, reduction="sum"), len(classes))
    losses = functional.cross_entropy(logits, classes, reduction="none")
    if focal_gamma > 0:
        missed = -torch.expm1(-losses.clamp(min=_SMALLEST_LOSS))  # 1 − p, without cancellation
        losses = losses * missed**focal_gamma
    if class_weights is not None:
        losses = losses * constant_like(losses, class_weights)[classes]
    return LossSum(losses.sum(), len(classes))


_SMALLEST_LOSS = 1e-12
"""Minimum cross-entropy of the focal factor, whose derivative is infinite at 0 for exponents below 1."""


def box_loss(
    box_deltas: Tensor, targets: Tensor, classes: Tensor, cut: Tensor | None = None, weights: Tensor | None = None
) -> LossSum:
    """Compute the smooth L1 loss of positive regions' box_deltas for the true class, divided by the number of regions.

    Args:
        box_deltas: R×T×4.
        targets: P×4, the box_deltas of the positive regions in their order.
        classes: R, the true classes; 0 is background.
        cut: P×4 bool for the crop-aware loss, the sides at which a crop cut the object; None for the usual loss.
        weights: 4, the weights of the box_deltas; only required with ``cut``.
    """
    positive = torch.nonzero(classes > 0).squeeze(1)
    found = at_least_float32(box_deltas[positive, classes[positive] - 1])
    if cut is not None and weights is not None:
        targets = crop_aware_targets(found.detach(), targets, cut, weights, BOX_SIGMA)
    return LossSum(smooth_l1(found, targets, BOX_SIGMA).sum(), len(classes))


def mask_loss(logits: Tensor, targets: Tensor, things: Tensor) -> LossSum:
    """Compute the binary cross-entropy of the true class's mask, as a mean over the positions that are not ignored.

    Args:
        logits: P×T×M×M logits of the positive regions, or P×T×N at points.
        targets: P×M×M or P×N: 1, 0, or −1 for ignored positions.
        things: P, the true class among the things.
    """
    chosen = at_least_float32(of_class(logits, things))
    counts = (targets != IGNORED).to(chosen.dtype)
    loss = functional.binary_cross_entropy_with_logits(
        chosen, targets.clamp(min=0).to(chosen.dtype), weight=counts, reduction="sum"
    )
    return LossSum(loss, counts.sum())


def mask_score_loss(scores: Tensor, ious: Tensor, things: Tensor) -> LossSum:
    """Compute half of the squared error of the true class's score, as a mean over the positive regions.

    Args:
        scores: P×T predicted scores of the positive regions.
        ious: P, the targets; see :func:`seamseg.algos.mask_scoring.mask_ious`.
        things: P, the true class among the things.
    """
    chosen = at_least_float32(of_class(scores, things))
    return LossSum(0.5 * (chosen - ious).square().sum(), len(things))


class SemanticLoss:
    """Bootstrapped cross-entropy: mean over the images of the mean over each image's hardest pixels.

    Args:
        hardest_fraction: Fraction of an image's pixels that enter the mean, in (0, 1]; void pixels have loss 0.
        class_weights: S+T factors of the losses of each class's pixels; None for 1.
        focal_gamma: Exponent of the focal loss; 0 disables it.
    """

    def __init__(
        self,
        hardest_fraction: float = 0.25,
        class_weights: Sequence[float] | None = None,
        focal_gamma: float = 0.0,
    ) -> None:
        self.hardest_fraction = hardest_fraction
        self.class_weights, self.focal_gamma = class_weights, focal_gamma

    def __call__(self, logits: Tensor, images: PaddedImages, ground_truth: GroundTruth) -> LossSum:
        """Compute the loss, as a mean over the images.

        Args:
            logits: N×(S+T)×h×w, covering the padded images.
            images: Padded images; only their sizes are used.
            ground_truth: Annotation of the images at their size without padding.
        """
        targets = (ground_truth.semantic_target(image) for image in range(len(images.sizes)))
        weights = None if self.class_weights is None else constant_like(logits, self.class_weights, torch.float32)
        losses = bootstrapped_cross_entropy(
            logits, targets, images.padded_size, self.hardest_fraction, weights, self.focal_gamma
        )
        return LossSum(losses.sum(), len(losses))
