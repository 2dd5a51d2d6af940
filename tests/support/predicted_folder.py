"""Folders in the format of `seamseg predict` with drawn segmentations, and unpacked archives."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seamseg.data.formats.coco_writer import ANNOTATION_FILE, panoptic_segments
from seamseg.data.png import write_panoptic_png
from seamseg.structures import Categories, PanopticSegmentation, Size


def drawn_segmentation(categories: Categories, size: Size, seed: int) -> PanopticSegmentation:
    """Draw two stripes of stuff, seven rectangles that are things (the last one is crowd), and void at the left."""
    rng = np.random.default_rng(seed)
    height, width = size
    ids = np.full(size, 1, np.int64)
    ids[height // 2 :] = 2
    classes = [255, *rng.permutation(categories.num_stuff)[:2].tolist()]
    for segment in range(3, 10):
        top, left = int(rng.integers(0, height - 3)), int(rng.integers(0, width - 3))
        ids[top : top + height // 3, left : left + width // 4] = segment
        classes.append(int(rng.integers(categories.num_stuff, len(categories))))
    ids[:, :2] = 0
    scores = np.concatenate([[0, 1, 1], rng.random(7)]).astype(np.float32)
    crowd = [False] * 9 + [True]
    return PanopticSegmentation(
        torch.from_numpy(ids), torch.tensor(classes), torch.tensor(crowd), torch.from_numpy(scores)
    )


def write_predictions(folder: Path, categories: Categories, input_images: Sequence[str], size: Size) -> Path:
    """Write one prediction per image, and return the folder."""
    images, annotations = [], []
    for number, input_image in enumerate(input_images, start=1):
        ids, segments = panoptic_segments(drawn_segmentation(categories, size, number - 1), categories)
        png = folder / "panoptic" / Path(input_image).with_suffix(".png")
        png.parent.mkdir(parents=True, exist_ok=True)
        write_panoptic_png(png, ids)
        images.append({"id": number, "file_name": input_image, "height": size[0], "width": size[1]})
        name = png.relative_to(folder / "panoptic").as_posix()
        annotations.append({"image_id": number, "file_name": name, "segments_info": segments})
    content = {"images": images, "annotations": annotations, "categories": categories.to_list()}
    (folder / ANNOTATION_FILE).write_text(json.dumps(content))
    return folder


def edit_predictions(folder: Path) -> Any:
    """Return a context manager that yields the content of the JSON file and writes it back at the end."""
    return _Edited(folder / "panoptic.json")


class _Edited:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> dict[str, Any]:
        self._content: dict[str, Any] = json.loads(self._path.read_text())
        return self._content

    def __exit__(self, *_: object) -> None:
        self._path.write_text(json.dumps(self._content))


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack an archive, and return the folder."""
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        file.extractall(folder)
    return folder
