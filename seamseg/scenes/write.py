"""Writer for scenes as a COCO panoptic data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.data.formats.coco_files import PREFIX
from seamseg.data.formats.coco_writer import segments_info
from seamseg.errors import OutputError, SettingsError
from seamseg.io.files import write_text
from seamseg.scenes.render import Scene, render_scene
from seamseg.scenes.segments import SCENE_CATEGORIES, Segment

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
    check_request(folder, counts, size, seed)
    contents, done = {}, 0
    for index, (split, count) in enumerate(counts.items()):
        entries: list[dict[str, Any]] = []
        for number in range(1, count + 1):
            scene = render_scene((seed, index, number), size)
            entries.append(write_frame(scene, number, f"{number:06d}", SegmentColors(), folder, split))
            done += 1
            if progress is not None:
                progress(done, num_train + num_val)
        contents[split] = panoptic_json(entries, size, seed)
    write_annotations(folder, contents)


def check_request(
    folder: Path, counts: dict[str, int], size: tuple[int, int], seed: int, num_frames: int | None = None
) -> None:
    """Check the arguments of :func:`write_scenes` or, with frames, of :func:`~seamseg.scenes.write_drives`.

    Raises:
        SeamsegError: A number is out of range, or the folder already contains annotations.
    """
    for split, count in counts.items():
        if count < 1:
            drawn = "scenes" if num_frames is None else "drives"
            raise SettingsError(f"the split {split} would have {count} {drawn}; request at least 1")
    if num_frames is not None and num_frames < 1:
        raise SettingsError(f"the drives would have {num_frames} frames; request at least 1")
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


class SegmentColors:
    """Unique colors of segments, close to the color of their class for readability; void is black."""

    def __init__(self) -> None:
        color_of_name = {category.name: category.color for category in SCENE_CATEGORIES.classes}
        self._color_of_name, self._used = color_of_name, {(0, 0, 0)}
        self._chosen: dict[int, tuple[int, int, int]] = {}

    def of(self, scene: Scene) -> npt.NDArray[np.uint8]:
        """Return (K+1)×3 colors, one per id of a scene; an owner that occurred before keeps its color."""
        return np.array([(0, 0, 0), *[self._color(segment) for segment in scene.segments]], np.uint8)

    def _color(self, segment: Segment) -> tuple[int, int, int]:
        if segment.owner not in self._chosen:
            red, green, blue = self._color_of_name[segment.name]
            step = 0
            while (
                color := ((red + 17 * step) % 256, (green + 29 * step) % 256, (blue + 11 * step) % 256)
            ) in self._used:
                step += 1
            self._used.add(color)
            self._chosen[segment.owner] = color
        return self._chosen[segment.owner]


def write_frame(
    scene: Scene, index: int, name: str, segment_colors: SegmentColors, folder: Path, split: str
) -> dict[str, Any]:
    """Write picture and segmentation, and return the annotation entry.

    Args:
        scene: Scene, or frame of a drive.
        index: Id of the image.
        name: Name of the files without suffix.
        segment_colors: Colors, and thus ids, of the segments.
        folder: Folder of the data set.
        split: Name of the split.
    """
    colors = segment_colors.of(scene)
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


def panoptic_json(entries: list[dict[str, Any]], size: tuple[int, int], seed: int) -> dict[str, Any]:
    """Return the content of the annotation file from its entries."""
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


def write_annotations(folder: Path, contents: dict[str, dict[str, Any]]) -> None:
    """Write the annotation file of each split from :func:`panoptic_json`."""
    for split, content in contents.items():
        text = json.dumps(content, separators=(",", ":"))
        write_text(folder / "annotations" / f"{PREFIX}{split}.json", text)


def _write_image(path: Path, image: npt.NDArray[np.uint8], options: list[int]) -> None:
    """Write an H×W×3 RGB image in the format given by the suffix of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(path.suffix, np.ascontiguousarray(image[..., ::-1]), options)
    assert encoded, path
    path.write_bytes(data.tobytes())
