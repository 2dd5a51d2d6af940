"""The segments of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def compact(annotation: Annotation) -> Annotation:
    """Renumbers the segments so that each has a pixel; void stays 0, with or without one. Their order is kept."""
    used = np.bincount(annotation.ids.ravel(), minlength=len(annotation.classes)) > 0
    used[0] = True
    if used.all():
        return annotation
    new_ids = np.cumsum(used, dtype=np.int32) - 1
    return Annotation(new_ids[annotation.ids], annotation.classes[used], annotation.crowd[used])
