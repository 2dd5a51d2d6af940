"""Boundary PQ, segment by segment with erosion (Cheng et al. 2021)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


def border(mask: Bools, band: int) -> Bools:
    """Return the pixels that erosion with a square removes; all pixels outside the image are false."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=band)[1:-1, 1:-1]
    return mask & (eroded == 0)


def width(height: int, columns: int) -> int:
    return max(1, round(0.02 * float(np.hypot(height, columns))))


def smaller_iou(true: Bools, predicted: Bools, void: Bools) -> float:
    """Return the smaller of the IoUs of the masks and of their borders."""
    band = width(*true.shape)
    borders = border(true, band), border(predicted, band)
    values = []
    for one, other in ((true, predicted), borders):
        union = one.sum() + other.sum() - (one & other).sum() - (void & other).sum()
        values.append((one & other).sum() / union)
    return float(min(values))


def count(
    true: NDArray, predicted: NDArray, true_info: list[dict], predicted_info: list[dict]
) -> dict[int, list[float]]:
    """Count per category: sum of IoUs, matched, false and missed segments."""
    counts: dict[int, list[float]] = {}
    matched: set[tuple[str, int]] = set()
    for t in true_info:
        for p in predicted_info:
            masks = true == t["id"], predicted == p["id"]
            if t["iscrowd"] or t["category_id"] != p["category_id"] or not (masks[0] & masks[1]).any():
                continue
            iou = smaller_iou(*masks, true == 0)
            if iou > 0.5:
                line = counts.setdefault(t["category_id"], [0.0, 0, 0, 0])
                line[0] += iou
                line[1] += 1
                matched |= {("true", t["id"]), ("predicted", p["id"])}
    for p in predicted_info:
        excused = true == 0
        crowds = [t["id"] for t in true_info if t["iscrowd"] and t["category_id"] == p["category_id"]]
        if crowds:
            excused = excused | (true == crowds[-1])
        mask = predicted == p["id"]
        if ("predicted", p["id"]) not in matched and not (mask & excused).sum() / mask.sum() > 0.5:
            counts.setdefault(p["category_id"], [0.0, 0, 0, 0])[2] += 1
    for t in true_info:
        if ("true", t["id"]) not in matched and not t["iscrowd"]:
            counts.setdefault(t["category_id"], [0.0, 0, 0, 0])[3] += 1
    return counts
