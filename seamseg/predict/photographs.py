"""The photographs that a path stands for, and what their results are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seamseg.data.image_size import image_size
from seamseg.data.images import BrokenImageError, find_images, read_image

MOST_PIXELS = 1 << 27
"""Of a photograph in a file: ids, scores and the painted picture take 44 bytes of memory for each."""


@dataclass(frozen=True)
class Photograph:
    """One file to segment.

    Attributes:
        name: of its results, relative, without suffix; each photograph of a run has its own.
        file_name: how the results call it: relative to the folder of all of them, or absolute where it lies elsewhere.
        path: where it is.
    """

    name: str
    file_name: str
    path: Path

    @property
    def sources(self) -> Sequence[Path]:
        """What its results are made from."""
        return (self.path,)

    def read(self) -> NDArray[np.uint8]:
        """H×W×3 RGB; as :func:`read_photograph`."""
        return read_photograph(self.path)


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """H×W×3 RGB, turned as its EXIF orientation says: so people, and most programs, see it.

    Raises:
        BrokenImageError: the file cannot be read, or the photograph is too large.
    """
    height, width = image_size(path)
    if height * width > MOST_PIXELS:
        reason = f"is {height}×{width} (height×width): photographs of up to {MOST_PIXELS:,} pixels are segmented"
        raise BrokenImageError(path, f"{reason}; make it smaller, or cut it in pieces")
    return read_image(path, upright=True)


def find_photographs(given: Path, out: Path) -> list[Photograph]:
    """The photographs to segment.

    Args:
        given: an image, a folder that is searched recursively, or a ``.txt`` list.
        out: folder of the results; what lies in it is not segmented.

    Raises:
        FileNotFoundError: ``given`` does not exist.
        ValueError: there are no photographs.
    """
    inside = out.resolve()
    paths = [path for path in dict.fromkeys(find_images(given)) if inside not in path.resolve().parents]
    if not paths:
        raise ValueError(f"all images in {given} lie in {out}, which is where the results go; name another folder")
    names = result_names(paths, given)
    return [Photograph(name, photograph_name(path, given), path) for name, path in zip(names, paths, strict=True)]


def image_folder(given: Path) -> Path:
    """The absolute folder that names of photographs are relative to."""
    return (given if given.is_dir() else given.parent).absolute()


def photograph_name(path: Path, given: Path) -> str:
    """How the results call an image: its path below the given folder, or below that of the given list."""
    root = given if given.is_dir() else given.parent
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def result_names(paths: Sequence[Path], given: Path) -> list[str]:
    """The name of every image's results: its path below the given folder without suffix, made unique.

    Files of one name with different suffixes, or of different folders of a list, get a number.
    """
    root = given if given.is_dir() else None
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = path.relative_to(root).with_suffix("").as_posix() if root else path.stem
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names.append(name)
    return names
