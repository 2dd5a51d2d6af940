"""A tiny artificial data set in the format of the 2019 seamseg release, written from the format's description.

open_data_set(write_legacy(tmp_path), "train")
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np

META = {
    "num_stuff": 2,
    "num_thing": 2,
    "categories": ["road", "sky", "car", "bird"],
    "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 255], [0, 0, 0]],
    "original_ids": [7, 23, 26, 1],
}
IDS = np.array([[0, 1, 1, 2], [3, 3, 1, 2], [4, 3, 5, 5]])
IMAGE: dict[str, Any] = {"cat": [255, 1, 0, 2, 255, 2, 3], "iscrowd": [0, 0, 0, 0, 0, 1, 0], "size": (3, 4)}
"""Segments: void, sky, road, a car, a void segment, a crowd of cars, and a bird without pixels."""
CLASS_MAP = [[255, 1, 1, 0], [2, 2, 1, 0], [255, 2, 2, 2]]


def write_legacy(root: Path, meta: Any = META, change: Callable[[list[dict[str, Any]]], Any] = len) -> Path:
    """Write three images in two lists; the last image is a JPEG with an 8-bit mask."""
    for folder in ("img", "msk", "lst", "coco"):
        (root / folder).mkdir(parents=True)
    images = [{"id": name, **IMAGE} for name in ("b_000000_000019", "a", "c")]
    for image in images:
        suffix, dtype = (".jpg", np.uint8) if image["id"] == "c" else (".png", np.uint16)
        assert cv2.imwrite(str(root / "img" / f"{image['id']}{suffix}"), np.full((3, 4, 3), (10, 20, 200), np.uint8))
        assert cv2.imwrite(str(root / "msk" / f"{image['id']}.png"), IDS.astype(dtype))
    change(images)
    (root / "metadata.bin").write_bytes(msgpack.packb({"meta": meta, "images": images}))
    (root / "lst" / "train.txt").write_text("c\nb_000000_000019\n")
    (root / "lst" / "val.txt").write_text("a\r\n\n")
    return root
