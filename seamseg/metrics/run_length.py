"""Masks in the run-length form that pycocotools reads, made without image-sized masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from seamseg.structures import Size

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RunLengthMask:
    """A mask, compressed; a few hundred bytes for a typical object.

    Attributes:
        size: height and width of the image in pixels.
        counts: COCO's compressed run lengths, column by column.
    """

    size: Size
    counts: bytes

    def to_coco(self) -> dict[str, Any]:
        """As pycocotools takes it."""
        return {"size": list(self.size), "counts": self.counts}

    def area(self) -> int:
        """Number of pixels."""
        return int(coco_mask.area(self.to_coco()))

    def box(self) -> tuple[float, float, float, float]:
        """The tight (y0, x0, y1, x1), half-open; all 0 without a pixel."""
        x, y, width, height = coco_mask.toBbox(self.to_coco()).tolist()
        return y, x, y + height, x + width


def encode_patch(patch: npt.NDArray[np.bool_], top: int, left: int, size: Size) -> RunLengthMask:
    """A mask that is false outside a patch.

    Args:
        patch: h×w, inside the image.
        top, left: row and column of its first pixel.
        size: height and width of the image.
    """
    columns = np.zeros((patch.shape[1], size[0]), dtype=np.int8)
    columns[:, top : top + patch.shape[0]] = patch.T
    starts, ends, values = _runs(columns.reshape(-1))
    inside = values == 1
    return _compress(starts[inside] + left * size[0], ends[inside] + left * size[0], size)


def encode_segments(ids: npt.NDArray[Any], wanted: list[int]) -> list[RunLengthMask]:
    """Masks of chosen segments, from one pass over the id map.

    Args:
        ids: H×W segment ids.
        wanted: the ids whose masks are returned, in this order; an id without a pixel gives an empty mask.
    """
    starts, ends, values = _runs(ids.T.reshape(-1))
    chosen = (values == segment for segment in wanted)
    return [_compress(starts[rows], ends[rows], (ids.shape[0], ids.shape[1])) for rows in chosen]


def _runs(flat: npt.NDArray[Any]) -> tuple[IntArray, IntArray, npt.NDArray[Any]]:
    """First and last-plus-one positions of the runs of equal values, and those values."""
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([np.zeros(min(1, len(flat)), dtype=np.int64), changes])
    ends = np.concatenate([starts[1:], np.full(min(1, len(flat)), len(flat))])
    return starts, ends, flat[starts]


def _compress(starts: IntArray, ends: IntArray, size: Size) -> RunLengthMask:
    """From the runs of true, none of which touch."""
    borders = np.stack([starts, ends], axis=1).reshape(-1)
    counts = np.diff(borders, prepend=0, append=size[0] * size[1])
    counts = counts[: len(counts) - (counts[-1] == 0)]  # a mask that ends with the image has no last gap
    coded = coco_mask.frPyObjects({"size": list(size), "counts": counts.tolist()}, size[0], size[1])
    return RunLengthMask(size, coded["counts"])
