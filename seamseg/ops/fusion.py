"""Pasting of masks, the semantic arg-max and panoptic fusion in native code (Porzi et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.ops import native
from seamseg.structures import VOID, SemanticLogits, Size


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

    The M×M probabilities are the centers of M×M equal cells of the box; beyond the outermost centers they fade to 0
    over one cell. At the box's edge the value is therefore at most ½, so that only pixels with their center strictly
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


def windows(boxes: Tensor, size: Size) -> Tensor:
    """The rows and columns of an image that have their center strictly inside of boxes.

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


def _paste_shape(probabilities: Tensor, *place: float) -> Tensor:
    height, width = place[-2:]
    return probabilities.new_empty((int(height), int(width)), dtype=torch.bool)


_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def upsample_argmax(semantics: SemanticLogits, output_size: Size) -> Tensor:
    """The class with the largest score in every pixel of the image's valid part, seen at ``output_size``.

    The scores are interpolated bilinearly (corners not aligned) straight to the output; with ``output_size`` equal to
    the valid size this is up-sampling to the padded size, cropping and taking the arg-max (Porzi et al. 2019, the
    semantic head in inference).

    Args:
        semantics: C×h×w scores of one padded image.
        output_size: height and width of the result.

    Returns:
        Height × width int64, on the device of the scores: the smallest class among equal scores. An infinite score is
        infinite wherever its weight is not 0; the sum of +∞ and −∞ is NaN, as is anything with NaN. NaN counts as less
        than all numbers, and where all classes are NaN the class is 0. Scores of other types than float32, bfloat16
        and float16 are rounded to float32.

    Raises:
        ValueError: there are no scores.
        ImportError: the native library is not built.
    """
    native.require("upsample_argmax", _upsample_argmax_shape)
    logits = semantics.logits
    scores = logits.to(native.device_with_kernels(logits.device), logits.dtype if logits.dtype in _TYPES else _TYPES[0])
    try:
        classes: Tensor = torch.ops.seamseg.upsample_argmax(
            scores, _step(semantics, output_size, 0), _step(semantics, output_size, 1), *output_size
        )
    except RuntimeError as error:
        raise native.argument_error(error, "upsample_argmax") from None
    return classes.to(logits.device)


def resample(scores: Tensor, size: Size) -> Tensor:
    """C×h×w floating-point scores at another size, interpolated bilinearly (corners not aligned).

    Infinities count as the largest finite numbers and NaN as the lowest one: the weight 0 times them would be NaN in
    PyTorch, also at positions beside them.
    """
    finite = torch.nan_to_num(scores, nan=torch.finfo(scores.dtype).min)
    return functional.interpolate(finite[None], size, mode="bilinear", align_corners=False)[0]


def _step(semantics: SemanticLogits, output_size: Size, axis: int) -> float:
    """How many scores lie between two neighbors of the output along an axis."""
    num_scores = semantics.logits.shape[1 + axis]
    return semantics.size[axis] / max(output_size[axis], 1) * (num_scores / semantics.padded_size[axis])


def _upsample_argmax_shape(logits: Tensor, row_step: float, column_step: float, height: int, width: int) -> Tensor:
    return logits.new_empty((height, width), dtype=torch.int64)


_NUM_CLASSES = VOID + 1


@dataclass(frozen=True)
class FusedIds:
    """Which pixels went to whom.

    Attributes:
        ids: H×W int64: 1, 2, … for the objects that were kept, in their order, then for the classes; 0 for void.
        kept: K bool, the objects that got an id.
        classes: the classes that got an id, ascending, int64.
    """

    ids: Tensor
    kept: Tensor
    classes: Tensor


def panoptic_fusion(
    masks: Tensor, boxes: Tensor, semantics: Tensor, overlap_threshold: float, min_area: float
) -> FusedIds:
    """Objects in their order, each on the pixels still free, then one segment per class on what is left.

    Args:
        masks: K×M×M mask logits, the surest object first.
        boxes: K×4, what the masks span, as in :func:`~seamseg.ops.fusion.paste_mask`.
        semantics: H×W integers, the class of every pixel, 255 where none.
        overlap_threshold: an object is dropped when more than this fraction of its pixels is taken.
        min_area: smallest number of free pixels that make a segment; classes without any never do.

    Returns:
        All on the device of the class map.

    Raises:
        ValueError: a pixel's class is not in 0 … 255, or the masks are not square.
        ImportError: the native library is not built.
    """
    native.require("panoptic_fusion", _shapes)
    device = native.device_with_kernels(semantics.device)
    edges = boxes.double().cpu().contiguous()
    windowed = windows(edges, (semantics.shape[0], semantics.shape[1]))
    probabilities, class_map = masks.to(device).float().sigmoid(), semantics.to(device, torch.int64)
    try:
        ids, kept, areas = torch.ops.seamseg.panoptic_fusion(
            probabilities, edges, windowed, class_map, overlap_threshold, min_area
        )
    except RuntimeError as error:
        raise native.argument_error(error, "panoptic_fusion") from None
    found = _segments(areas.cpu())
    return FusedIds(*(result.to(semantics.device) for result in (ids, kept, found)))


def _segments(areas: Tensor) -> Tensor:
    """The classes with a segment; the number behind the classes counts pixels of none."""
    if areas[_NUM_CLASSES] > 0:
        raise ValueError(
            f"panoptic_fusion: {int(areas[_NUM_CLASSES])} pixels of the class map have no class in 0 … {VOID}; "
            f"{VOID} means none"
        )
    return areas[:_NUM_CLASSES].nonzero().squeeze(1)


def _shapes(masks: Tensor, boxes: Tensor, windows: Tensor, semantics: Tensor, *_: float) -> tuple[Tensor, ...]:
    kept = semantics.new_empty((len(masks),), dtype=torch.bool)
    return torch.empty_like(semantics), kept, semantics.new_empty((_NUM_CLASSES + 1,))
