"""Boxes and areas of segments, one segment at a time."""

from __future__ import annotations

import numpy as np


def segment_boxes(ids: np.ndarray, num_segments: int) -> tuple[list[list[float]], list[int]]:
    """Return (y0, x0, y1, x1) and number of pixels of every segment; −1 for segments without pixels."""
    boxes: list[list[float]] = []
    areas: list[int] = []
    for segment in range(num_segments):
        pixels = [(y, x) for y in range(ids.shape[0]) for x in range(ids.shape[1]) if ids[y, x] == segment]
        rows = [y for y, _ in pixels]
        columns = [x for _, x in pixels]
        boxes.append([min(rows), min(columns), max(rows) + 1, max(columns) + 1] if pixels else [-1, -1, -1, -1])
        areas.append(len(pixels))
    return boxes, areas
