"""A tiny artificial data set in the layout of Mapillary Vistas, written from its description without the package.

data = write_vistas(tmp_path / "vistas", versions=("v1.2", "v2.0"))
open_data_set(data.root, "training", format_name="vistas_v1.2")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LABELS = [
    # name, instances, evaluate
    ("animal--bird", True, True),
    ("construction--flat--road", False, True),
    ("object--vehicle--car", True, True),
    ("object--vehicle--car-group", True, True),
    ("nature--sky", False, True),
    ("void--unlabeled", False, False),
]
"""The number of a label is its position. In the panoptic file, its id is that number plus 10."""
NUMBERS = np.array(
    [
        # label times 256 plus instance
        [1024, 1024, 1024, 1024, 1024, 1024, 1, 1],
        [1024, 1024, 1024, 1024, 1024, 1024, 1, 1],
        [513, 513, 514, 514, 769, 769, 1280, 1280],
        [513, 513, 514, 514, 769, 769, 1280, 1280],
        [256, 256, 256, 256, 256, 256, 257, 257],
        [256, 256, 256, 256, 256, 256, 257, 257],
    ],
    dtype=np.uint16,
)
"""6×8 pixels: sky and a bird at the top, two cars, a group of cars and void, and road in two parts at the bottom."""
JSON = {"v1.2": "panoptic_2018.json", "v2.0": "panoptic_2020.json"}


@dataclass
class VistasFolder:
    """Written files: paths of the panoptic files by (version, split), and pixels of the images by (split, name)."""

    root: Path
    panoptic_files: dict[tuple[str, str], Path] = field(default_factory=dict)
    images: dict[tuple[str, str], NDArray[np.uint8]] = field(default_factory=dict)

    def edit(self, version: str, split: str, change: Callable[[dict[str, Any]], Any]) -> Path:
        """Change the content of a panoptic file, for example to damage it."""
        path = self.panoptic_files[version, split]
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return path


def write_vistas(
    root: Path,
    versions: Sequence[str] = ("v1.2",),
    splits: Sequence[str] = ("training", "validation"),
    *,
    older: bool = False,
    panoptic: bool = True,
    instances: bool = True,
) -> VistasFolder:
    """Write two images per split; ``older`` leaves out the version folders, as in downloads from 2018."""
    data = VistasFolder(root)
    (root / "testing" / "images").mkdir(parents=True)
    for version in versions:
        config = root / ("config.json" if older else f"config_{version}.json")
        config.write_text(json.dumps({"labels": [label(*entry) for entry in LABELS], "version": "1.1"}))
        for split in splits:
            _write_split(data, root / split, version, "" if older else version, panoptic, instances)
    return data


def label(name: str, instances: bool, evaluate: bool) -> dict[str, Any]:
    shade = sum(map(ord, name)) % 200
    return {
        "color": [shade, 20, 200 - shade],
        "instances": instances,
        "readable": name.split("--")[-1].title(),
        "name": name,
        "evaluate": evaluate,
    }


def _write_split(
    data: VistasFolder, folder: Path, version: str, subfolder: str, panoptic: bool, instances: bool
) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [
        {"id": 10 + number, "name": name, "supercategory": name.split("--")[0], "isthing": int(is_thing)}
        for number, (name, is_thing, evaluate) in enumerate(LABELS)
        if evaluate or version == "v2.0"
    ]
    known = {category["id"] for category in content["categories"]}
    for name, numbers in (("_aB-1", NUMBERS), ("Zz9", np.ascontiguousarray(NUMBERS[:, ::-1]))):
        pixels = np.full((*numbers.shape, 3), 90 if name == "Zz9" else 180, np.uint8)
        data.images[folder.name, name] = pixels
        _write(folder / "images" / f"{name}.jpg", pixels)
        if instances:
            _write(folder / subfolder / "instances" / f"{name}.png", numbers)
        if panoptic:
            ids = numbers.astype(np.int64) + 1
            ids[~np.isin(10 + numbers // 256, list(known))] = 0
            ids[numbers == 257] = 256 + 1  # one segment per stuff class
            _write(
                folder / subfolder / "panoptic" / f"{name}.png", np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1)
            )
            height, width = numbers.shape
            content["images"].insert(0, {"id": name, "file_name": f"{name}.jpg", "height": height, "width": width})
            content["annotations"].append({"image_id": name, "file_name": f"{name}.png", "segments_info": _info(ids)})
    if panoptic:
        data.panoptic_files[version, folder.name] = folder / subfolder / "panoptic" / JSON[version]
        data.panoptic_files[version, folder.name].write_text(json.dumps(content))


def _info(ids: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Make the entries of all segments; bird 1 is marked as crowd, the car group is not."""
    return [
        {
            "id": int(value),
            "category_id": 10 + int(value - 1) // 256,
            "area": int((ids == value).sum()),
            "bbox": [],
            "iscrowd": int(value == 2),
        }
        for value in np.unique(ids[ids > 0])
    ]


def _write(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint8))
