"""Pairs of panoptic files to score: random ones with many unusual cases, and functions to write custom ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

CATEGORIES = [
    {"id": 7, "name": "sky", "isthing": 0, "color": [1, 1, 1]},
    {"id": 3, "name": "car", "isthing": 1, "color": [2, 2, 2]},
    {"id": 200, "name": "road", "isthing": 0, "color": [3, 3, 3]},
    {"id": 11, "name": "person", "isthing": 1, "color": [4, 4, 4]},
    {"id": 12, "name": "unseen", "isthing": 1, "color": [5, 5, 5]},
]


@dataclass
class Side:
    """Annotation or prediction of an image.

    Attributes:
        ids: H×W segment ids in the PNG.
        segments: ``segments_info`` in the JSON file.
    """

    ids: NDArray[np.int64]
    segments: list[dict[str, Any]]


def write_png(path: Path, ids: NDArray[np.int64]) -> None:
    cv2.imwrite(str(path), np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8))


def write_side(folder: Path, name: str, sides: list[Side], bare: bool = False) -> Path:
    """Write ``NAME.json`` and the folder ``NAME``; image ids start at 10.

    Args:
        folder: Folder to write to.
        name: Name of the JSON file and the folder.
        sides: Annotation or prediction of each image.
        bare: Whether to leave out categories and images, as in result files.
    """
    (folder / name).mkdir(parents=True)
    annotations = []
    for image, side in enumerate(sides):
        write_png(folder / name / f"{image:03}.png", side.ids)
        annotations.append({"image_id": 10 + image, "file_name": f"{image:03}.png", "segments_info": side.segments})
    content: dict[str, Any] = {"annotations": annotations}
    if not bare:
        sizes = [side.ids.shape for side in sides]
        content["images"] = [
            {"id": 10 + i, "file_name": f"{i:03}.jpg", "height": h, "width": w} for i, (h, w) in enumerate(sizes)
        ]
        content["categories"] = CATEGORIES
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def listed(ids: NDArray[np.int64], categories: dict[int, int], crowd: set[int]) -> list[dict[str, Any]]:
    """Make the entries of all segments with pixels, in the given order."""
    areas = {segment: int((ids == segment).sum()) for segment in categories}
    return [
        {"id": segment, "category_id": category, "area": areas[segment], "iscrowd": int(segment in crowd)}
        for segment, category in categories.items()
        if areas[segment]
    ]


def random_pair(seed: int) -> tuple[Side, Side]:
    """Draw an annotation with several crowds per class and void at the edges, and a similar prediction."""
    rng = np.random.default_rng(seed)
    height, width = (int(rng.integers(1, 60)) for _ in range(2))
    block = int(rng.integers(1, 9))

    def blocks(num: int) -> NDArray[np.int64]:
        small = rng.integers(0, num, (height // block + 1, width // block + 1))
        return small.repeat(block, 0).repeat(block, 1)[:height, :width]

    num = int(rng.integers(1, 9))
    names = rng.choice(2**24 - 1, 2 * num, replace=False) + 1
    ids = names[blocks(num)]
    edge = int(rng.integers(0, 4))
    ids[:edge] = ids[:, :edge] = 0
    possible = [7, 3, 200, 11]
    classes = {int(name): int(rng.choice(possible)) for name in names[:num]}
    crowd = {name for name in classes if rng.random() < 0.4}
    predicted = np.where(rng.random(ids.shape) < 0.15, names[num + blocks(num) % num], np.roll(ids, 1, axis=1))
    predicted[rng.random(ids.shape) < 0.05] = 0
    guesses = {name: one if rng.random() < 0.8 else int(rng.choice(possible)) for name, one in classes.items()}
    guesses |= {int(name): int(rng.choice(possible)) for name in names[num:]}
    return Side(ids, listed(ids, classes, crowd)), Side(predicted, listed(predicted, guesses, set()))


def empty_pairs() -> list[tuple[Side, Side]]:
    """Make images with only void in the annotation, the prediction, both or neither."""
    nothing, all_sky = np.zeros((4, 5), np.int64), np.full((4, 5), 9)
    sky = [{"id": 9, "category_id": 7, "area": 20, "iscrowd": 0}]
    sides = [Side(nothing, []), Side(all_sky, sky)]
    return [(true, Side(one.ids, [dict(s) for s in one.segments])) for true in sides for one in sides]
