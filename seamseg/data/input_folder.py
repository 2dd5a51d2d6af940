"""What a folder of inputs holds: one rule for every subcommand.

Links to files and folders are followed, except those that lead back to a folder around them. Hidden files and folders
and what operating systems leave behind are left out.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

IMAGE_SUFFIXES = frozenset(
    {
        ".apng", ".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pam", ".pbm",
        ".pgm", ".png", ".pnm", ".ppm", ".ras", ".sr", ".tif", ".tiff", ".webp"
    }
)  # fmt: skip
"""Suffixes of images that can be read, in lower case; of several pictures in a file the first one is read."""

VIDEO_SUFFIXES = frozenset(
    {
        ".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
        ".ogv", ".ts", ".vob", ".webm", ".wmv"
    }
)  # fmt: skip
"""Suffixes of videos, in lower case."""

UNREAD_SUFFIXES = frozenset(
    {
        ".arw", ".cr2", ".cr3", ".dib", ".dng", ".exr", ".hdr", ".heic", ".heif", ".jxl", ".nef", ".orf", ".pcx",
        ".pfm", ".psd", ".raf", ".rw2", ".sgi", ".svg", ".tga"
    }
)  # fmt: skip
"""Suffixes of image formats that cannot be read, in lower case."""

_LEFTOVERS = frozenset(
    {
        "#recycle",
        "$recycle.bin",
        "@eadir",
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "lost+found",
        "system volume information",
        "thumbs.db",
    }
)
_HIDDEN, _LOOP, _CLOSED, _BROKEN = (
    "hidden or left by the system",
    "linked to a folder around it",
    "that cannot be opened",
    "broken links or special files",
)
_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class LeftOut:
    """One file, or one folder with all that is in it, that is not an input.

    Attributes:
        path: Where it is.
        reason: Why, to be read after a number, such as "hidden or left by the system".
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class FoundFiles:
    """The files to read.

    Attributes:
        paths: The files, sorted.
        left_out: Everything else in the folder.
    """

    paths: list[Path]
    left_out: list[LeftOut]


def search_folder(folder: Path, suffixes: Collection[str]) -> FoundFiles:
    """Search a folder and the folders in it.

    Args:
        folder: Existing folder; it may be hidden itself.
        suffixes: Suffixes of the wanted files, in lower case; upper case is found too.

    Raises:
        OSError: The folder cannot be opened.
    """
    paths: list[Path] = []
    left_out: list[LeftOut] = []
    for path in _files(folder, (folder.resolve(),), left_out):
        if path.suffix.lower() in suffixes:
            paths.append(path)
        else:
            left_out.append(LeftOut(path, _why_not(path)))
    return FoundFiles(sorted(paths), left_out)


def is_leftover(path: Path) -> bool:
    """Whether a file or folder is hidden, or one that operating systems and network drives leave behind."""
    return path.name.startswith(".") or path.name.lower() in _LEFTOVERS


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted, without leftovers."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_leftover(path))


def existing_suffix(path: Path) -> Path:
    """The path, or the same with its suffix in upper case if only that exists."""
    upper = path.with_suffix(path.suffix.upper())
    return upper if upper.exists() and not path.exists() else path


def left_out_sentence(folder: Path, left_out: Sequence[LeftOut]) -> str | None:
    """One line that says how many were left out and why, with examples; None if nothing was."""
    if not left_out:
        return None
    names = defaultdict[str, list[str]](list)
    for one in left_out:
        names[one.reason].append(os.path.relpath(one.path, folder))
    parts = (
        f"{len(of_reason):,} {reason} ({', '.join(of_reason[:_NUM_EXAMPLES])}"
        f"{', …' if len(of_reason) > _NUM_EXAMPLES else ''})"
        for reason, of_reason in sorted(names.items())
    )
    return f"left out of {folder}: {', '.join(parts)}"


def _files(folder: Path, chain: tuple[Path, ...], left_out: list[LeftOut]) -> Iterator[Path]:
    """Every file below a folder; ``chain`` holds the resolved paths of the folders that led here, this one last."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        if len(chain) == 1:
            raise
        left_out.append(LeftOut(folder, _CLOSED))
        return
    for path in entries:
        if is_leftover(path):
            left_out.append(LeftOut(path, _HIDDEN))
        elif path.is_dir():
            target = path.resolve()
            if any(target == one or target in one.parents for one in chain):
                left_out.append(LeftOut(path, _LOOP))
            else:
                yield from _files(path, (*chain, target), left_out)
        elif path.is_file():
            yield path
        else:
            left_out.append(LeftOut(path, _BROKEN))


def _why_not(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video(s), which are given one at a time"
    if suffix in UNREAD_SUFFIXES:
        return "in a format that is not read, to be converted to JPEG or PNG"
    return "with other suffixes"


def relative_name(path: Path, folder: Path) -> str:
    """The name of a file below a folder, with ``/`` between folders.

    Some programs unpack archives from Windows into files whose own names hold backslashes. These become ``/`` too, as
    in every JSON file that is read (:func:`seamseg.data.json_fields.file_field`).
    """
    return path.relative_to(folder).as_posix().replace("\\", "/")


def unique_stems(file_names: Iterable[str]) -> list[str]:
    """A name without suffix for every image; of images that differ only in their suffix, later ones get a number.

    >>> unique_stems(["street/a.jpg", "street/a.png", "b.c.jpg"])
    ['street/a', 'street/a_2', 'b.c']

    Args:
        file_names: Names of the images, with ``/`` between folders.
    """
    names: dict[str, None] = {}
    for file_name in file_names:
        stem = name = PurePosixPath(file_name).with_suffix("").as_posix()
        number = 1
        while name in names:
            number += 1
            name = f"{stem}_{number}"
        names[name] = None
    return list(names)
