"""Where the photographs lie that predictions were made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.coco_split import image_folders
from seamseg.data.images import IMAGE_SUFFIXES, read_image
from seamseg.data.stated_size import check_size, size_text
from seamseg.structures import ImageId, Size

_REMEDY = "name the folder of the photographs with --images"


def photograph_folder(given: Path | None, content: dict[str, Any], json_file: Path, truth_file: Path | None) -> Path:
    """The folder that the names of photographs are relative to.

    Args:
        given: what the user named.
        content: of the results' JSON file, which may tell it as ``info.image_folder``.
        json_file: that file.
        truth_file: the annotation; beside one in COCO's layout the photographs lie in ``images``.

    Raises:
        ValueError: nobody tells, or there is no such folder.
    """
    if given is not None:
        if not given.is_dir():
            raise ValueError(f"there is no folder {given} with photographs (--images)")
        return given
    info = content.get("info")
    told = info.get("image_folder") if isinstance(info, dict) else None
    if isinstance(told, str):
        folder = json_file.parent / told
        if not folder.is_dir():
            raise ValueError(f"{json_file} says that its photographs are in {told}, which does not exist; {_REMEDY}")
        return folder
    places = [] if truth_file is None else image_folders(truth_file.parent.parent, truth_file)
    for folder in places:
        if folder.is_dir():
            return folder
    raise ValueError(f"{json_file} does not say where its photographs are; {_REMEDY}")


def find_photographs(
    folder: Path, names: Mapping[ImageId, str | None], pngs: Mapping[ImageId, Path]
) -> dict[ImageId, Path]:
    """The photograph of every image.

    Args:
        folder: of the photographs.
        names: of the photographs, relative to it; those without are sought by the name of the PNG.
        pngs: of the same images.

    Raises:
        ValueError: not even one is there. Where some are, the others are left to whoever reads them.
    """
    by_stem = _photographs_by_stem(folder) if None in names.values() else {}
    found, missing = {}, []
    for image_id, name in names.items():
        path = by_stem.get(pngs[image_id].stem) if name is None else folder / name
        if path is None or not path.is_file():
            missing.append(name or f"{pngs[image_id].stem}.jpg")
        found[image_id] = path or folder / f"{pngs[image_id].stem}.jpg"
    if missing and len(missing) == len(names):
        raise ValueError(_missing(missing, len(names), folder))
    return found


def _missing(names: Sequence[str], num_images: int, folder: Path) -> str:
    """What to say of photographs that are not there."""
    films = [name for name in names if (folder / name.rpartition("#")[0]).is_file()]
    if films:
        return (
            f"{films[0]} is a frame of a film, and a report shows photographs: segment the frames as images, such as "
            "`ffmpeg -i FILM FOLDER/%06d.jpg` writes"
        )
    return f"none of {num_images} photographs is in {folder}, such as {names[0]}; {_REMEDY}"


def read_photograph(path: Path, size: Size, stated_by: str) -> NDArray[np.uint8]:
    """H×W×3 uint8 RGB, as people see it (so ``seamseg predict`` segments it), or as it is stored if only that fits.

    Args:
        path: of the file.
        size: height and width of its segmentation.
        stated_by: what has that size, for the error.

    Raises:
        BrokenImageError: it cannot be decoded.
        ValueError: it has another size.
    """
    pixels = read_image(path, upright=True)
    if pixels.shape[:2] != size and pixels.shape[1::-1] == size:
        pixels = read_image(path)
    check_size(path, pixels.shape, size, f"{stated_by} is {size_text(size)}")
    return pixels


def _photographs_by_stem(folder: Path) -> dict[str, Path]:
    files: Iterable[Path] = sorted(folder.rglob("*"))
    return {file.stem: file for file in files if file.suffix.lower() in IMAGE_SUFFIXES}
