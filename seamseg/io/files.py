"""Files and folders that appear complete or not at all.

They are written under a temporary name next to their final one. :func:`part_path` makes that name and :func:`is_part`
recognizes it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from seamseg.errors import OutputError

_LONGEST_NAME = 255
"""Maximum length of a file name in bytes, on the file systems of Linux."""
_PART = ".part"
_TOKEN_BYTES = 8
_PART_NAME = re.compile(rf"{re.escape(_PART)}(-[0-9a-z]+)?\.(?P<name>.+)", re.DOTALL)


def expand_home(given: str | os.PathLike[str]) -> Path:
    """Return the path with a leading ``~`` or ``~user`` replaced by the home folder.

    Shells replace it only at the beginning of a word: not in ``--images=~/a``, in quotes, or in a file.
    """
    return Path(os.path.expanduser(given))  # Path.expanduser fails on names such as "~$a.jpg"


def part_path(path: Path, unique: bool = False) -> Path:
    """Return the hidden sibling path for writing a file or folder until it is complete.

    The name ends in the name of the result, including its suffix, because some writers choose the format by suffix. A
    name that would become too long is replaced by its SHA-256.

    Args:
        path: Path of the result.
        unique: Return a different name on every call (``.part-TOKEN.NAME``), for results that several processes may
            write at the same time. Otherwise the name is always the same (``.part.NAME``), so a restarted writer
            replaces the file that a killed one left behind.
    """
    token = f"-{secrets.token_hex(_TOKEN_BYTES)}" if unique else ""
    return path.with_name(f"{_PART}{token}.{_part_name(path)}")


def _part_name(path: Path) -> str:
    """Return the name of the result as it appears in the name of its temporary file."""
    name = os.fsencode(path.name)
    longest = _LONGEST_NAME - len(f"{_PART}-.") - 2 * _TOKEN_BYTES
    return path.name if len(name) <= longest else hashlib.sha256(name).hexdigest()


def is_part(path: Path, of: Path | None = None) -> bool:
    """Return whether a path was made by :func:`part_path`.

    Args:
        path: Path to check.
        of: Path of the result; None accepts the temporary file of any result.
    """
    match = _PART_NAME.fullmatch(path.name)
    return match is not None and (of is None or match["name"] == _part_name(of))


def remove_parts(folder: Path) -> None:
    """Remove the temporary files that killed processes left behind; no process may be writing to the folder.

    Temporary folders stay: :func:`atomic_directory` removes its own.
    """
    for path in folder.iterdir():
        if is_part(path) and not path.is_dir():
            path.unlink(missing_ok=True)


def atomic_write(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` on a temporary file, flush the file to disk and rename it to ``path``.

    A failure leaves the old file unchanged. A killed process also leaves its temporary file, which :func:`remove_parts`
    removes.

    Args:
        path: Path of the result; its folder must exist.
        write: Function that receives the path to write to.
    """
    temporary = part_path(path, unique=True)
    temporary.touch(0o600, exist_ok=False)
    try:
        write(temporary)
        to_disk(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_unsynced(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a temporary file and rename it to ``path`` without waiting for the disk.

    Use this for thousands of files, and call ``os.sync`` before writing a file that lists them. The temporary name is
    always the same, so the next run replaces the file that an interrupted one left behind.

    Args:
        path: Path of the result; its folder is created if needed.
        write: Function that receives the path to write to.

    Raises:
        OSError: The file cannot be written; the error names it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = part_path(path)
    temporary.unlink(missing_ok=True)
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    atomic_write(path, lambda temporary: _write_text(temporary, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def to_disk(path: Path) -> None:
    """Wait until a file, or the file names in a folder, would survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_NEW, _OLD = "new", "old"
"""Names of the new folder and the replaced folder inside the temporary folder."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FRESH = 60
"""Age in seconds up to which an unlocked temporary folder is kept, because its creator may be about to lock it."""


def atomic_directory(path: Path, write: Callable[[Path], None], replaceable: Sequence[str] | None) -> None:
    """Call ``write`` on a temporary folder and rename it to ``path``.

    A failure leaves the old folder unchanged. A killed process also leaves its temporary folder, which the next process
    that writes the same folder removes.

    Args:
        path: Path of the result; it may be an empty folder. Its parent is created if needed.
        write: Function that receives the folder to write to.
        replaceable: Names of files that may be overwritten: a folder that contains nothing else is replaced. None
            replaces no files.

    Raises:
        SeamsegError: ``path`` must not be replaced.
        OSError: The folder cannot be written.
    """
    path = _without_self_reference(path)
    _remove_abandoned(path)
    check_free(path, replaceable)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(path) as temporary, _locked(temporary, or_not=True):
            new = temporary / _NEW
            new.mkdir()
            write(new)
            to_disk(new)
            _move_into_place(new, path, temporary / _OLD)
            to_disk(path.parent)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); its previous content is unchanged"
        ) from error


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Create a temporary folder next to ``path`` and remove it at the end."""
    temporary = part_path(path, unique=True)
    temporary.mkdir(0o700)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary)


def check_free(path: Path, replaceable: Sequence[str] | None) -> None:
    """Check that a folder may be written; see :func:`atomic_directory`.

    Args:
        path: Path of the folder.
        replaceable: Names of files that may be overwritten; None allows only a missing or empty folder.

    Raises:
        SeamsegError: The path is not a folder, or the folder contains files that must not be replaced.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"{path} is not a folder; choose another path")
    found = sorted(item.name for item in path.iterdir()) if path.is_dir() else []
    if found and replaceable is None:
        raise OutputError(f"{path} is not empty; choose another folder, or pass --overwrite to replace its content")
    foreign = [name for name in found if name not in (replaceable or ())]
    if foreign:
        raise OutputError(
            f"{path} contains other files, such as {foreign[0]}, which are never replaced; choose another folder"
        )


def _without_self_reference(path: Path) -> Path:
    """Return a path of the same folder that does not lead through the folder itself, which is about to move."""
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders that killed processes left behind; running processes have locked theirs."""
    for temporary in path.parent.glob(f"{_PART}*"):
        if is_part(temporary, of=path) and temporary.is_dir() and not temporary.is_symlink():
            with suppress(OSError):  # locked by another process, or already gone
                _remove_if_unlocked(temporary, path)


def _remove_if_unlocked(temporary: Path, path: Path) -> None:
    """Remove a temporary folder; a folder that was about to be replaced gets its name back."""
    if time.time() - temporary.stat().st_mtime < _FRESH and not (temporary / _NEW).exists():
        return
    with _locked(temporary):
        if (temporary / _OLD).is_dir() and not path.exists():
            (temporary / _OLD).replace(path)
        shutil.rmtree(temporary)


@contextmanager
def _locked(folder: Path, or_not: bool = False) -> Iterator[None]:
    """Lock a folder until the end of the context or of this process.

    Args:
        folder: Folder to lock.
        or_not: Continue without a lock if the file system does not support locks.

    Raises:
        OSError: Another process has locked the folder, or locks are not supported.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not (or_not and error.errno in _NO_LOCKS):
                raise
        yield
    finally:
        os.close(descriptor)


def _move_into_place(new: Path, path: Path, aside: Path) -> None:
    """Rename a folder to its final path; an existing folder moves aside first, and back if that fails."""
    if not path.is_dir():
        new.replace(path)
        return
    try:
        path.replace(aside)
        new.replace(path)
    except BaseException:  # including Ctrl-C
        if aside.is_dir() and not path.exists():
            aside.replace(path)
        raise
