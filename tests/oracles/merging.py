"""Merging of the class scores of several passes, pixel by pixel in double precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

from oracles.bilinear import bilinear
from torch import Tensor


def merged_scores(passes: Sequence[Tensor], merge: str, size: tuple[int, int], y: int, x: int) -> list[float]:
    """Return the score of each class at one pixel: mean, maximum or number of votes over the passes.

    Args:
        passes: Logits of each pass, C×h×w, covering the image.
        merge: ``mean``, ``max`` or ``vote``.
        size: Height and width of the image.
        y: Row of the pixel.
        x: Column of the pixel.
    """
    of_passes = []
    for logits in passes:
        height, width = logits.shape[1:]
        place = (y + 0.5) * height / size[0], (x + 0.5) * width / size[1]
        of_passes.append(softmax([bilinear(channel, *place) for channel in logits]))
    if merge == "vote":
        of_passes = [[float(index == found.index(max(found))) for index in range(len(found))] for found in of_passes]
    by_class = list(zip(*of_passes, strict=True))
    return [max(values) if merge == "max" else sum(values) / len(values) for values in by_class]


def softmax(logits: Sequence[float]) -> list[float]:
    powers = [math.exp(value - max(logits)) for value in logits]
    return [power / sum(powers) for power in powers]
