"""A tiny artificial data set in the COCO panoptic format, with rectangles in front of stripes.

    data = write_tiny_panoptic(tmp_path / "tiny", num_images=4, images_without_objects=[1])
    CocoPanoptic(data.folder, data.split)

It shares no code with the package, so that tests of the readers compare independent implementations of the format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TinyDataset:
    """A written split.

    Attributes:
        folder: Folder of the data set.
        split: Name of the split.
        json_file: Path of the JSON file.
        image_folder: Folder of the images.
        png_folder: Folder of the PNGs.
        ids: H×W int64 segment ids of each image, as in the PNG.
        segments: ``segments_info`` of each image; all segments have pixels.
        images: H×W×3 uint8 RGB pixels of each image; exact only if ``image_suffix`` is lossless.
    """

    folder: Path
    split: str
    json_file: Path
    image_folder: Path
    png_folder: Path
    ids: list[NDArray[np.int64]] = field(default_factory=list)
    segments: list[list[dict[str, Any]]] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)

    def edit_json(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Apply ``change`` to the content of the JSON file, for example to damage it."""
        content = json.loads(self.json_file.read_text())
        change(content)
        self.json_file.write_text(json.dumps(content))


def write_tiny_panoptic(
    folder: Path,
    *,
    split: str = "train",
    num_images: int = 4,
    sizes: Sequence[tuple[int, int]] = ((40, 56), (56, 40)),
    num_objects: int = 3,
    stuff: Sequence[str] = ("sky", "road"),
    things: Sequence[str] = ("car", "person"),
    images_without_objects: Collection[int] = (),
    images_with_crowd: Collection[int] = (),
    images_with_void: Collection[int] = (),
    image_suffix: str = ".png",
    seed: int = 0,
) -> TinyDataset:
    """Write one split; several splits may share a folder.

    Args:
        folder: Folder of the data set. It is created if needed.
        split: Name of the split. The JSON file is ``annotations/panoptic_SPLIT.json``.
        num_images: Number of images. Their ids are 100, 101, …; the JSON file lists images backward and annotations
            forward.
        sizes: Height and width of the images, used in turn.
        num_objects: Number of rectangles drawn per image. Later ones may hide earlier ones.
        stuff: Names of the stuff categories.
        things: Names of the thing categories. The ids of all categories are 10, 20, …, with things before stuff.
        images_without_objects: Positions of images that show only stuff.
        images_with_crowd: Positions of images with a crowd segment of the first thing in the lower left corner.
        images_with_void: Positions of images with an unlabeled right fifth.
        image_suffix: Format of the images.
        seed: Random seed.
    """
    generator = np.random.default_rng(seed)
    data = _make_folders(folder, split)
    names = [*things, *stuff]
    for position in range(num_images):
        scene = _Scene(sizes[position % len(sizes)], names, generator)
        for stripe, name in enumerate(stuff):
            top, bottom = (scene.height * edge // len(stuff) for edge in (stripe, stripe + 1))
            scene.paint(name, (top, 0, bottom, scene.width))
        for _ in range(num_objects if things and position not in images_without_objects else 0):
            scene.paint(str(generator.choice(things)), scene.random_box())
        if position in images_with_crowd:
            scene.paint(things[0], (scene.height // 2, 0, scene.height, scene.width // 3), crowd=True)
        if position in images_with_void:
            scene.ids[:, -(scene.width // 5) :] = 0
        _write(data, position, scene, image_suffix)
    _write_json(data, names, len(things), image_suffix)
    return data


class _Scene:
    """An image while it is being painted."""

    def __init__(self, size: tuple[int, int], names: list[str], generator: np.random.Generator) -> None:
        self.height, self.width = size
        self._names = names
        self._generator = generator
        self.ids = np.zeros(size, dtype=np.int64)
        self.class_map = np.zeros(size, dtype=np.int64)
        self._painted: dict[int, dict[str, Any]] = {}

    def paint(self, name: str, box: tuple[int, int, int, int], crowd: bool = False) -> None:
        y0, x0, y1, x1 = box
        segment_id = int(self._generator.integers(1, 2**24))
        assert segment_id not in self._painted, "a rare collision of random ids: use another seed"
        self.ids[y0:y1, x0:x1] = segment_id
        self.class_map[y0:y1, x0:x1] = self._names.index(name)
        category_id = 10 * (self._names.index(name) + 1)
        self._painted[segment_id] = {"id": segment_id, "category_id": category_id, "iscrowd": int(crowd)}

    def random_box(self) -> tuple[int, int, int, int]:
        height = int(self._generator.integers(self.height // 5, self.height // 2))
        width = int(self._generator.integers(self.width // 5, self.width // 2))
        top = int(self._generator.integers(0, self.height - height + 1))
        left = int(self._generator.integers(0, self.width - width + 1))
        return top, left, top + height, left + width

    def pixels(self) -> NDArray[np.uint8]:
        """Make pixels with one color per class and some noise."""
        colors = np.array([(60 + 97 * i % 180, 40 + 53 * i % 200, 30 + 151 * i % 190) for i in range(len(self._names))])
        noise = self._generator.integers(-12, 13, size=(self.height, self.width, 3))
        return np.clip(colors[self.class_map] + noise, 0, 255).astype(np.uint8)

    def segments(self) -> list[dict[str, Any]]:
        visible = [segment for segment in self._painted.values() if (self.ids == segment["id"]).any()]
        return [segment | self._measures(segment["id"]) for segment in visible]

    def _measures(self, segment_id: int) -> dict[str, Any]:
        rows, columns = np.nonzero(self.ids == segment_id)
        x, y = int(columns.min()), int(rows.min())
        return {"area": len(rows), "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]}


def _make_folders(folder: Path, split: str) -> TinyDataset:
    annotations = folder / "annotations"
    data = TinyDataset(
        folder,
        split,
        json_file=annotations / f"panoptic_{split}.json",
        image_folder=folder / "images" / split,
        png_folder=annotations / f"panoptic_{split}",
    )
    data.image_folder.mkdir(parents=True)
    data.png_folder.mkdir(parents=True)
    return data


def _write(data: TinyDataset, position: int, scene: _Scene, image_suffix: str) -> None:
    ids, pixels = scene.ids, scene.pixels()
    red, green, blue = ids % 256, ids // 256 % 256, ids // 65536
    png = np.stack([blue, green, red], axis=-1).astype(np.uint8)
    assert cv2.imwrite(str(data.png_folder / f"{position:03}.png"), png)
    assert cv2.imwrite(str(data.image_folder / f"{position:03}{image_suffix}"), pixels[..., ::-1])
    data.ids.append(ids)
    data.segments.append(scene.segments())
    data.images.append(pixels)


def _write_json(data: TinyDataset, names: list[str], num_things: int, image_suffix: str) -> None:
    images = [
        {"id": 100 + position, "file_name": f"{position:03}{image_suffix}", "height": len(ids), "width": len(ids[0])}
        for position, ids in enumerate(data.ids)
    ]
    annotations = [
        {"image_id": 100 + position, "file_name": f"{position:03}.png", "segments_info": segments}
        for position, segments in enumerate(data.segments)
    ]
    categories = [
        {"id": 10 * (position + 1), "name": name, "isthing": int(position < num_things)}
        for position, name in enumerate(names)
    ]
    content = {"images": images[::-1], "annotations": annotations, "categories": categories}
    data.json_file.write_text(json.dumps(content))
