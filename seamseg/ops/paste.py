"""Mask logits of a region back into the image (Seamless Scene Segmentation, Porzi et al. 2019, panoptic fusion)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.ops import native
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
        The patch of pixels inside the box and the image, on the device of the logits; possibly 0×0.

    Raises:
        ValueError: the mask is not square.
        ImportError: the native library is not built.
    """
    native.require("paste_mask", _shape)
    probabilities = logits.to(native.device_with_kernels(logits.device)).float().sigmoid()
    edges = box.double().cpu()
    top, left, bottom, right = windows(edges[None], size)[0].tolist()
    place = (*edges.tolist(), top, left, bottom - top, right - left)
    try:
        mask: Tensor = torch.ops.seamseg.paste_mask(probabilities, *place)
    except RuntimeError as error:
        raise native.argument_error(error, "paste_mask") from None
    return Patch(mask.to(logits.device), top, left)


def windows(boxes: Tensor, size: Size) -> Tensor:
    """The rows and columns of an image that have their centre strictly inside of boxes.

    Args:
        boxes: B×4, as in :func:`paste_mask`.
        size: height and width of the image.

    Returns:
        B×4 int64 on the CPU: first row, first column, last row + 1, last column + 1; where a box has no pixel, the last
        is not before the first, and all lie in the image.
    """
    low, high = boxes.double().cpu().nan_to_num(nan=0.0).reshape(-1, 2, 2).unbind(1)
    limit = torch.tensor(size, dtype=torch.float64)
    first = ((low - 0.5).floor() + 1).clamp(min=0).minimum(limit)
    end = (high - 0.5).ceil().minimum(limit).maximum(first)
    return torch.cat([first, end], dim=1).long()


def _shape(probabilities: Tensor, *place: float) -> Tensor:
    height, width = place[-2:]
    return probabilities.new_empty((int(height), int(width)), dtype=torch.bool)
