"""How the segments of two id maps share the pixels of an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

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
        return _map_overlaps_by_keys(true_ids, predicted_ids, band)
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


def _map_overlaps_by_keys(true_ids: Tensor, predicted_ids: Tensor, band: int) -> Tensor:
    """On any device, by operations on whole maps: every pixel has the number of its pair, and the numbers are counted.

    These are integers throughout, so that the result is exact and always the same. Nothing here would gain much from a
    kernel of its own: each step reads and writes the maps once, and the CPU's way, by runs, has no parallel form.
    """
    _check_maps(true_ids, predicted_ids, band)
    true_ids, predicted_ids = true_ids.long(), predicted_ids.long()
    true_values, true = _numbered(true_ids)
    predicted_values, predicted = _numbered(predicted_ids)
    pairs, pair_of_pixel = _numbered(true * len(predicted_values) + predicted)
    borders = torch.zeros_like(pair_of_pixel)
    if band > 0:
        borders = 2 * _border(true_ids, band).long() + _border(predicted_ids, band).long()
    counts = torch.bincount((4 * pair_of_pixel + borders).flatten(), minlength=4 * len(pairs)).view(-1, 4)
    occurs = counts.sum(1) > 0
    pairs, counts = pairs[occurs], counts[occurs]
    true_column = true_values[torch.div(pairs, len(predicted_values), rounding_mode="floor")]
    columns = [true_column, predicted_values[pairs % len(predicted_values)]]
    columns += [counts.sum(1), counts[:, 2:].sum(1), counts[:, 1::2].sum(1), counts[:, 3]]
    return torch.stack(columns, dim=1).cpu()


def _check_maps(true_ids: Tensor, predicted_ids: Tensor, band: int) -> None:
    if true_ids.ndim != 2 or true_ids.shape != predicted_ids.shape:
        raise ValueError(f"id maps are H×W and of one size, not {tuple(true_ids.shape)}, {tuple(predicted_ids.shape)}")
    for ids in (true_ids, predicted_ids):
        if ids.is_floating_point() or ids.is_complex():
            raise ValueError(f"ids are integers, not {ids.dtype}")
    if band < 0:
        raise ValueError(f"the width of borders is {band}; it must not be negative")


def _numbered(values: Tensor) -> tuple[Tensor, Tensor]:
    """The values that occur, ascending, and for every entry the position of its value among them.

    Where they lie close together, as numbers of segments do, those in between are listed too, which saves sorting; the
    list is never longer than there are entries.

    Args:
        values: int64, of any shape.
    """
    if values.numel() == 0:
        return values.flatten(), values
    low, high = torch.stack(torch.aminmax(values)).tolist()
    if high - low < values.numel():
        return torch.arange(low, high + 1, device=values.device), values - low
    listed, positions = torch.unique(values, return_inverse=True)
    return listed, positions


def _border(ids: Tensor, band: int) -> Tensor:
    """H×W bool: pixels whose window of 2·band + 1 rows and columns reaches another segment, or the edge.

    A window lies in one segment where no two neighbors in it differ; how many do comes from sums over rectangles that
    begin at the corner (Crow 1984), at a cost that does not depend on the band.
    """
    height, width = ids.shape
    border = torch.ones_like(ids, dtype=torch.bool)
    if min(height, width) > 2 * band:
        sideways = _window_sums(ids[:, 1:] != ids[:, :-1], 2 * band + 1, 2 * band)
        downwards = _window_sums(ids[1:] != ids[:-1], 2 * band, 2 * band + 1)
        border[band : height - band, band : width - band] = sideways + downwards > 0
    return border


def _window_sums(flags: Tensor, height: int, width: int) -> Tensor:
    """Number of flags in every window that lies inside; the sums may wrap around, their differences don't."""
    sums = flags.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32)
    sums = torch.nn.functional.pad(sums, (1, 0, 1, 0))
    rows = sums[height:] - sums[:-height]
    return rows[:, width:] - rows[:, :-width]


def _shapes(true: Tensor, predicted: Tensor, band: int) -> Tensor:
    num_pairs = torch.library.get_ctx().new_dynamic_size()
    return true.new_empty((num_pairs, COLUMNS), dtype=torch.int64)
