"""Original images of predictions: finding their folder and their files."""

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

_REMEDY = "pass the folder of the images with --images"


def image_folder(given: Path | None, content: dict[str, Any], json_file: Path, truth_file: Path | None) -> Path:
    """Find the folder that the names of images are relative to.

    Args:
        given: Folder given by the user; None to use the JSON file or the annotation.
        content: Content of the results' JSON file, which may have the folder in ``info.image_folder``.
        json_file: Path of that file.
        truth_file: Annotation file; in COCO's layout, the images are in the folder ``images`` next to its folder.

    Raises:
        SeamsegError: The folder is not known, or it does not exist.
    """
    if given is not None:
        if not given.is_dir():
            raise DataError(f"the folder of the images, {given}, does not exist; correct --images")
        return given
    info = content.get("info")
    named = info.get("image_folder") if isinstance(info, dict) else None
    if isinstance(named, str):
        folder = json_file.parent / named
        if not folder.is_dir():
            raise DataError(f"the image folder in {json_file}, {named}, does not exist; {_REMEDY}")
        return folder
    places = [] if truth_file is None else image_folders(truth_file.parent.parent, truth_file)
    for folder in places:
        if folder.is_dir():
            return folder
    raise DataError(f"{json_file} does not name the folder of its images; {_REMEDY}")


def find_original_images(
    folder: Path, names: Mapping[ImageId, str | None], pngs: Mapping[ImageId, PurePosixPath]
) -> dict[ImageId, Path]:
    """Find the file of every image.

    Args:
        folder: Folder of the images.
        names: Name of each image relative to ``folder``, by id; None to search for the name of its PNG.
        pngs: Names of the PNGs of the same images, relative to the folder of the PNGs.

    Returns:
        Path of each image by id. If only some images are missing, their paths are returned without an error.

    Raises:
        SeamsegError: All images are missing, or several files match a PNG.
    """
    by_stem = _images_by_stem(folder) if None in names.values() else {}
    found, missing = {}, []
    for image_id, name in names.items():
        expected = name or pngs[image_id].with_suffix(".jpg").as_posix()
        if name is not None:
            path = _named_file(folder, name)
        else:
            likely = _best_matches(pngs[image_id], by_stem)
            if len(likely) > 1:
                raise DataError(
                    f"both {likely[0]} and {likely[1]} in {folder} match {pngs[image_id]}; list the images under "
                    "'images' in the JSON file of the predictions, or pass --images with a folder of only these images"
                )
            path = folder / (likely[0] if likely else expected)
        if not path.is_file():
            missing.append(expected)
        found[image_id] = path
    if missing and len(missing) == len(names):
        raise DataError(_missing(missing, len(names), folder))
    return found


def _named_file(folder: Path, name: str) -> Path:
    """Return the path of a named image, whose file name may have backslashes, which :func:`file_field` replaces."""
    path, literal = folder / name, folder / name.replace("/", "\\")
    return literal if literal.is_file() and not path.is_file() else path


def _missing(names: Sequence[str], num_images: int, folder: Path) -> str:
    """Return the error message for missing images."""
    videos = [name for name in names if (folder / name.rpartition("#")[0]).is_file()]
    if videos:
        return (
            f"{videos[0]} is a frame of a video, but a report can only show images; extract the frames with "
            "`ffmpeg -i VIDEO FOLDER/%06d.jpg` and segment FOLDER"
        )
    return f"none of the {num_images} images are in {folder}, for example {names[0]}; {_REMEDY}"


def _images_by_stem(folder: Path) -> dict[str, list[PurePosixPath]]:
    """Return the names of all images in a folder, relative to it, by their stem."""
    by_stem = defaultdict[str, list[PurePosixPath]](list)
    for file in search_folder(folder, IMAGE_SUFFIXES).paths:
        by_stem[file.stem].append(PurePosixPath(file.relative_to(folder).as_posix()))
    return by_stem


def _best_matches(png: PurePosixPath, by_stem: Mapping[str, list[PurePosixPath]]) -> list[PurePosixPath]:
    """Return the images whose paths are most similar to a PNG's path: the same stem, and the most equal folders."""
    shared = {image: _num_shared_folders(png, image) for image in by_stem.get(png.stem, [])}
    most = [image for image, number in shared.items() if number == max(shared.values())]
    exact = [image for image in most if image.parent == png.parent]
    return exact or most


def _num_shared_folders(one: PurePosixPath, other: PurePosixPath) -> int:
    """Return the number of equal folder names, counted from the files outward."""
    pairs = zip(reversed(one.parent.parts), reversed(other.parent.parts), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
