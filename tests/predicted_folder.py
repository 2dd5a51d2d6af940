"""Folders as `seamseg predict` writes them, with drawn segmentations, and archives read back."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seamseg.data.coco_writer import CocoPanopticWriter
from seamseg.structures import Categories, PanopticSegmentation, Size


def drawn_segmentation(categories: Categories, size: Size, seed: int) -> PanopticSegmentation:
    """Stripes of stuff, seven rectangles that are things, the last of them left over as crowd, and void at an edge."""
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
        torch.from_numpy(ids), torch.tensor(classes), torch.from_numpy(scores), torch.tensor(crowd)
    )


def write_predictions(folder: Path, categories: Categories, photographs: Sequence[str], size: Size) -> Path:
    """One prediction per photograph; the folder."""
    writer = CocoPanopticWriter(folder, categories)
    for seed, photograph in enumerate(photographs):
        name = Path(photograph).with_suffix("").as_posix()
        writer.add(name, photograph, drawn_segmentation(categories, size, seed))
    writer.close()
    return folder


def edit_predictions(folder: Path) -> Any:
    """The content of the JSON file; what is done to it with ``with`` is written."""
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
    """The folder into which the archive was unpacked."""
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        file.extractall(folder)
    return folder
