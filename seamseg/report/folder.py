"""The folder of a report: it appears whole or not at all, and takes the place of an earlier report at most."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parent / "page"
"""Pages, styles and scripts, which are the same for all reports."""
START = "index.html"

_MARK = '<meta name="generator" content="seamseg report">'
_FILES = re.compile(
    r"index\.html|page/[a-z-]+\.(css|js)|data/index\.js|data/\d{6}\.js|(photographs|thumbnails)/\d{6}\.jpg"
)


def check_target(out: Path, overwrite: bool) -> None:
    """Whether a report may be written there.

    Raises:
        ValueError: it would take something's place.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise ValueError(f"{out} is a file; a report is a folder")
    foreign = next(_foreign_files(out), None)
    if foreign is not None:
        raise ValueError(f"{out} holds other files, such as {foreign}; choose a new or an empty folder for the report")
    if not overwrite and (out / START).exists():
        raise ValueError(f"{out} holds a report already; replace it with --overwrite, or choose another folder")


def _foreign_files(out: Path) -> Iterator[Path]:
    """What no report has written; if the first page is not one of ours, nothing is."""
    start = out / START
    ours = start.is_file() and _MARK in start.read_text(encoding="utf-8", errors="replace")
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if (path.is_symlink() or not path.is_dir()) and not (ours and _FILES.fullmatch(name.as_posix())):
            yield name


@contextlib.contextmanager
def replaced_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """An empty folder that becomes ``out`` if all goes well, and vanishes otherwise.

    What a process that was killed left of it is taken over by the next one.

    Raises:
        ValueError: as :func:`check_target`, or another process writes a report there.
    """
    check_target(out, overwrite)
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.unfinished")
    unfinished.mkdir(exist_ok=True)
    handle = os.open(unfinished, os.O_RDONLY)
    try:
        _lock(handle, out)
        _empty(unfinished)
        try:
            yield unfinished
            os.sync()  # all files shall be on the disk before the folder gets its name
            check_target(out, overwrite)
            _put_in_place(unfinished, out)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    finally:
        os.close(handle)


def _lock(handle: int, out: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ValueError(f"another process is writing a report to {out}") from error


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _put_in_place(finished: Path, out: Path) -> None:
    if not out.exists():
        finished.rename(out)
        return
    former = out.with_name(f".{out.name}.former")
    shutil.rmtree(former, ignore_errors=True)
    out.rename(former)
    finished.rename(out)
    shutil.rmtree(former)
