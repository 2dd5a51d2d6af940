"""Training losses: sums with their counts, and the values of one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class LossSum:
    """Loss as a sum and the count that divides it.

    Attributes:
        total: Sum of the terms, zero-dimensional, with gradient.
        count: Number of terms; may be 0.
    """

    total: Tensor
    count: Tensor | int

    @property
    def mean(self) -> Tensor:
        """Mean over the terms; 0 if there are none."""
        count = self.count
        return self.total / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))


@dataclass(frozen=True)
class LossValues:
    """Losses of one step: the fields of a subclass, zero-dimensional each, or None where a network has no such loss."""

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and value of each loss of the network, in the order of the fields."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                yield field.name, value

    def total(self, weights: dict[str, float]) -> Tensor:
        """Return the weighted sum that is differentiated.

        Args:
            weights: Weight of each loss of the network, by name. Weights of fields that are None are not used.

        Raises:
            ValueError: If ``weights`` contains an unknown name or lacks a loss.
        """
        names, needed = {field.name for field in fields(self)}, {name for name, _ in self.items()}
        if not needed <= set(weights) <= names:
            raise ValueError(
                f"loss weights must name {sorted(needed)} and nothing outside of {sorted(names)}, not {sorted(weights)}"
            )
        return torch.stack([weights[name] * value for name, value in self.items()]).sum()


@dataclass(frozen=True)
class Losses(LossValues):
    """Losses of the networks that segment (published names: obj, bbx, roi_cls, roi_bbx, roi_msk, sem).

    Attributes:
        rpn_objectness: Binary cross-entropy of the sampled anchors.
        rpn_boxes: Smooth L1 loss (σ = 3) of the positive anchors' box_deltas.
        roi_classes: Cross-entropy of the sampled regions.
        roi_boxes: Smooth L1 loss (σ = 1) of the positive regions' box_deltas.
        roi_masks: Binary cross-entropy of the positive regions' masks.
        roi_points: Binary cross-entropy of these masks at points; not part of the published networks.
        roi_mask_scores: Squared error of the positive regions' mask scores; not part of the published networks.
        semantic: Bootstrapped cross-entropy of the pixels.
    """

    rpn_objectness: Tensor | None = None
    rpn_boxes: Tensor | None = None
    roi_classes: Tensor | None = None
    roi_boxes: Tensor | None = None
    roi_masks: Tensor | None = None
    roi_points: Tensor | None = None
    roi_mask_scores: Tensor | None = None
    semantic: Tensor | None = None


@dataclass(frozen=True)
class ClassifierLosses(LossValues):
    """Loss of a classification network.

    Attributes:
        classification: Mean cross-entropy of the images.
    """

    classification: Tensor
