"""Non-maximum suppression whose result has the size of its input: a mask over the boxes instead of a list of some."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seamseg.ops.boxes import box_iou


def survivors(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Which boxes greedy suppression keeps, exactly.

    Whether a box stays hangs on the better boxes alone. So the rule "a box stays when no better one that stays overlaps
    it", applied to all boxes at once, settles the best box in the first round, and in every further round at least the
    best of those that are not settled. When a round changes nothing, all are. That takes as many rounds as the longest
    chain of boxes that decide over each other, usually under ten.

    Args:
        boxes: G×n×4, the boxes of a group by falling score; groups don't suppress each other.
        valid: G×n bool, the boxes that take part.
        threshold: a box goes when its overlap with a kept one is larger.

    Returns:
        G×n bool.
    """
    suppresses = (box_iou(boxes, boxes) > _largest_float32(threshold)).triu(1).float()
    # The operator itself, since torch.while_loop would compile what runs outside of an export.
    settled: Tensor = torch.ops.higher_order.while_loop(
        _is_unsettled, _round, (valid.clone(), valid.new_ones(())), (suppresses, valid)
    )[0]
    return settled


def _is_unsettled(keep: Tensor, has_changed: Tensor, suppresses: Tensor, valid: Tensor) -> Tensor:
    return has_changed.clone()


def _round(keep: Tensor, has_changed: Tensor, suppresses: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    # How many kept boxes overlap each one: a matrix product, for which every runtime has a fast kernel.
    num_better = torch.matmul(keep.float()[:, None], suppresses)[:, 0]
    kept = valid & (num_better < 0.5)
    return kept, (kept != keep).any()


def _largest_float32(threshold: float) -> float:
    """The number whose comparison with a float32 is that of ``threshold`` in float64, as torchvision compares."""
    rounded = np.float32(threshold)
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf)))
