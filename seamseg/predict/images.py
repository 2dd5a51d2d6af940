"""The images that a path stands for, and what their results are called."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seamseg.data.image_size import image_size
from seamseg.data.images import find_images, read_image
from seamseg.data.input_folder import left_out_sentence, relative_name, unique_stems
from seamseg.data.json_fields import check_file_names
from seamseg.errors import BrokenImageError, DataError

MOST_PIXELS = 1 << 27
"""Maximum number of pixels of an image; ids, scores and overlay take 44 bytes of memory per pixel."""


@dataclass(frozen=True)
class InputImage:
    """One file to segment.

    Attributes:
        name: of its results, relative, without suffix; each image of a run has its own.
        file_name: how the results call it, relative to the folder of all of them (:func:`image_folder`).
        path: where it is.
    """

    name: str
    file_name: str
    path: Path

    @property
    def sources(self) -> Sequence[Path]:
        """What its results are made from."""
        return (self.path,)


def read_within_limit(path: Path) -> NDArray[np.uint8]:
    """Read an image to segment, turned by its EXIF orientation, as H×W×3 uint8 RGB.

    Raises:
        BrokenImageError: The file cannot be read, or has more than :data:`MOST_PIXELS` pixels.
    """
    height, width = image_size(path)
    if height * width > MOST_PIXELS:
        reason = f"is {height}×{width} (height×width): images of up to {MOST_PIXELS:,} pixels are segmented"
        raise BrokenImageError(path, f"{reason}; make it smaller, or cut it in pieces")
    return read_image(path, "upright")


def find_input_images(
    given: Path, out: Path, on_left_out: Callable[[str], None] = lambda sentence: None
) -> list[InputImage]:
    """Find the images to segment.

    Args:
        given: An image, a folder that is searched recursively, or a ``.txt`` list.
        out: Folder of the results; files in it are not segmented.
        on_left_out: Called with one sentence if the folder holds anything else.

    Raises:
        FileNotFoundError: ``given`` does not exist.
        SeamsegError: There are no images, or one has a name that no reader of results takes.
    """
    inside, found = out.resolve(), find_images(given)
    paths = [path for path in dict.fromkeys(found.paths) if not path.resolve().is_relative_to(inside)]
    if not paths:
        raise DataError(f"all images in {given} lie in {out}, which is where the results go; name another folder")
    folder = image_folder(given, paths)
    file_names = [image_name(path, folder) for path in paths]
    check_file_names(file_names, str(folder))
    others = [one for one in found.left_out if not one.path.resolve().is_relative_to(inside)]
    if sentence := left_out_sentence(given, others):
        on_left_out(sentence)
    names = result_names(paths, given)
    return [InputImage(*row) for row in zip(names, file_names, paths, strict=True)]


def image_folder(given: Path, paths: Sequence[Path] = ()) -> Path:
    """The absolute folder that names of images are relative to: the given one, that of the given file or list, or
    the nearest one above it that holds all images of the list.

    Args:
        given: An image, a folder or a ``.txt`` list.
        paths: Images that it stands for.
    """
    folder = os.path.abspath(given if given.is_dir() else given.parent)
    return Path(os.path.commonpath([folder, *(os.path.abspath(path.parent) for path in paths)]))


def image_name(path: Path, folder: Path) -> str:
    """How the results call an image: its path below the folder of all of them, as readers of data sets want it."""
    return relative_name(Path(os.path.abspath(path)), folder)


def result_names(paths: Sequence[Path], given: Path) -> list[str]:
    """The name of every image's results: its path below the given folder without suffix, made unique.

    Files of one name with different suffixes, or of different folders of a list, get a number.
    """
    return unique_stems(relative_name(path, given if given.is_dir() else path.parent) for path in paths)
