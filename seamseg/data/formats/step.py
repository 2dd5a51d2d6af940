"""Folders of PNGs in the format of KITTI-STEP (Weber et al. 2021): red is the class, green · 256 + blue the instance.

The folder contains a folder of PNGs per video, at any depth, or the PNGs of a single video. The class is an index into
the list in ``categories.json``, in the folder or beside it; without this file, the classes are those of KITTI-STEP.
Class 255 is void, and instance 0 of a thing class is crowd.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.class_table import coco_categories, match_categories
from seamseg.data.formats.coco_json import ListedSegments
from seamseg.data.formats.vipseg import Clips
from seamseg.errors import DataError
from seamseg.structures import VOID, Categories

IntArray = NDArray[np.int64]

CATEGORIES_FILE = "categories.json"

_NAMES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
_KITTI_STEP: list[dict[str, Any]] = [
    {"id": number, "name": name, "isthing": int(name in ("person", "car"))} for number, name in enumerate(_NAMES)
]
_UNKNOWN = -1


def open_step(folder: Path, truth: Categories | None = None) -> tuple[Categories, Clips, IntArray, tuple[str, ...]]:
    """Find the videos in a folder of PNGs.

    Args:
        folder: Folder of the PNGs.
        truth: Categories of the annotation, which the classes are matched with by name; None for the annotation itself.

    Returns:
        The categories, the frames of each video by name without lists of segments, the class of each value of the red
        channel (255 for void, −1 for values without a class), and sentences on how the categories differ.

    Raises:
        SeamsegError: There are no PNGs, or ``categories.json`` is wrong.
    """
    entries, source = _entries(folder)
    categories = coco_categories(entries, source) if truth is None else truth
    table = match_categories(entries, categories, str(source))
    classes = np.full(256, _UNKNOWN, np.int64)
    classes[VOID] = VOID
    for value, entry in enumerate(entries[:VOID]):
        classes[value] = table.class_of_id.get(entry["id"], _UNKNOWN)
    clips = {one.relative_to(folder).as_posix(): frames for one in _folders(folder) if (frames := _frames(one))}
    if not clips:
        clips = {folder.resolve().name: _frames(folder)}
    if not any(clips.values()):
        raise DataError(f"{folder} contains neither PNGs nor folders of PNGs")
    return categories, clips, classes, table.notes


def _entries(folder: Path) -> tuple[list[Any], Path]:
    """Return the list of categories, and the file or folder that it is from."""
    for path in (folder / CATEGORIES_FILE, folder.parent / CATEGORIES_FILE):
        if path.is_file():
            try:
                entries = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{path} is not a JSON file: {error}") from error
            if not isinstance(entries, list) or not entries:
                raise DataError(f"{path} must contain a list of categories")
            return entries, path
    return _KITTI_STEP, folder


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder at any depth, without hidden ones; clips of `seamseg predict` may be nested."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [path for one in inner for path in (one, *_folders(one))]


def _frames(folder: Path) -> list[ListedSegments]:
    none, nothing = np.zeros(0, np.int64), np.zeros(0)
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".png" and path.name[0] != ".")
    return [
        ListedSegments(f"{folder.name}/{name}", folder, name, none, none, none.astype(np.bool_), nothing, nothing)
        for name in names
    ]


def split_step_ids(ids: IntArray, classes: IntArray, png: Path) -> tuple[IntArray, IntArray]:
    """Return the classes and the instances of ids that are read from a PNG as red + 256 · green + 65 536 · blue.

    Args:
        ids: N ids.
        classes: Class of each value of the red channel; see :func:`open_step`.
        png: Path of the PNG, for the error message.

    Raises:
        SeamsegError: A value has no class.
    """
    found = classes[ids & 255]
    if (found == _UNKNOWN).any():
        value = int((ids & 255)[found == _UNKNOWN][0])
        raise DataError(
            f"{png} has pixels of class {value}, which is not among the categories; list them in {CATEGORIES_FILE} "
            "in or beside the folder"
        )
    return found, ((ids >> 8) & 255) * 256 + (ids >> 16)
