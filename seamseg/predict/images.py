"""Input images: finding the files to segment, and naming their results."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seamseg.data.image_rows import ImageRows, open_rows
from seamseg.data.image_size import image_size
from seamseg.data.images import find_images, read_image
from seamseg.data.input_folder import left_out_sentence, relative_name, unique_stems
from seamseg.data.json_fields import check_file_names
from seamseg.errors import BrokenImageError, DataError
from seamseg.structures import Size

MOST_PIXELS = 1 << 27
"""Maximum number of pixels of an image; ids, scores and overlay take 44 bytes of memory per pixel."""

MOST_TILED_PIXELS = 1 << 29
"""Maximum number of pixels of an image that is predicted in tiles."""


@dataclass(frozen=True)
class InputImage:
    """An image file to segment.

    Attributes:
        name: Relative path of its results without suffix; unique within a run.
        file_name: Name of the image in the results, relative to the folder of all images (:func:`image_folder`).
        path: Path of the file.
    """

    name: str
    file_name: str
    path: Path

    @property
    def sources(self) -> Sequence[Path]:
        """Files that the results are made from."""
        return (self.path,)


def read_within_limit(path: Path, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Read an image to segment, turned by its EXIF orientation, as H×W×3 uint8 RGB.

    Args:
        path: Path of the image.
        most_pixels: Maximum number of pixels.

    Raises:
        BrokenImageError: The file cannot be read, or has more pixels.
    """
    _check_size(path, image_size(path), most_pixels)
    return read_image(path, "upright")


def read_large(path: Path, whole: bool) -> NDArray[np.uint8] | ImageRows:
    """Read an image to segment in tiles, as :func:`read_within_limit` does, or open it for reading row by row.

    Args:
        path: Path of the image.
        whole: Whether all pixels are needed at once.

    Raises:
        BrokenImageError: The file cannot be read, or has more than :data:`MOST_TILED_PIXELS` pixels.
    """
    rows = open_rows(path)
    if rows is None:
        return read_within_limit(path, MOST_TILED_PIXELS)
    _check_size(path, rows.size, MOST_TILED_PIXELS)
    return rows.read(0, rows.size[0]) if whole else rows


def _check_size(path: Path, size: Size, most_pixels: int) -> None:
    height, width = size
    if height * width > most_pixels:
        reason = f"is {height}×{width} pixels (height×width), more than the limit of {most_pixels:,} pixels"
        fits_tiles = height * width <= MOST_TILED_PIXELS
        advice = (
            "seamseg predict --tile predicts it in tiles" if fits_tiles else "make it smaller, or split it into pieces"
        )
        raise BrokenImageError(path, f"{reason}; {advice}")


def find_input_images(
    given: Path, out: Path, on_left_out: Callable[[str], None] = lambda sentence: None
) -> list[InputImage]:
    """Find the images to segment.

    Args:
        given: An image, a folder that is searched recursively, or a ``.txt`` list.
        out: Folder of the results; images in it are skipped.
        on_left_out: Called with one sentence about skipped files if the folder holds anything else.

    Raises:
        FileNotFoundError: ``given`` does not exist.
        SeamsegError: There are no images, or the name of one cannot be stored in the results.
    """
    inside, found = out.resolve(), find_images(given)
    paths = [path for path in dict.fromkeys(found.paths) if not path.resolve().is_relative_to(inside)]
    if not paths:
        raise DataError(f"all images in {given} are in {out}, the folder of the results; choose another results folder")
    folder = image_folder(given, paths)
    file_names = [image_name(path, folder) for path in paths]
    check_file_names(file_names, str(folder))
    left_out = [one for one in found.left_out if not one.path.resolve().is_relative_to(inside)]
    if sentence := left_out_sentence(given, left_out):
        on_left_out(sentence)
    names = result_names(paths, given)
    return [InputImage(*row) for row in zip(names, file_names, paths, strict=True)]


def find_frames(given: Path, out: Path, on_left_out: Callable[[str], None] = lambda sentence: None) -> list[InputImage]:
    """Find the frames of one or several clips, each in its own folder.

    Args:
        given: Folder that is searched recursively.
        out: Folder of the results; images in it are skipped.
        on_left_out: Called with one sentence about skipped files if the folder holds anything else.

    Returns:
        The frames clip by clip. Numbers in the names of the files determine the order, with or without leading zeros.
        The name of a frame is ``CLIP/FRAME``, where the clip is its folder relative to ``given``; frames directly in
        ``given`` have its name.

    Raises:
        FileNotFoundError: ``given`` does not exist.
        SeamsegError: There are no images, the name of one cannot be stored in the results, or ``given`` is a file.
    """
    if given.exists() and not given.is_dir():
        raise DataError(f"{given} is not a folder; things are tracked in a video, or in a folder of frames")
    frames, clip = list[InputImage](), given.resolve().name
    for image in find_input_images(given, out, on_left_out):
        frames.append(image if "/" in image.name else replace(image, name=f"{clip}/{image.name}"))
    if len({frame.name for frame in frames}) < len(frames):
        raise DataError(f"{given} contains frames and also a folder {clip}; move the frames into a folder of their own")
    return sorted(frames, key=lambda frame: [_natural(part) for part in frame.name.rpartition("/")])


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key by which ``frame10`` follows ``frame9``."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split("([0-9]+)", text)]


def image_folder(given: Path, paths: Sequence[Path] = ()) -> Path:
    """Return the absolute folder that image names are relative to.

    It is the given folder, the folder of the given image or list, or the nearest parent that holds all ``paths``.

    Args:
        given: An image, a folder or a ``.txt`` list.
        paths: Images of the folder or list.
    """
    folder = os.path.abspath(given if given.is_dir() else given.parent)
    return Path(os.path.commonpath([folder, *(os.path.abspath(path.parent) for path in paths)]))


def image_name(path: Path, folder: Path) -> str:
    """Return the name of an image in the results: its path relative to ``folder``, as data set readers expect it."""
    return relative_name(Path(os.path.abspath(path)), folder)


def result_names(paths: Sequence[Path], given: Path) -> list[str]:
    """Return the name of each image's results: its path relative to the given folder without suffix, made unique.

    Files whose names differ only in the suffix, or in their folder if a list names them, get a number.
    """
    return unique_stems(relative_name(path, given if given.is_dir() else path.parent) for path in paths)
