"""A tiny data set in the COCO detection format whose objects overlap.

    write_detection(tmp_path)                          # splits train and val of 3 images each
    CocoDetection(tmp_path, "train")

The first image has a rectangle (polygon), a triangle in front of it (polygon), a third object as run lengths and a
crowd; the second has no annotation; the third has one object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as run_lengths

SIZE = (24, 36)
RECTANGLE = [4.0, 3.0, 24.0, 3.0, 24.0, 15.0, 4.0, 15.0]
TRIANGLE = [16.5, 5.0, 33.0, 12.5, 16.5, 20.0]
Content = dict[str, Any]


def run_length_mask() -> np.ndarray:
    """Return the mask of the third object, which overlaps the first two."""
    mask = np.zeros(SIZE, np.uint8)
    mask[6:20, 20:23] = 1
    return mask


def crowd_mask() -> np.ndarray:
    """Return the mask of the crowd, which overlaps the first object."""
    mask = np.zeros(SIZE, np.uint8)
    mask[12:, :10] = 1
    return mask


def detection_content() -> Content:
    """Return the content of a JSON file."""
    rows, columns = np.nonzero(crowd_mask())
    compressed = run_lengths.encode(np.asfortranarray(run_length_mask()))["counts"].decode()
    flat = crowd_mask().ravel(order="F")
    runs = np.diff([0, *np.flatnonzero(np.diff(flat, prepend=0)), flat.size]).tolist()
    objects = [
        (1, 20, [RECTANGLE], 0, [4, 3, 20, 12]),
        (1, 10, [TRIANGLE], 0, [16.5, 5, 16.5, 15]),
        (1, 20, {"size": [*SIZE], "counts": compressed}, 0, [20, 6, 3, 14]),
        (1, 10, {"size": [*SIZE], "counts": runs}, 1, [0, 12, int(columns.max()) + 1, int(np.ptp(rows)) + 1]),
        (3, 10, [RECTANGLE], 0, [4, 3, 20, 12]),
    ]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in (1, 2, 3)],
        "annotations": [
            {"id": 50 + place, "image_id": i, "category_id": c, "segmentation": s, "iscrowd": crowd, "bbox": box}
            for place, (i, c, s, crowd, box) in enumerate(objects)
        ],
        "categories": [{"id": 20, "name": "car"}, {"id": 10, "name": "person", "supercategory": "living"}],
    }


def write_detection(
    root: Path, splits: Sequence[str] = ("train", "val"), change: Callable[[Content], object] = lambda content: None
) -> Path:
    """Write a data set, after a change of the content of each JSON file."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for split in splits:
        content = detection_content()
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        for image in content["images"]:
            pixels = generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            cv2.imwrite(str(root / "images" / split / image["file_name"]), pixels)
        change(content)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root
