"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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


def atomic_write(path: Path, write: Callable[[Path], None]) -> None:
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


def atomic_write_unsynced(path: Path, write: Callable[[Path], object]) -> None:
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
    atomic_write(path, lambda temporary: _write_text(temporary, text))


def is_part(path: Path) -> bool:
    """Whether a file is a temporary one of :func:`atomic_write`."""
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


_NEW, _OLD = "new", "old"
"""In the temporary folder: what is written, and what it takes the place of."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FRESH = 60
"""Seconds in which a temporary folder is nobody's but its maker's, who may not have locked it yet."""


def atomic_directory(path: Path, write: Callable[[Path], None], replaceable: Sequence[str] | None) -> None:
    """Has ``write`` fill a temporary folder beside ``path``, and gives it that name.

    Whatever fails in between leaves what was there. A process that is killed leaves its temporary folder too; the next
    one that writes the same folder takes it away.

    Args:
        path: of the result; may be an empty folder. The folder that it lies in is made if needed.
        write: gets the folder to write to.
        replaceable: names of files; a folder that holds nothing else is replaced. None replaces nothing.

    Raises:
        ValueError: something is there that may not be replaced.
        OSError: it cannot be written.
    """
    path = _plain(path)
    _tidy_up(path)
    check_free(path, replaceable)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=PART) as temporary,
            _held(Path(temporary), or_not=True),
        ):
            new = Path(temporary, _NEW)
            new.mkdir()
            write(new)
            to_disk(new)
            _put(new, path, Path(temporary, _OLD))
            to_disk(path.parent)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}); what was there is as it was") from error


def check_free(path: Path, replaceable: Sequence[str] | None) -> None:
    """Whether a folder may be written; see :func:`atomic_directory`.

    Raises:
        ValueError: it may not.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ValueError(f"{path} is no folder; name another")
    found = sorted(item.name for item in path.iterdir()) if path.is_dir() else []
    if found and replaceable is None:
        raise ValueError(f"{path} is not empty; name another folder, or replace what is in it by --overwrite")
    others = [name for name in found if name not in (replaceable or ())]
    if others:
        raise ValueError(f"{path} holds other files, such as {others[0]}, which are not replaced; name another folder")


def _plain(path: Path) -> Path:
    """The same folder by a path that does not lead through itself, which is about to move."""
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def _tidy_up(path: Path) -> None:
    """Takes away what processes that were killed have left; one that is still at work holds its folder."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[^.]+{re.escape(PART)}")
    for left in path.parent.glob(f"*{PART}"):
        if ours.fullmatch(left.name) and left.is_dir() and not left.is_symlink():
            with suppress(OSError):  # of others, or gone by now
                _remove(left, path)


def _remove(left: Path, path: Path) -> None:
    """Takes one away; the folder whose place it was about to take gets its name back."""
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
