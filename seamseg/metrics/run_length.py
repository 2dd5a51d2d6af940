"""Masks in COCO's run-length encoding, encoded without image-sized masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from seamseg.structures import RunLengthMask, Size

IntArray = npt.NDArray[np.int64]


def encode_patch(patch: npt.NDArray[np.bool_], top: int, left: int, size: Size) -> RunLengthMask:
    """Encode a mask that is False outside a patch.

    Args:
        patch: Mask of the patch, h×w; it must be inside the image.
        top: Row of its first pixel.
        left: Column of its first pixel.
        size: Height and width of the image.
    """
    # A row of False below the patch ends all runs, unless the columns of the patch are those of the image.
    height = min(patch.shape[0] + 1, size[0])
    columns = np.zeros((patch.shape[1], height), dtype=np.int8)
    columns[:, : patch.shape[0]] = patch.T
    starts, ends, values = _runs(columns.reshape(-1))
    starts, lengths = starts[values == 1], (ends - starts)[values == 1]
    column, row = np.divmod(starts, height)
    starts = (left + column) * size[0] + top + row
    return _compress(starts, starts + lengths, size)


def encode_segments(ids: npt.NDArray[Any], wanted: list[int]) -> list[RunLengthMask]:
    """Encode the masks of several segments in one pass over the id map.

    Args:
        ids: Segment ids, H×W.
        wanted: Ids of the segments to encode. An id without pixels gives an empty mask.

    Returns:
        One mask per id, in the order of ``wanted``.
    """
    starts, ends, values = _runs(ids.T.reshape(-1))
    chosen = (values == segment for segment in wanted)
    return [_compress(starts[rows], ends[rows], (ids.shape[0], ids.shape[1])) for rows in chosen]


def _runs(flat: npt.NDArray[Any]) -> tuple[IntArray, IntArray, npt.NDArray[Any]]:
    """Return start positions, end positions (exclusive) and values of the runs of equal values."""
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([np.zeros(min(1, len(flat)), dtype=np.int64), changes])
    ends = np.concatenate([starts[1:], np.full(min(1, len(flat)), len(flat))])
    return starts, ends, flat[starts]


def _compress(starts: IntArray, ends: IntArray, size: Size) -> RunLengthMask:
    """Compress a mask from its runs of True, which must not touch."""
    borders = np.stack([starts, ends], axis=1).reshape(-1)
    counts = np.diff(borders, prepend=0, append=size[0] * size[1])
    counts = counts[: len(counts) - (counts[-1] == 0)]  # a mask that includes the last pixel has no last gap
    coded = coco_mask.frPyObjects({"size": list(size), "counts": counts.tolist()}, size[0], size[1])
    return RunLengthMask(size, coded["counts"])
