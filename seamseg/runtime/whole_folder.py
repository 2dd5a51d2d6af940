"""Folders that appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from seamseg.runtime.files import PART, to_disk

_NEW, _OLD = "new", "old"
"""In the temporary folder: what is written, and what it takes the place of."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FRESH = 60
"""Seconds in which a temporary folder is nobody's but its maker's, who may not have locked it yet."""


def write_folder(path: Path, write: Callable[[Path], None], replaceable: Sequence[str] | None) -> None:
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
    """Whether a folder may be written; see :func:`write_folder`.

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
