"""Panoptic fusion with image-sized masks and loops."""

from __future__ import annotations

import torch
from oracles.paste import paste_values
from torch import Tensor


def fuse(
    boxes: Tensor,
    classes: Tensor,
    scores: Tensor,
    masks: Tensor,
    semantics: Tensor,
    num_stuff: int,
    score_threshold: float,
    overlap_threshold: float,
    min_stuff_area: float,
) -> tuple[Tensor, list[int], list[float], list[bool]]:
    """Return ids H×W, and class, score and crowd flag of every id."""
    size = (semantics.shape[0], semantics.shape[1])
    ids = torch.zeros(size, dtype=torch.int64)
    out_classes, out_scores, out_crowd = [255], [0.0], [False]
    order = sorted(range(len(scores)), key=lambda index: (-float(scores[index]), index))
    for index in order:
        if not float(scores[index]) > score_threshold:
            continue
        mask = paste_values(masks[index], boxes[index], size) > 0.5
        area = taken = 0
        for y in range(size[0]):
            for x in range(size[1]):
                area += int(mask[y, x])
                taken += int(mask[y, x] and ids[y, x] != 0)
        if area and taken / area > overlap_threshold:
            continue
        ids[mask & (ids == 0)] = len(out_classes)
        out_classes.append(int(classes[index]) + num_stuff)
        out_scores.append(float(scores[index]))
        out_crowd.append(False)
    for klass in range(255):
        free = (semantics == klass) & (ids == 0)
        if free.any() and int(free.sum()) >= min_stuff_area:
            ids[free] = len(out_classes)
            out_classes.append(klass)
            out_scores.append(1.0)
            out_crowd.append(klass >= num_stuff)
    return ids, out_classes, out_scores, out_crowd
