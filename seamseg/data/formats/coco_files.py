"""Locations of the files of COCO data sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from seamseg.data.formats.split_names import choose_split
from seamseg.errors import DataError

PREFIX, DETECTION_PREFIX = "panoptic_", "instances_"
"""Beginnings of the names of JSON files; the rest is the name of the split."""


def find_split(root: Path, split: str) -> Path:
    """Return the annotation file of a split.

    This is ``annotations/panoptic_SPLIT.json``, or else the only ``annotations/panoptic_SPLIT*.json``.

    Raises:
        FileNotFoundError: The data set folder does not exist.
        SeamsegError: It has no panoptic annotations, or none or several for this split.
    """
    files = annotation_files(root)
    return files[choose_split(files, split, root)]


def annotation_files(root: Path) -> dict[str, Path]:
    """Return the annotation files by name of their split, sorted by name; at least one.

    Raises:
        FileNotFoundError: The data set folder does not exist.
        SeamsegError: It contains no panoptic annotations.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"the data set folder {root} does not exist")
    files = json_files(root, PREFIX)
    if not files:
        raise DataError(f"{root} contains no annotations: expected annotations/panoptic_SPLIT.json in it")
    return files


def json_files(root: Path, prefix: str) -> dict[str, Path]:
    """Return the files ``annotations/PREFIX*.json`` by the rest of their names, sorted by name; possibly none."""
    files = sorted(path for path in (root / "annotations").glob(f"{prefix}*") if path.suffix.lower() == ".json")
    return {file.stem.removeprefix(prefix): file for file in files}


def image_folders(root: Path, annotation_file: Path) -> list[Path]:
    """Return the folders that may contain the images of a split, most likely first."""
    name = annotation_file.stem.removeprefix(PREFIX).removeprefix(DETECTION_PREFIX)
    return [root / "images" / name, root / name, root / "images"]


def png_folders(annotation_file: Path) -> list[Path]:
    """Return the folders that may contain the PNG files of a split.

    These are the folder named like the JSON file and a folder of the same name inside it.
    """
    folder = annotation_file.with_suffix("")
    return [folder, folder / folder.name]


def choose_folder(candidates: Sequence[Path], names: Iterable[str], what: str) -> Path:
    """Return the first folder that contains one of the named files.

    Args:
        candidates: Folders to look in.
        names: File names, relative to the folder.
        what: Description of the files in plural, for the error message.

    Raises:
        SeamsegError: No folder contains any of them.
    """
    names = list(names)
    for folder in candidates:
        if folder.is_dir() and any((folder / name).is_file() for name in names):
            return folder
    places = ", ".join(str(folder) for folder in candidates)
    raise DataError(f"none of the {len(names)} {what} (such as {names[0]}) was found; looked in {places}")
