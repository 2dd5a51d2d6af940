"""Objects and classes of pixels become one id map, in native code (Porzi et al. 2019, panoptic fusion)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.ops import native
from seamseg.ops.paste import windows
from seamseg.structures import VOID

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
        boxes: K×4, what the masks span, as in :func:`~seamseg.ops.paste.paste_mask`.
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
