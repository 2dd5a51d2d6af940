"""IoU of a small mask and an object that may reach beyond the mask's region, pixel by pixel."""

from __future__ import annotations

from oracles.overlap import Box
from torch import Tensor


def mask_iou(logits: list[list[float]], target: list[list[int]], ids: Tensor, box: Box, segment: int) -> float:
    """Return the intersection over union, counted in mask pixels.

    Args:
        logits: M×M, positive where the mask is predicted.
        target: M×M: 1 for the object, 0 for other pixels, −1 for pixels that do not count.
        ids: H×W segment ids.
        box: Region of the mask in pixels of the image.
        segment: Id of the object.
    """
    size = len(logits)
    both = either = 0.0
    for found_row, true_row in zip(logits, target, strict=True):
        for found, true in zip(found_row, true_row, strict=True):
            if true != -1:
                both += found > 0 and true == 1
                either += found > 0 or true == 1
    y0, x0, y1, x1 = box
    pixels_per_mask_pixel = (y1 - y0) * (x1 - x0) / (size * size)
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            is_inside = y0 <= y + 0.5 < y1 and x0 <= x + 0.5 < x1
            if ids[y, x] == segment and not is_inside:
                either += 1 / pixels_per_mask_pixel
    return both / either if either else 0.0
