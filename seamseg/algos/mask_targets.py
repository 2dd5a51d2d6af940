"""What the mask branch should say (He et al., Mask R-CNN, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

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
