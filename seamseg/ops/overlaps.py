"""Pixels that the segments of two id maps share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seamseg.ops import native
from seamseg.structures import Size

COLUMNS = 6
"""Number of columns of the tables of overlaps."""
_BAND = 0.02  # fraction of the diagonal


def border_band(size: Size) -> int:
    """Return the width of the borders of segments in pixels: 2 % of the image's diagonal, at least 1.

    Cheng et al. 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", section 4.2.
    """
    diagonal = math.hypot(*size)
    return max(1, round(_BAND * diagonal))


def map_overlaps(true_ids: Tensor, predicted_ids: Tensor, band: int = 0) -> Tensor:
    """Count the pixels of every pair of segments that share a pixel, in one pass over both maps.

    A pixel belongs to the border of its segment if a pixel of another segment, or the edge of the image, is at most
    ``band`` rows and columns away. These are the pixels that erosion with a square of side 2·band + 1 removes.

    Args:
        true_ids: H×W integers of any type; uint8 to int64 on the CPU.
        predicted_ids: H×W integers, same size and device as ``true_ids``.
        band: Width of the borders in pixels; 0 ignores the borders.

    Returns:
        N×6 int64 on the CPU, pairs in any order: true id, predicted id, number of shared pixels, of those in the border
        of the true segment, of those in the border of the predicted segment, and of those in both borders.

    Raises:
        ValueError: If the maps are not H×W integers of one size, or the band is negative.
        NativeLibraryError: If the native library is missing.
    """
    if true_ids.device.type != "cpu":
        return _map_overlaps_by_keys(true_ids, predicted_ids, band)
    table: Tensor = native.call("map_overlaps", _shapes, true_ids, predicted_ids, band)
    return table


def png_overlaps(true_png: Tensor, predicted_png: Tensor, band: int = 0) -> Tensor:
    """Run :func:`map_overlaps` on two PNG files in the COCO panoptic format, without creating maps of their ids.

    Args:
        true_png: Contents of the annotated file, uint8: RGB with 8 bits per channel, not interlaced.
        predicted_png: Contents of the predicted file, uint8, of the same kind.
        band: Width of the borders in pixels; 0 ignores the borders.

    Returns:
        N×6 int64; see :func:`map_overlaps`.

    Raises:
        ValueError: If a file is broken or of another kind, or the files differ in size.
        NativeLibraryError: If the native library is missing.
    """
    native.use_zlib_ng()
    table: Tensor = native.call("png_overlaps", _shapes, true_png, predicted_png, band)
    return table


def _map_overlaps_by_keys(true_ids: Tensor, predicted_ids: Tensor, band: int) -> Tensor:
    """Count on any device by operations on whole maps: number the pairs, and count the pixels of each number.

    All values are integers, so the result is exact and reproducible. A native kernel would gain little: every step
    reads and writes the maps once, and the run-based algorithm of the CPU cannot run in parallel.
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
    """Return the values that occur, ascending, and the position of every entry's value among them.

    If the values are close together, as segment numbers are, values between them are listed, too, which avoids sorting.
    The list is never longer than the number of entries.

    Args:
        values: int64 of any shape.
    """
    if values.numel() == 0:
        return values.flatten(), values
    low, high = torch.stack(torch.aminmax(values)).tolist()
    if high - low < values.numel():
        return torch.arange(low, high + 1, device=values.device), values - low
    listed, positions = torch.unique(values, return_inverse=True)
    return listed, positions


def _border(ids: Tensor, band: int) -> Tensor:
    """Return H×W bool: pixels whose window of side 2·band + 1 reaches another segment or the edge of the image.

    A window lies in one segment if no two neighbors in it differ. The number of differing neighbors comes from sums
    over rectangles that start at the corner (Crow 1984), so its cost does not depend on the band.
    """
    height, width = ids.shape
    border = torch.ones_like(ids, dtype=torch.bool)
    if min(height, width) > 2 * band:
        sideways = _window_sums(ids[:, 1:] != ids[:, :-1], 2 * band + 1, 2 * band)
        downwards = _window_sums(ids[1:] != ids[:-1], 2 * band, 2 * band + 1)
        border[band : height - band, band : width - band] = sideways + downwards > 0
    return border


def _window_sums(flags: Tensor, height: int, width: int) -> Tensor:
    """Return the number of flags in every window inside the map; the sums may overflow, their differences do not."""
    sums = flags.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32)
    sums = torch.nn.functional.pad(sums, (1, 0, 1, 0))
    rows = sums[height:] - sums[:-height]
    return rows[:, width:] - rows[:, :-width]


def _shapes(true: Tensor, predicted: Tensor, band: int) -> Tensor:
    num_pairs = torch.library.get_ctx().new_dynamic_size()
    return true.new_empty((num_pairs, COLUMNS), dtype=torch.int64)
