"""Where the images lie that predictions were made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from seamseg.data.formats.coco_files import image_folders
from seamseg.data.input_folder import IMAGE_SUFFIXES, search_folder
from seamseg.errors import DataError
from seamseg.structures import ImageId

_REMEDY = "name the folder of the images with --images"


def image_folder(given: Path | None, content: dict[str, Any], json_file: Path, truth_file: Path | None) -> Path:
    """The folder that the names of images are relative to.

    Args:
        given: what the user named.
        content: of the results' JSON file, which may tell it as ``info.image_folder``.
        json_file: that file.
        truth_file: the annotation; beside one in COCO's layout the images lie in ``images``.

    Raises:
        SeamsegError: nobody tells, or there is no such folder.
    """
    if given is not None:
        if not given.is_dir():
            raise DataError(f"there is no folder {given} with images (--images)")
        return given
    info = content.get("info")
    told = info.get("image_folder") if isinstance(info, dict) else None
    if isinstance(told, str):
        folder = json_file.parent / told
        if not folder.is_dir():
            raise DataError(f"{json_file} says that its images are in {told}, which does not exist; {_REMEDY}")
        return folder
    places = [] if truth_file is None else image_folders(truth_file.parent.parent, truth_file)
    for folder in places:
        if folder.is_dir():
            return folder
    raise DataError(f"{json_file} does not say where its images are; {_REMEDY}")


def find_original_images(
    folder: Path, names: Mapping[ImageId, str | None], pngs: Mapping[ImageId, PurePosixPath]
) -> dict[ImageId, Path]:
    """The image of every image.

    Args:
        folder: of the images.
        names: of the images, relative to it; those without are sought by the name of the PNG.
        pngs: Names of the PNGs of the same images, relative to their folder.

    Raises:
        SeamsegError: not even one is there, or several could be that of one PNG. Where only some are there, the others
            are left to whoever reads them.
    """
    by_stem = _images_by_stem(folder) if None in names.values() else {}
    found, missing = {}, []
    for image_id, name in names.items():
        expected = name or pngs[image_id].with_suffix(".jpg").as_posix()
        if name is not None:
            path = _named_file(folder, name)
        else:
            likely = _likeliest(pngs[image_id], by_stem)
            if len(likely) > 1:
                raise DataError(
                    f"{pngs[image_id]} could be of {likely[0]} or of {likely[1]} in {folder}; list the images "
                    "under 'images' in the JSON file of the predictions, or name a folder of only these with --images"
                )
            path = folder / (likely[0] if likely else expected)
        if not path.is_file():
            missing.append(expected)
        found[image_id] = path
    if missing and len(missing) == len(names):
        raise DataError(_missing(missing, len(names), folder))
    return found


def _named_file(folder: Path, name: str) -> Path:
    """The image of a name, whose own name may hold the backslashes that :func:`file_field` replaces."""
    path, literal = folder / name, folder / name.replace("/", "\\")
    return literal if literal.is_file() and not path.is_file() else path


def _missing(names: Sequence[str], num_images: int, folder: Path) -> str:
    """What to say of images that are not there."""
    videos = [name for name in names if (folder / name.rpartition("#")[0]).is_file()]
    if videos:
        return (
            f"{videos[0]} is a frame of a video, and a report shows images: segment the frames as images, such as "
            "`ffmpeg -i VIDEO FOLDER/%06d.jpg` writes"
        )
    return f"none of {num_images} images is in {folder}, such as {names[0]}; {_REMEDY}"


def _images_by_stem(folder: Path) -> dict[str, list[PurePosixPath]]:
    """Names of all images, relative to the folder, by their last part without its suffix."""
    by_stem = defaultdict[str, list[PurePosixPath]](list)
    for file in search_folder(folder, IMAGE_SUFFIXES).paths:
        by_stem[file.stem].append(PurePosixPath(file.relative_to(folder).as_posix()))
    return by_stem


def _likeliest(png: PurePosixPath, by_stem: Mapping[str, list[PurePosixPath]]) -> list[PurePosixPath]:
    """The images that share most of a PNG's path: the same name, then as many folders around it as possible."""
    shared = {photo: _num_shared_folders(png, photo) for photo in by_stem.get(png.stem, [])}
    most = [photo for photo, number in shared.items() if number == max(shared.values())]
    exact = [photo for photo in most if photo.parent == png.parent]
    return exact or most


def _num_shared_folders(one: PurePosixPath, other: PurePosixPath) -> int:
    """Number of equal folder names, counted from the files outward."""
    pairs = zip(reversed(one.parent.parts), reversed(other.parent.parts), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
