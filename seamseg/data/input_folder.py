"""Input folders: one rule for every subcommand about which files count.

Links to files and folders are followed, except links back to a parent folder. Hidden files and folders, and files that
operating systems leave behind, are skipped.
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
"""Suffixes of readable images, in lower case. Only the first image of a multi-image file is read."""

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
"""Suffixes of unsupported image formats, in lower case."""

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
_HIDDEN, _LOOP, _UNREADABLE, _BROKEN = (
    "hidden or system file(s)",
    "link(s) back to a parent folder",
    "folder(s) that cannot be opened",
    "broken link(s) or special file(s)",
)
_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class LeftOut:
    """A skipped file, or a skipped folder with everything in it.

    Attributes:
        path: Path of the file or folder.
        reason: Why it is skipped, worded to follow a number, such as "hidden or system file(s)".
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class FoundFiles:
    """Result of searching a folder.

    Attributes:
        paths: Files to read, sorted.
        left_out: Everything else in the folder.
    """

    paths: list[Path]
    left_out: list[LeftOut]


def search_folder(folder: Path, suffixes: Collection[str]) -> FoundFiles:
    """Search a folder and its subfolders.

    Args:
        folder: Existing folder; it may itself be hidden.
        suffixes: Suffixes of the wanted files, in lower case; files with upper-case suffixes are found, too.

    Raises:
        OSError: The folder cannot be opened.
    """
    paths: list[Path] = []
    left_out: list[LeftOut] = []
    for path in _files(folder, (folder.resolve(),), left_out):
        if path.suffix.lower() in suffixes:
            paths.append(path)
        else:
            left_out.append(LeftOut(path, _rejection_reason(path)))
    return FoundFiles(sorted(paths), left_out)


def is_leftover(path: Path) -> bool:
    """Return whether a file or folder is hidden or was left behind by an operating system or network drive."""
    return path.name.startswith(".") or path.name.lower() in _LEFTOVERS


def subfolders(folder: Path) -> list[Path]:
    """Return the direct subfolders, sorted, without leftovers."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_leftover(path))


def existing_suffix(path: Path) -> Path:
    """Return the path, or the path with an upper-case suffix if only that file exists."""
    upper = path.with_suffix(path.suffix.upper())
    return upper if upper.exists() and not path.exists() else path


def left_out_sentence(folder: Path, left_out: Sequence[LeftOut]) -> str | None:
    """Return one line with the number of skipped files for each reason and examples; None if nothing was skipped."""
    if not left_out:
        return None
    names = defaultdict[str, list[str]](list)
    for item in left_out:
        names[item.reason].append(os.path.relpath(item.path, folder))
    parts = (
        f"{len(of_reason):,} {reason} ({', '.join(of_reason[:_NUM_EXAMPLES])}"
        f"{', …' if len(of_reason) > _NUM_EXAMPLES else ''})"
        for reason, of_reason in sorted(names.items())
    )
    return f"skipped in {folder}: {', '.join(parts)}"


def _files(folder: Path, chain: tuple[Path, ...], left_out: list[LeftOut]) -> Iterator[Path]:
    """Yield every file below a folder.

    Args:
        folder: Folder to search.
        chain: Resolved paths of the folders that led here, this one last.
        left_out: List to which skipped files and folders are added.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        if len(chain) == 1:
            raise
        left_out.append(LeftOut(folder, _UNREADABLE))
        return
    for path in entries:
        if is_leftover(path):
            left_out.append(LeftOut(path, _HIDDEN))
        elif path.is_dir():
            target = path.resolve()
            if any(target == ancestor or target in ancestor.parents for ancestor in chain):
                left_out.append(LeftOut(path, _LOOP))
            else:
                yield from _files(path, (*chain, target), left_out)
        elif path.is_file():
            yield path
        else:
            left_out.append(LeftOut(path, _BROKEN))


def _rejection_reason(path: Path) -> str:
    """Return why a visible file is not an input, worded to follow a number."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video(s), which must be passed one at a time"
    if suffix in UNREAD_SUFFIXES:
        return "in an unsupported format, convert to JPEG or PNG"
    return "with other suffixes"


def relative_name(path: Path, folder: Path) -> str:
    """Return the path of a file relative to a folder, with ``/`` between folders.

    Some programs unpack Windows archives into files whose names contain backslashes. These become ``/`` as well, as in
    every JSON file (:func:`seamseg.data.json_fields.file_field`).
    """
    return path.relative_to(folder).as_posix().replace("\\", "/")


def unique_stems(file_names: Iterable[str]) -> list[str]:
    """Return a unique name without suffix for every image.

    Among images that differ only in their suffix, all but the first get a number.

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
