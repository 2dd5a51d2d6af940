"""Small data sets of every format, in which one file is replaced by a damaged one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.legacy_folder import write_legacy
from support.tiny_dataset import TinyDataset, write_tiny_panoptic
from support.vistas_folder import write_vistas

from fuzz.seeds import SIZE
from seamseg.data.png import write_panoptic_png


@dataclass(frozen=True)
class Sets:
    """Locations of the data sets.

    Attributes:
        folder: Folder of all data sets.
        coco: COCO panoptic data set of two images, the first of them with crowd.
        vistas_json, vistas_labels: Files of a data set in ``vistas/``.
        detection_json: Detection annotations in ``detection/`` with one object for each kind of outline.
        cityscapes_json: Annotation of the only frame in ``cityscapes/``.
        metadata: ``metadata.bin`` of a data set in ``legacy/``.
    """

    folder: Path
    coco: TinyDataset
    vistas_json: Path
    vistas_labels: Path
    detection_json: Path
    cityscapes_json: Path
    metadata: Path


def write_sets(folder: Path) -> Sets:
    """Write the data sets; the files are the same every time."""
    coco = write_tiny_panoptic(folder / "coco", num_images=2, sizes=[SIZE], num_objects=5, images_with_crowd=[0])
    vistas = write_vistas(folder / "vistas", splits=("training",))
    legacy = write_legacy(folder / "legacy")
    return Sets(
        folder,
        coco,
        vistas.panoptic_files["v1.2", "training"],
        folder / "vistas" / "config_v1.2.json",
        _write_detection(folder / "detection"),
        _write_cityscapes(folder / "cityscapes"),
        legacy / "metadata.bin",
    )


@contextlib.contextmanager
def replaced(path: Path, data: bytes) -> Iterator[None]:
    """Replace the content of a file within the context."""
    sound = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(sound)


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _write_detection(folder: Path) -> Path:
    for part in ("images", "annotations"):
        (folder / part).mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(folder / "images" / "a.png")
    outlines: list[Any] = [
        [[0.5, 0.5, 4.5, 0.5, 4.5, 2.5]],
        {"size": [4, 6], "counts": [2, 3, 19]},
        {"size": [4, 6], "counts": "23c0"},
    ]
    annotations = [
        {"id": 1 + place, "image_id": 7, "category_id": 1 + place % 2, "segmentation": outline, "iscrowd": place % 2}
        for place, outline in enumerate(outlines)
    ]
    categories = [{"id": 1, "name": "car", "isthing": 1, "color": [9, 8, 7]}, {"id": 2, "name": "sky", "isthing": 0}]
    images = [{"id": 7, "file_name": "a.png", "height": 4, "width": 6}]
    path = folder / "annotations" / "instances_train.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def _write_cityscapes(folder: Path) -> Path:
    name, file = "town_000000_000019", "town_000000_000019_gtFine_panoptic.png"
    pngs = folder / "gtFine" / "cityscapes_panoptic_train"
    for place in (folder / "leftImg8bit" / "train" / "town", pngs):
        place.mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(folder / "leftImg8bit" / "train" / "town" / f"{name}_leftImg8bit.png")
    ids = np.full((4, 6), 7)
    ids[1:3, 2:4], ids[3] = 26000, 0
    write_panoptic_png(pngs / file, ids)
    segments = [
        {"id": number, "category_id": category, "area": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0}
        for number, category in ((7, 7), (26000, 26))
    ]
    path = folder / "gtFine" / "cityscapes_panoptic_train.json"
    path.write_text(json.dumps({"annotations": [{"image_id": name, "file_name": file, "segments_info": segments}]}))
    return path
