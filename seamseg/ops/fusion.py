"""Native mask pasting, semantic arg-max and panoptic fusion (Porzi et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.ops import native
from seamseg.structures import VOID, SemanticLogits, Size


@dataclass(frozen=True)
class Patch:
    """Part of an image-sized mask that can contain pixels; all pixels outside are false.

    Attributes:
        mask: h×w bool.
        top: Image row of the first mask row.
        left: Image column of the first mask column.
    """

    mask: Tensor
    top: int
    left: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Slices of the patch in the image: ``image[patch.window]`` has the shape of ``patch.mask``."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def paste_mask(logits: Tensor, box: Tensor, size: Size) -> Patch:
    """Return the pixels of an image whose foreground probability exceeds ½ in the bilinearly interpolated mask.

    The M×M probabilities belong to the centers of M×M equal cells of the box. Beyond the outermost centers, they fade
    to 0 over one cell. At the edge of the box, the probability is therefore at most ½, so only pixels with their center
    strictly inside the box can exceed it. No other pixels are computed.

    Args:
        logits: M×M mask logits of any floating-point type.
        box: 4 values (y0, x0, y1, x1), the extent of the mask in pixels of the image. The box may extend beyond the
            image or be smaller than a pixel.
        size: Height and width of the image.

    Returns:
        The patch of pixels inside the box and the image, on the device of the logits; possibly 0×0.

    Raises:
        ValueError: If the mask is not square.
        NativeLibraryError: If the native library is missing.
    """
    native.require("paste_mask", _paste_shape)
    probabilities = logits.to(native.device_with_kernels(logits.device)).float().sigmoid()
    edges = box.double().cpu()
    top, left, bottom, right = windows(edges[None], size)[0].tolist()
    place = (*edges.tolist(), top, left, bottom - top, right - left)
    try:
        mask: Tensor = torch.ops.seamseg.paste_mask(probabilities, *place)
    except RuntimeError as error:
        raise native.argument_error(error, "paste_mask") from None
    return Patch(mask.to(logits.device), top, left)


def paste_probabilities(logits: Tensor, box: Tensor, size: Size) -> Patch:
    """Return the foreground probability of the pixels that :func:`paste_mask` computes.

    Args:
        logits: M×M mask logits of any floating-point type.
        box: 4 values (y0, x0, y1, x1), the extent of the mask in pixels of the image.
        size: Height and width of the image.

    Returns:
        The patch of pixels inside the box and the image, on the device of the logits, with float32 in 0 … 1 in place of
        bool; possibly 0×0.
    """
    cells = functional.pad(logits.float().sigmoid(), (1, 1, 1, 1))
    y0, x0, y1, x1 = box.double().tolist()
    top, left, bottom, right = windows(box[None], size)[0].tolist()
    rows, columns = (
        _cell_weights(range(*pixels), edges, len(logits)).to(cells)
        for pixels, edges in (((top, bottom), (y0, y1)), ((left, right), (x0, x1)))
    )
    return Patch(rows @ cells @ columns.T, top, left)


def _cell_weights(pixels: range, edges: tuple[float, float], num_cells: int) -> Tensor:
    """Return the weights of the cells of a mask along an axis, pixels × cells + 2; there is a 0 beyond either end."""
    low, high = edges
    centers = torch.arange(pixels.start, pixels.stop, device="cpu", dtype=torch.float64) + 0.5
    places = ((centers - low) * (num_cells / max(high - low, _SMALLEST_SIDE)) + 0.5).clamp(0, num_cells + 1)
    return (1 - (places[:, None] - torch.arange(num_cells + 2, device="cpu", dtype=torch.float64)).abs()).clamp(min=0)


_SMALLEST_SIDE = 1e-12
"""Minimum side of a box in pixels, so that an empty box divides by no zero."""


def windows(boxes: Tensor, size: Size) -> Tensor:
    """Return the rows and columns of an image whose centers are strictly inside each box.

    Args:
        boxes: B×4, as in :func:`paste_mask`.
        size: Height and width of the image.

    Returns:
        B×4 int64 on the CPU: first row, first column, last row + 1, last column + 1. All values are in the image. For a
        box without pixels, the end is not less than the start.
    """
    low, high = boxes.double().cpu().nan_to_num(nan=0.0).reshape(-1, 2, 2).unbind(1)
    limit = torch.tensor(size, dtype=torch.float64)
    first = ((low - 0.5).floor() + 1).clamp(min=0).minimum(limit)
    end = (high - 0.5).ceil().minimum(limit).maximum(first)
    return torch.cat([first, end], dim=1).long()


def _paste_shape(probabilities: Tensor, *place: float) -> Tensor:
    height, width = place[-2:]
    return probabilities.new_empty((int(height), int(width)), dtype=torch.bool)


_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def upsample_argmax(semantics: SemanticLogits, output_size: Size) -> Tensor:
    """Return the class with the largest score at every pixel of the unpadded image, resampled to ``output_size``.

    The scores are interpolated bilinearly (corners not aligned) directly to the output. If ``output_size`` is the size
    without padding, this equals upsampling to the padded size, cropping, and taking the arg-max (Porzi et al. 2019, the
    semantic head in inference).

    Args:
        semantics: C×h×w scores of one padded image.
        output_size: Height and width of the result.

    Returns:
        Height × width int64 on the device of the scores; the smallest class wins a tie. An infinite score is infinite
        wherever its weight is not 0. The sum of +∞ and −∞ is NaN, and so is any sum with NaN. NaN counts as less than
        all numbers; where all classes are NaN, the class is 0. Scores of types other than float32, bfloat16 and float16
        are rounded to float32.

    Raises:
        ValueError: If there are no scores.
        NativeLibraryError: If the native library is missing.
    """
    native.require("upsample_argmax", _upsample_argmax_shape)
    logits = semantics.logits
    scores = logits.to(native.device_with_kernels(logits.device), logits.dtype if logits.dtype in _TYPES else _TYPES[0])
    try:
        classes: Tensor = torch.ops.seamseg.upsample_argmax(
            scores, score_step(semantics, output_size, 0), score_step(semantics, output_size, 1), *output_size
        )
    except RuntimeError as error:
        raise native.argument_error(error, "upsample_argmax") from None
    return classes.to(logits.device)


def resample(scores: Tensor, size: Size) -> Tensor:
    """Resample C×h×w floating-point scores to another size by bilinear interpolation (corners not aligned).

    Infinities become the largest finite numbers and NaN becomes the lowest one. Otherwise PyTorch would turn their
    product with weight 0 into NaN, also at neighboring positions.
    """
    finite = torch.nan_to_num(scores, nan=torch.finfo(scores.dtype).min)
    return functional.interpolate(finite[None], size, mode="bilinear", align_corners=False)[0]


def resample_rows(scores: Tensor, rows: range, size: Size) -> Tensor:
    """Compute a part of :func:`resample`, without the other rows.

    Args:
        scores: C×h×w floating-point scores.
        rows: Consecutive rows of the result to compute.
        size: Height and width of the complete result.

    Returns:
        C×len(rows)×width float32; equal to the rows of the complete result up to rounding.
    """
    upper, share = (taps.to(scores.device) for taps in row_taps(scores.shape[1], rows, size[0]))
    last, share = scores.shape[1] - 1, share.float()[:, None]
    lowest = torch.finfo(torch.float32).min
    above, below = (
        torch.nan_to_num(scores[:, taps].float(), nan=lowest) for taps in (upper, (upper + 1).clamp(max=last))
    )
    mixed = above.mul_(1 - share).add_(below.mul_(share))
    return functional.interpolate(mixed[None], (len(rows), size[1]), mode="bilinear", align_corners=False)[0]


def row_taps(num_values: int, rows: range, num_rows: int) -> tuple[Tensor, Tensor]:
    """Return the positions of rows of bilinear interpolation (corners not aligned).

    Args:
        num_values: Number of rows that are resampled.
        rows: Consecutive rows of the result.
        num_rows: Number of all rows of the result.

    Returns:
        For each row, the last source row that is not after it, int64, and the weight of the next one, float64 in
        [0, 1); both on the CPU.
    """
    return taps(torch.arange(rows.start, rows.stop, device="cpu"), num_values / num_rows, num_values)


def taps(positions: Tensor, step: float, num_values: int) -> tuple[Tensor, Tensor]:
    """Return the values between which the centers of rows or columns are interpolated.

    Args:
        positions: Rows or columns of the result.
        step: Distance between neighboring rows or columns of the result, in values.
        num_values: Number of values along the axis.

    Returns:
        For each position, the last value that is not after it, int64, and the weight of the next one, float64 in
        [0, 1).
    """
    places = ((positions.double() + 0.5) * step - 0.5).clamp(0, num_values - 1)
    before = places.floor().long()
    return before, places - before


def score_step(semantics: SemanticLogits, output_size: Size, axis: int) -> float:
    """Return the distance between neighboring output pixels along an axis, in scores."""
    num_scores = semantics.logits.shape[1 + axis]
    return semantics.size[axis] / max(output_size[axis], 1) * (num_scores / semantics.padded_size[axis])


def _upsample_argmax_shape(logits: Tensor, row_step: float, column_step: float, height: int, width: int) -> Tensor:
    return logits.new_empty((height, width), dtype=torch.int64)


_NUM_CLASSES = VOID + 1


@dataclass(frozen=True)
class FusedIds:
    """Result of :func:`panoptic_fusion`.

    Attributes:
        ids: H×W int64: 1, 2, … for the kept objects in their order, then for the classes; 0 for void.
        kept: K bool, whether each object got an id.
        classes: Classes that got an id, ascending, int64.
    """

    ids: Tensor
    kept: Tensor
    classes: Tensor


def panoptic_fusion(
    masks: Tensor, boxes: Tensor, semantics: Tensor, overlap_threshold: float, min_area: float
) -> FusedIds:
    """Paint objects in their order on free pixels, then add one segment per class on the remaining pixels.

    Args:
        masks: K×M×M mask logits, the most certain object first.
        boxes: K×4, the extents of the masks, as in :func:`paste_mask`.
        semantics: H×W integers, the class of every pixel; 255 means no class.
        overlap_threshold: Maximum fraction of an object's pixels that may already be taken; otherwise it is dropped.
        min_area: Minimum number of free pixels of a segment; classes without free pixels never get one.

    Returns:
        Ids, kept objects and classes, all on the device of the class map.

    Raises:
        ValueError: If the class of a pixel is not in 0 … 255, or the masks are not square.
        NativeLibraryError: If the native library is missing.
    """
    native.require("panoptic_fusion", _fusion_shapes)
    device = native.device_with_kernels(semantics.device)
    edges = boxes.double().cpu().contiguous()
    pixel_windows = windows(edges, (semantics.shape[0], semantics.shape[1]))
    probabilities, class_map = masks.to(device).float().sigmoid(), semantics.to(device, torch.int64)
    try:
        ids, kept, areas = torch.ops.seamseg.panoptic_fusion(
            probabilities, edges, pixel_windows, class_map, overlap_threshold, min_area
        )
    except RuntimeError as error:
        raise native.argument_error(error, "panoptic_fusion") from None
    found = _classes_with_segment(areas.cpu())
    return FusedIds(*(result.to(semantics.device) for result in (ids, kept, found)))


def _classes_with_segment(areas: Tensor) -> Tensor:
    """Return the classes with a segment; ``areas[256]`` counts pixels whose class is invalid."""
    if areas[_NUM_CLASSES] > 0:
        raise ValueError(
            f"panoptic_fusion: {int(areas[_NUM_CLASSES])} pixels of the class map have no class in 0 … {VOID}; "
            f"{VOID} means none"
        )
    return areas[:_NUM_CLASSES].nonzero().squeeze(1)


def _fusion_shapes(masks: Tensor, boxes: Tensor, windows: Tensor, semantics: Tensor, *_: float) -> tuple[Tensor, ...]:
    kept = semantics.new_empty((len(masks),), dtype=torch.bool)
    return torch.empty_like(semantics), kept, semantics.new_empty((_NUM_CLASSES + 1,))
