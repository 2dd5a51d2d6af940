"""How the segments of two id maps share the pixels of an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from seamseg.ops import native
from seamseg.structures import Size

COLUMNS = 6
_BAND = 0.02  # of the diagonal


def border_band(size: Size) -> int:
    """How wide the border of a segment is, in pixels: 2 % of the image's diagonal, at least 1.

    Cheng et al. 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", section 4.2.
    """
    diagonal = math.hypot(*size)
    return max(1, round(_BAND * diagonal))


def map_overlaps(true_ids: Tensor, predicted_ids: Tensor, band: int = 0) -> Tensor:
    """Counts the pixels of every pair of segments that share one, in one pass over both maps.

    A pixel belongs to the border of its segment if a pixel of another one, or the edge of the image, is at most
    ``band`` rows and columns away: what erosion by a square of 2·band + 1 takes off.

    Args:
        true_ids, predicted_ids: H×W of one size and device, any integers; uint8 to int64 on the CPU.
        band: width of the borders in pixels; 0 leaves them out.

    Returns:
        N×6 int64 on the CPU, pairs in any order: true id, predicted id, pixels, those in the border of the true
        segment, those in the border of the predicted one, those in both borders.

    Raises:
        ValueError: the maps are not H×W integers of one size, or the band is negative.
        ImportError: the native library is not built.
    """
    if true_ids.device.type != "cpu":
        return _map_overlaps_by_sorting(true_ids, predicted_ids, band)
    native.require("map_overlaps", _shapes)
    try:
        table: Tensor = torch.ops.seamseg.map_overlaps(true_ids, predicted_ids, band)
    except RuntimeError as error:
        raise native.argument_error(error, "map_overlaps") from None
    return table


def png_overlaps(true_png: Tensor, predicted_png: Tensor, band: int = 0) -> Tensor:
    """The same of two PNG files in the COCO panoptic format, without a map of their ids in between.

    Args:
        true_png, predicted_png: uint8, the bytes of the files: red, green and blue of 8 bits, not interlaced.
        band: width of the borders in pixels; 0 leaves them out.

    Returns:
        As :func:`map_overlaps`.

    Raises:
        ValueError: a file is broken or of another kind, or the two are of different sizes.
        ImportError: the native library is not built.
    """
    native.require("png_overlaps", _shapes)
    try:
        table: Tensor = torch.ops.seamseg.png_overlaps(true_png, predicted_png, band)
    except RuntimeError as error:
        raise native.argument_error(error, "png_overlaps") from None
    return table


def _map_overlaps_by_sorting(true_ids: Tensor, predicted_ids: Tensor, band: int) -> Tensor:
    """For devices without a kernel: sorts the pixels by pair."""
    if true_ids.ndim != 2 or true_ids.shape != predicted_ids.shape:
        raise ValueError(f"id maps are H×W and of one size, not {tuple(true_ids.shape)}, {tuple(predicted_ids.shape)}")
    if band < 0:
        raise ValueError(f"the width of borders is {band}; it must not be negative")
    borders = torch.zeros_like(true_ids, dtype=torch.int64)
    if band > 0:
        borders = 2 * _border(true_ids, band).long() + _border(predicted_ids, band).long()
    first = predicted_ids.min().long()
    span = predicted_ids.max().long() - first + 1
    pairs, pair_of_pixel = torch.unique(true_ids.long() * span + (predicted_ids - first), return_inverse=True)
    counts = torch.bincount((4 * pair_of_pixel + borders).flatten(), minlength=4 * len(pairs)).view(-1, 4)
    true, predicted = torch.div(pairs, span, rounding_mode="floor"), pairs % span + first
    columns = [true, predicted, counts.sum(1), counts[:, 2:].sum(1), counts[:, 1::2].sum(1), counts[:, 3]]
    return torch.stack(columns, dim=1).cpu()


def _border(ids: Tensor, band: int) -> Tensor:
    """H×W bool."""
    values = ids.double()[None, None]
    window = 2 * band + 1
    spread = [
        max_pool2d(max_pool2d(side, (1, window), 1, (0, band)), (window, 1), 1, (band, 0)) for side in (values, -values)
    ]
    border = (spread[0] != -spread[1])[0, 0]
    border[:band] = border[-band:] = True
    border[:, :band] = border[:, -band:] = True
    return border


def _shapes(true: Tensor, predicted: Tensor, band: int) -> Tensor:
    num_pairs = torch.library.get_ctx().new_dynamic_size()
    return true.new_empty((num_pairs, COLUMNS), dtype=torch.int64)
