"""Non-maximum suppression by its definition."""

from __future__ import annotations

from oracles.overlap import Box, iou


def nms(boxes: list[Box], scores: list[float], threshold: float) -> list[int]:
    """Return, by descending score, every box that overlaps no kept box by more than the threshold."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        if all(iou(boxes[index], boxes[better]) <= threshold for better in kept):
            kept.append(index)
    return kept
