"""Training losses: sums with their counts, and the values of one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

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


WEIGHT = "weight"
"""Key of the metadata of a field with the name of its weight, if that is another name."""


@dataclass(frozen=True)
class LossValues:
    """Losses of one step: the fields of a subclass, zero-dimensional each, or None where a network has no such loss."""

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and value of each loss of the network, in the order of the fields."""
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None:
                yield one.name, value

    def total(self, weights: dict[str, float]) -> Tensor:
        """Return the weighted sum that is differentiated.

        Args:
            weights: Weight of each loss of the network, by name. Weights of fields that are None are not used. Later
                stages of a cascade have the weights of the first stage and none of their own.

        Raises:
            ValueError: If ``weights`` contains an unknown name or lacks a loss.
        """
        weight_of = {one.name: one.metadata.get(WEIGHT, one.name) for one in fields(self)}
        names, needed = set(weight_of.values()), {weight_of[name] for name, _ in self.items()}
        if not needed <= set(weights) <= names:
            raise ValueError(
                f"loss weights must name {sorted(needed)} and nothing outside of {sorted(names)}, not {sorted(weights)}"
            )
        return torch.stack([weights[weight_of[name]] * value for name, value in self.items()]).sum()


@dataclass(frozen=True)
class Losses(LossValues):
    """Losses of the networks that segment (published names: obj, bbx, roi_cls, roi_bbx, roi_msk, sem).

    Attributes:
        rpn_objectness: Binary cross-entropy of the sampled anchors.
        rpn_boxes: Smooth L1 loss (σ = 3) of the positive anchors' box_deltas.
        roi_classes: Cross-entropy of the sampled regions.
        roi_boxes: Smooth L1 loss (σ = 1) of the positive regions' box_deltas.
        roi_classes_2: Cross-entropy of the regions of the second stage of a cascade; like the other losses of its
            stages, not part of the published networks.
        roi_boxes_2: Smooth L1 loss of the second stage.
        roi_classes_3: Cross-entropy of the third stage.
        roi_boxes_3: Smooth L1 loss of the third stage.
        roi_masks: Binary cross-entropy of the positive regions' masks.
        roi_points: Binary cross-entropy of these masks at points; not part of the published networks.
        roi_mask_scores: Squared error of the positive regions' mask scores; not part of the published networks.
        semantic: Bootstrapped cross-entropy of the pixels.
    """

    rpn_objectness: Tensor | None = None
    rpn_boxes: Tensor | None = None
    roi_classes: Tensor | None = None
    roi_boxes: Tensor | None = None
    roi_classes_2: Tensor | None = field(default=None, kw_only=True, metadata={WEIGHT: "roi_classes"})
    roi_boxes_2: Tensor | None = field(default=None, kw_only=True, metadata={WEIGHT: "roi_boxes"})
    roi_classes_3: Tensor | None = field(default=None, kw_only=True, metadata={WEIGHT: "roi_classes"})
    roi_boxes_3: Tensor | None = field(default=None, kw_only=True, metadata={WEIGHT: "roi_boxes"})
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
