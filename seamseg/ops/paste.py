"""Mask logits of a region back into the image (Seamless Scene Segmentation, Porzi et al. 2019, panoptic fusion)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.structures import Size


@dataclass(frozen=True)
class Patch:
    """The part of an image-sized mask that can hold pixels; everything outside is false.

    Attributes:
        mask: h×w bool.
        top, left: row and column of its first pixel in the image.
    """

    mask: Tensor
    top: int
    left: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the patch lies: ``image[patch.window]`` has the shape of ``patch.mask``."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def paste_mask(logits: Tensor, box: Tensor, size: Size) -> Patch:
    """The pixels of an image whose foreground probability, read off the mask by bilinear interpolation, is over ½.

    The M×M probabilities are the centres of M×M equal cells of the box; beyond the outermost centres they fade to 0
    over one cell. At the box's edge the value is therefore at most ½, so that only pixels with their centre strictly
    inside the box can pass, and nothing else is computed.

    Args:
        logits: M×M mask logits of any floating type.
        box: 4, the (y0, x0, y1, x1) that the mask spans, in pixels of the image; it may reach out of the image or
            be smaller than a pixel.
        size: height and width of the image.

    Returns:
        The patch of pixels inside the box and the image; possibly 0×0.
    """
    y0, x0, y1, x1 = box.tolist()
    top, row_weights = _tap_weights(y0, y1, size[0], logits)
    left, column_weights = _tap_weights(x0, x1, size[1], logits)
    probabilities = row_weights @ logits.float().sigmoid() @ column_weights.T
    return Patch(probabilities > 0.5, top, left)


def _tap_weights(low: float, high: float, length: int, mask: Tensor) -> tuple[int, Tensor]:
    """Linear interpolation along one axis as a matrix.

    Returns:
        The first of the n pixels with their centre inside ``low`` … ``high``, and n×M weights of the cells for them.
    """
    num_cells = mask.shape[0]
    first = max(math.floor(low - 0.5) + 1, 0)
    end = min(math.ceil(high - 0.5), length)
    if first >= end:
        return min(first, length), torch.zeros((0, num_cells), device=mask.device)
    centres = torch.arange(first, end, dtype=torch.float64, device=mask.device) + 0.5
    position = (centres - low) * (num_cells / (high - low)) - 0.5
    cells = torch.arange(num_cells, dtype=torch.float64, device=mask.device)
    weights = 1 - (position[:, None] - cells).abs()
    return first, weights.clamp(min=0).float()
