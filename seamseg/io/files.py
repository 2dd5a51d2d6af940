"""Files and folders that appear complete or not at all.

All are written under a temporary name beside their own, made by :func:`part_path` and recognized by :func:`is_part`.
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
    """A path as the user gave it, with a leading ``~`` or ``~user`` replaced by the home folder.

    Shells replace it at the beginning of a word only: not in ``--images=~/a``, in quotes, or in a file.
    """
    return Path(os.path.expanduser(given))  # Path.expanduser fails on names such as "~$a.jpg"


def part_path(path: Path, unique: bool = False) -> Path:
    """Return the hidden sibling under which a file or folder is written until it is complete.

    The name ends in that of the result, suffix included, because some writers choose the format by it. A name that
    would become too long is replaced by its SHA-256.

    Args:
        path: Path of the result.
        unique: Return another name on every call (``.part-TOKEN.NAME``), for results that several processes may write
            at a time. Otherwise the name is always the same (``.part.NAME``), so a writer that is started again
            replaces the file that a killed one left.
    """
    token = f"-{secrets.token_hex(_TOKEN_BYTES)}" if unique else ""
    return path.with_name(f"{_PART}{token}.{_part_name(path)}")


def _part_name(path: Path) -> str:
    """Name of the result in the name of its temporary file."""
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
    """Remove the temporary files that killed processes left; nobody may be writing to the folder."""
    for path in folder.iterdir():
        if is_part(path):
            path.unlink(missing_ok=True)


def atomic_write(path: Path, write: Callable[[Path], None]) -> None:
    """Fill a temporary file by ``write``, flush it to disk and rename it to ``path``.

    A failure leaves the old file as it was. A process that is killed also leaves its temporary file, which
    :func:`remove_parts` removes.

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
    """Fill a temporary file by ``write`` and rename it to ``path`` without waiting for the disk.

    For thousands of files: call ``os.sync`` before writing a file that lists them. The temporary name is always the
    same, so the next run replaces the file that an interrupted one left.

    Args:
        path: Path of the result; its folder is created if needed.
        write: Function that receives the path to write to.

    Raises:
        OSError: The file cannot be written; names it.
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
    """Wait until a file, or the names in a folder, would survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_NEW, _OLD = "new", "old"
"""Names in the temporary folder: the new folder, and the old one that it replaces."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FRESH = 60
"""Seconds for which a temporary folder is left alone, since its creator may not have locked it yet."""


def atomic_directory(path: Path, write: Callable[[Path], None], replaceable: Sequence[str] | None) -> None:
    """Fill a temporary folder by ``write`` and rename it to ``path``.

    A failure leaves what was there. A process that is killed also leaves its temporary folder, which the next one that
    writes the same folder removes.

    Args:
        path: Path of the result; may be an empty folder. Its parent is created if needed.
        write: Function that receives the folder to write to.
        replaceable: Names of files; a folder that holds nothing else is replaced. None replaces nothing.

    Raises:
        SeamsegError: ``path`` may not be replaced.
        OSError: The folder cannot be written.
    """
    path = _plain(path)
    _tidy_up(path)
    check_free(path, replaceable)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(path) as temporary, _held(temporary, or_not=True):
            new = temporary / _NEW
            new.mkdir()
            write(new)
            to_disk(new)
            _put(new, path, temporary / _OLD)
            to_disk(path.parent)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}); what was there is as it was") from error


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Create a temporary folder beside ``path`` and remove it in the end."""
    temporary = part_path(path, unique=True)
    temporary.mkdir(0o700)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary)


def check_free(path: Path, replaceable: Sequence[str] | None) -> None:
    """Whether a folder may be written; see :func:`atomic_directory`.

    Raises:
        SeamsegError: it may not.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"{path} is no folder; name another")
    found = sorted(item.name for item in path.iterdir()) if path.is_dir() else []
    if found and replaceable is None:
        raise OutputError(f"{path} is not empty; name another folder, or replace what is in it by --overwrite")
    others = [name for name in found if name not in (replaceable or ())]
    if others:
        raise OutputError(f"{path} holds other files, such as {others[0]}, which are not replaced; name another folder")


def _plain(path: Path) -> Path:
    """The same folder by a path that does not lead through itself, which is about to move."""
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def _tidy_up(path: Path) -> None:
    """Remove the temporary folders that killed processes left; a process that is still writing has locked its own."""
    for left in path.parent.glob(f"{_PART}*"):
        if is_part(left, of=path) and left.is_dir() and not left.is_symlink():
            with suppress(OSError):  # of others, or gone by now
                _remove(left, path)


def _remove(left: Path, path: Path) -> None:
    """Remove a temporary folder; the folder that it was about to replace gets its name back."""
    if time.time() - left.stat().st_mtime < _FRESH and not (left / _NEW).exists():
        return
    with _held(left):
        if (left / _OLD).is_dir() and not path.exists():
            (left / _OLD).replace(path)
        shutil.rmtree(left)


@contextmanager
def _held(folder: Path, or_not: bool = False) -> Iterator[None]:
    """Locks a folder until this process leaves, or ends.

    Args:
        folder: to lock.
        or_not: do without where the file system has no locks.

    Raises:
        OSError: another process holds it, or there are no locks.
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


def _put(new: Path, path: Path, aside: Path) -> None:
    """Gives a folder its name; one of that name is put aside first, and back if that fails."""
    if not path.is_dir():
        new.replace(path)
        return
    try:
        path.replace(aside)
        new.replace(path)
    except BaseException:  # Ctrl-C, too
        if aside.is_dir() and not path.exists():
            aside.replace(path)
        raise
