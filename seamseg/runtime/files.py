"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

LONGEST_NAME = 255
"""Bytes of a file name, on the file systems of Linux."""
PART = ".part"
"""How the names of temporary files end; they begin with a dot."""


def expand_home(given: str | os.PathLike[str]) -> Path:
    """A path as the user gave it, with a leading ``~`` or ``~user`` replaced by the home folder.

    Shells replace it at the beginning of a word only: not in ``--images=~/a``, in quotes, or in a file.
    """
    return Path(os.path.expanduser(given))  # Path.expanduser fails on names such as "~$a.jpg"


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Has ``write`` fill a temporary file beside ``path``, brings it to the disk, and renames it.

    Whatever fails in between leaves the old file as it was. A process that is killed leaves its temporary file too;
    :func:`remove_parts` takes it away.

    Args:
        path: of the result; its folder must exist.
        write: gets the path to write to.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        to_disk(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def in_one_step(path: Path, write: Callable[[Path], object]) -> None:
    """Has ``write`` make a file of another, hidden name in the same folder, and renames it.

    For files by the thousand: nothing waits for the disk, so whoever lists the files calls ``os.sync`` first. The other
    name is always the same, so what an interrupted run left is used up by the next one.

    Args:
        path: of the result; its folder is made if needed.
        write: gets the path to write to.

    Raises:
        OSError: the file cannot be written; names it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(_unfinished_name(path.name))
    unfinished.unlink(missing_ok=True)
    try:
        write(unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _unfinished_name(name: str) -> str:
    """Hidden, and always the same; a long name, with which it would not fit, gives its sum."""
    plain = f".{name}.unfinished"
    if len(os.fsencode(plain)) <= LONGEST_NAME:
        return plain
    return f".{hashlib.sha256(os.fsencode(name)).hexdigest()}.unfinished"


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole."""
    write_whole(path, lambda temporary: _write_text(temporary, text))


def is_part(path: Path) -> bool:
    """Whether a file is a temporary one of :func:`write_whole`."""
    return path.name.startswith(".") and path.name.endswith(PART)


def remove_parts(folder: Path) -> None:
    """Takes away the temporary files of processes that were killed; nobody may be writing to the folder."""
    for path in folder.iterdir():
        if is_part(path):
            path.unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
