"""Where the files of a COCO panoptic data set lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from seamseg.data.formats.split_names import choose_split
from seamseg.errors import DataError

_PREFIX = "panoptic_"


def find_split(root: Path, split: str) -> Path:
    """The annotation file of a split: ``annotations/panoptic_SPLIT.json``, or the only ``panoptic_SPLIT*.json``.

    Raises:
        FileNotFoundError: the data set folder does not exist.
        SeamsegError: it has no panoptic annotations, or none or several for this split.
    """
    files = annotation_files(root)
    return files[choose_split(files, split, root)]


def annotation_files(root: Path) -> dict[str, Path]:
    """The annotation files by the name of their split, sorted by it; at least one.

    Raises:
        FileNotFoundError: the data set folder does not exist.
        SeamsegError: it holds no panoptic annotations.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"the data set folder {root} does not exist")
    files = sorted(path for path in (root / "annotations").glob(f"{_PREFIX}*") if path.suffix.lower() == ".json")
    if not files:
        raise DataError(f"{root} holds no annotations: expected annotations/panoptic_SPLIT.json in it")
    return {file.stem.removeprefix(_PREFIX): file for file in files}


def image_folders(root: Path, annotation_file: Path) -> list[Path]:
    """Where the images of a split may lie, the likeliest first."""
    name = annotation_file.stem.removeprefix(_PREFIX)
    return [root / "images" / name, root / name, root / "images"]


def png_folders(annotation_file: Path) -> list[Path]:
    """Where the PNG files of a split may lie: the folder named like the JSON file, or one of that name inside it."""
    folder = annotation_file.with_suffix("")
    return [folder, folder / folder.name]


def choose_folder(candidates: Sequence[Path], names: Iterable[str], what: str) -> Path:
    """The first folder that holds one of the named files.

    Raises:
        SeamsegError: none does.
    """
    names = list(names)
    for folder in candidates:
        if folder.is_dir() and any((folder / name).is_file() for name in names):
            return folder
    places = ", ".join(str(folder) for folder in candidates)
    raise DataError(f"none of the {len(names)} {what} (such as {names[0]}) is found; looked in {places}")
