"""Scores of videos from sets of pixels: VPQ as the PQ of stacked frames, and STQ by its definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from oracles import panoptic_quality
from torch import Tensor

VOID = 255
IntArray = NDArray[np.int64]


class Frame(NamedTuple):
    """Class (255 for void), id and crowd flag of each pixel, H×W."""

    classes: IntArray
    ids: IntArray
    crowd: NDArray[np.bool_]


Clip = Sequence[tuple[Frame, Frame]]
"""True and predicted frame, one pair after the other."""


def tube(frame: Frame, y: int, x: int, num_stuff: int) -> tuple[int, int, bool]:
    category = int(frame.classes[y, x])
    if category == VOID:
        return (VOID, 0, False)
    return category, int(frame.ids[y, x]) if category >= num_stuff else 0, bool(frame.crowd[y, x])


def tube_map(frame: Frame, num_stuff: int) -> list[list[tuple[int, int, bool]]]:
    height, width = frame.ids.shape
    return [[tube(frame, y, x, num_stuff) for x in range(width)] for y in range(height)]


def window_counts(clips: Sequence[Clip], window: int, num_classes: int, num_stuff: int) -> Tensor:
    """Return 4×C: the counts of PQ over all windows, each of which is one tall image."""
    total = torch.zeros(4, num_classes, dtype=torch.float64)
    for clip in clips:
        for start in range(len(clip) - window + 1):
            sides = []
            for side in (1, 0):
                rows = [row for pair in clip[start : start + window] for row in tube_map(pair[side], num_stuff)]
                tubes = sorted({one for row in rows for one in row})
                ids = torch.tensor([[tubes.index(one) for one in row] for row in rows])
                sides.append((ids, torch.tensor([one[0] for one in tubes]), torch.tensor([one[2] for one in tubes])))
            total += panoptic_quality.count(sides[0], sides[1], num_classes)
    return total


def association(clips: Sequence[Clip], num_stuff: int) -> float:
    """Return AQ: the mean over true things of Σ TPA · TPA / (TPA + FPA + FNA) / size."""
    values = []
    for clip in clips:
        true: dict[tuple[int, int], set[tuple[int, int, int]]] = {}
        predicted: dict[tuple[int, int], set[tuple[int, int, int]]] = {}
        for time, (true_frame, predicted_frame) in enumerate(clip):
            for (y, x), _ in np.ndenumerate(true_frame.ids):
                category, number, crowd = tube(true_frame, y, x, num_stuff)
                is_thing = num_stuff <= category < VOID
                if is_thing and crowd:
                    continue
                if is_thing:
                    true.setdefault((category, number), set()).add((time, y, x))
                category, number, _ = tube(predicted_frame, y, x, num_stuff)
                if num_stuff <= category < VOID:
                    predicted.setdefault((category, number), set()).add((time, y, x))
        for pixels in true.values():
            parts = [(len(pixels & other), len(pixels | other)) for other in predicted.values()]
            values.append(sum(shared * shared / union for shared, union in parts) / len(pixels))
    return sum(values) / len(values) if values else float("nan")


def ious(clips: Sequence[Clip], num_classes: int) -> list[float]:
    """Return the pixel IoU of each class without the pixels of void truth; NaN for classes that do not appear."""
    result = []
    for category in range(num_classes):
        shared = union = 0
        for true, predicted in (pair for clip in clips for pair in clip):
            known = true.classes != VOID
            one, other = (true.classes == category) & known, (predicted.classes == category) & known
            shared, union = shared + int((one & other).sum()), union + int((one | other).sum())
        result.append(shared / union if union else float("nan"))
    return result
