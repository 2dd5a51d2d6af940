"""The six training losses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class LossSum:
    """A loss before it is divided: what it is a mean of.

    Attributes:
        total: zero-dimensional, with gradient.
        count: of the terms that it is the sum of; may be 0.
    """

    total: Tensor
    count: Tensor | int

    @property
    def mean(self) -> Tensor:
        """0 if there is no term."""
        count = self.count
        return self.total / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))


@dataclass(frozen=True)
class Losses:
    """Losses of one step, zero-dimensional each (published names: obj, bbx, roi_cls, roi_bbx, roi_msk, sem).

    Attributes:
        rpn_objectness: binary cross-entropy of the sampled anchors.
        rpn_boxes: smooth L1 (σ = 3) of the positive anchors' box_deltas.
        roi_classes: cross-entropy of the sampled regions.
        roi_boxes: smooth L1 (σ = 1) of the positive regions' box_deltas.
        roi_masks: binary cross-entropy of the positive regions' masks.
        semantic: bootstrapped cross-entropy of the pixels.
    """

    rpn_objectness: Tensor
    rpn_boxes: Tensor
    roi_classes: Tensor
    roi_boxes: Tensor
    roi_masks: Tensor
    semantic: Tensor

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Name and value, in the order of the fields."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)

    def total(self, weights: dict[str, float]) -> Tensor:
        """The weighted sum that is differentiated.

        Raises:
            ValueError: the weights name a loss that does not exist, or lack one.
        """
        names = {field.name for field in fields(self)}
        if set(weights) != names:
            raise ValueError(f"loss weights must name exactly {sorted(names)}, not {sorted(weights)}")
        return torch.stack([weights[name] * value for name, value in self.items()]).sum()
