"""Matching of anchors and regions, with every pair of boxes and one rule after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from oracles.overlap import Box, area, coverage, iou
from torch import Tensor


def match_anchors(
    anchors: list[Box],
    size: tuple[int, int],
    objects: list[Box],
    crowd_pixels: Tensor,
    positive_threshold: float = 0.7,
    negative_threshold: float = 0.3,
    void_threshold: float = 0.7,
    border_anchors: bool = False,
) -> tuple[dict[int, int], set[int]]:
    """Return the object of each positive anchor, and the negative anchors."""
    candidates = []
    for index, anchor in enumerate(anchors):
        y0, x0, y1, x1 = anchor
        if border_anchors:
            inside = 0 <= (y0 + y1) / 2 <= size[0] and 0 <= (x0 + x1) / 2 <= size[1]
        else:
            inside = y0 >= 0 and x0 >= 0 and y1 <= size[0] and x1 <= size[1]
        if inside and coverage(anchor, crowd_pixels) < void_threshold:
            candidates.append(index)
    positives, negatives = {}, set()
    for index in candidates:
        overlap, best = _best(anchors[index], objects)
        if objects and overlap >= positive_threshold:
            positives[index] = best
        if overlap < negative_threshold:
            negatives.add(index)
    for number, truth in enumerate(objects):
        overlap, best = _best(truth, [anchors[index] for index in candidates])
        if overlap > 0:
            positives[candidates[best]] = number
    return positives, negatives - set(positives)


@dataclass(frozen=True)
class Regions:
    """Regions of one image; each positive has the index of its object."""

    positives: list[tuple[Box, int]]
    negatives: list[Box]


def match_regions(
    proposals: list[Box],
    objects: list[Box],
    crowd_pixels: Tensor,
    positive_threshold: float = 0.5,
    negative_low: float = 0.0,
    negative_high: float = 0.5,
    void_threshold: float = 0.7,
    background_images: bool = False,
) -> Regions:
    """Match the regions in their order, starting with the boxes of the objects."""
    regions = Regions([], [])
    for box in [*objects, *proposals]:
        if area(box) == 0 or coverage(box, crowd_pixels) >= void_threshold:
            continue
        overlap, best = _best(box, objects)
        if objects and overlap >= positive_threshold:
            regions.positives.append((box, best))
        elif negative_low <= overlap < negative_high and (objects or background_images):
            regions.negatives.append(box)
    return regions


def _best(box: Box, others: list[Box]) -> tuple[np.float32, int]:
    """Return the largest overlap and the index of its box, the first one in a tie."""
    largest, best = np.float32(0), 0
    for index, other in enumerate(others):
        overlap = iou(box, other)
        if overlap > largest:
            largest, best = overlap, index
    return largest, best
