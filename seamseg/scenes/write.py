"""Writer for scenes as a COCO panoptic data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.data.formats.coco_writer import segments_info
from seamseg.errors import OutputError, SettingsError
from seamseg.io.files import write_text
from seamseg.scenes.render import Scene, render_scene
from seamseg.scenes.segments import SCENE_CATEGORIES

_SMALLEST_SIDE = 32
_JPEG_QUALITY = 92


def write_scenes(
    folder: Path,
    num_train: int,
    num_val: int,
    size: tuple[int, int],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write synthetic street scenes as a COCO panoptic data set.

    The folder receives ``images/SPLIT/*.jpg``, ``annotations/panoptic_SPLIT/*.png`` and
    ``annotations/panoptic_SPLIT.json`` for the splits train and val. The bytes of scene i of a split depend only on
    (seed, split, i, size). The JSON files are written last and atomically, so an interrupted run leaves none of them.

    Args:
        folder: Folder to write to. It is created if needed.
        num_train: Number of training scenes, at least 1.
        num_val: Number of held-out scenes, at least 1.
        size: Height and width in pixels, at least 32 each.
        seed: Seed of the data set, at least 0.
        progress: Called after each scene with the number of finished scenes and the total.

    Raises:
        SeamsegError: A number is out of range, or the folder already contains annotations.

    Example:
        >>> from pathlib import Path
        >>> from seamseg.scenes import write_scenes
        >>> write_scenes(Path("two-scenes"), num_train=1, num_val=1, size=(64, 128), seed=0)
        >>> sorted(str(path) for path in Path("two-scenes").rglob("*.json"))
        ['two-scenes/annotations/panoptic_train.json', 'two-scenes/annotations/panoptic_val.json']
    """
    counts = {"train": num_train, "val": num_val}
    _check(folder, counts, size, seed)
    contents, done = {}, 0
    for index, (split, count) in enumerate(counts.items()):
        entries: list[dict[str, Any]] = []
        for number in range(1, count + 1):
            entries.append(_write_scene(render_scene((seed, index, number), size), number, folder, split))
            done += 1
            if progress is not None:
                progress(done, num_train + num_val)
        contents[split] = _panoptic_json(entries, size, seed)
    for split, content in contents.items():
        write_text(folder / "annotations" / f"panoptic_{split}.json", json.dumps(content, separators=(",", ":")))


def _check(folder: Path, counts: dict[str, int], size: tuple[int, int], seed: int) -> None:
    for split, count in counts.items():
        if count < 1:
            raise SettingsError(f"the split {split} would have {count} scenes; request at least 1")
    if min(size) < _SMALLEST_SIDE:
        raise SettingsError(
            f"scenes of {size[0]}x{size[1]} pixels are too small; both sides must be at least {_SMALLEST_SIDE} pixels"
        )
    if seed < 0:
        raise SettingsError(f"the seed {seed} is negative; choose an integer >= 0")
    used = sorted(path.name for path in (folder / "annotations").glob("*.json"))
    if used:
        raise OutputError(
            f"{folder} already contains annotations ({', '.join(used)}); choose another folder or remove them"
        )


def _write_scene(scene: Scene, index: int, folder: Path, split: str) -> dict[str, Any]:
    """Write picture and segmentation, and return the annotation entry of the scene."""
    name, colors = f"{index:06d}", _segment_colors(scene)
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _write_image(folder / "images" / split / f"{name}.jpg", scene.picture, jpeg)
    _write_image(folder / "annotations" / f"panoptic_{split}" / f"{name}.png", colors[scene.ids], [])
    id_of_name = {category.name: category.original_id for category in SCENE_CATEGORIES.classes}
    ids = colors.astype(np.int64) @ (1, 256, 65536)
    numbers = ids[1:].tolist()
    category_ids = {number: id_of_name[one.name] for number, one in zip(numbers, scene.segments, strict=True)}
    crowd = {number for number, one in zip(numbers, scene.segments, strict=True) if one.crowd}
    info = segments_info(ids[scene.ids], category_ids, crowd)
    return {"image_id": index, "file_name": f"{name}.png", "segments_info": info}


def _segment_colors(scene: Scene) -> npt.NDArray[np.uint8]:
    """Choose (K+1)×3 unique colors, one per id, close to the class color for readability; id 0 is black."""
    color_of_name = {category.name: category.color for category in SCENE_CATEGORIES.classes}
    used, colors = {(0, 0, 0)}, [(0, 0, 0)]
    for segment in scene.segments:
        red, green, blue = color_of_name[segment.name]
        step = 0
        while (color := ((red + 17 * step) % 256, (green + 29 * step) % 256, (blue + 11 * step) % 256)) in used:
            step += 1
        used.add(color)
        colors.append(color)
    return np.array(colors, np.uint8)


def _panoptic_json(entries: list[dict[str, Any]], size: tuple[int, int], seed: int) -> dict[str, Any]:
    return {
        "info": {"description": f"synthetic street scenes, seed {seed}"},
        "images": [
            {
                "id": entry["image_id"],
                "file_name": entry["file_name"].replace(".png", ".jpg"),
                "width": size[1],
                "height": size[0],
            }
            for entry in entries
        ],
        "annotations": entries,
        "categories": SCENE_CATEGORIES.to_list(),
    }


def _write_image(path: Path, image: npt.NDArray[np.uint8], options: list[int]) -> None:
    """Write an H×W×3 RGB image in the format given by the suffix of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(path.suffix, np.ascontiguousarray(image[..., ::-1]), options)
    assert encoded, path
    path.write_bytes(data.tobytes())
