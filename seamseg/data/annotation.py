"""The segments of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.ops.id_maps import segment_boxes


@dataclass(frozen=True, eq=False)
class Annotation:
    """Panoptic annotation of one image; segment 0 is void.

    Attributes:
        ids: H×W int32, the segment of every pixel, 0 … K.
        classes: K+1 int64, the class of each segment; entry 0 is 255 (void).
        crowd: K+1 bool, segments that stand for many objects.
    """

    ids: NDArray[np.int32]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    def measure(self) -> tuple[Tensor, Tensor]:
        """K+1×4 float32 boxes (y0, x0, y1, x1), −1 without a pixel, and K+1 int64 areas."""
        return segment_boxes(torch.from_numpy(self.ids), len(self.classes))


def compact(annotation: Annotation) -> Annotation:
    """Renumbers the segments so that each has a pixel; void stays 0, with or without one. Their order is kept."""
    return compact_with_boxes(annotation)[0]


def compact_with_boxes(annotation: Annotation) -> tuple[Annotation, Tensor]:
    """As :func:`compact`, and the boxes of the segments that are left: K+1×4 float32, −1 for a void without a pixel."""
    boxes, areas = annotation.measure()
    used = areas.numpy() > 0
    used[0] = True
    if used.all():
        return annotation, boxes
    new_ids = np.cumsum(used, dtype=np.int32) - np.int32(1)
    left = Annotation(np.take(new_ids, annotation.ids), annotation.classes[used], annotation.crowd[used])
    return left, boxes[torch.from_numpy(used)]
