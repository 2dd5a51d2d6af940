"""The folder of a report, which takes the place of an earlier report at most."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parent / "page"
"""Pages, styles and scripts, which are the same for all reports."""
START = "index.html"
DATA, PHOTOGRAPHS, THUMBNAILS = "data", "photographs", "thumbnails"
"""Folders of a report, beside the one of pages."""

CONTENT = (START, PAGE.name, DATA, PHOTOGRAPHS, THUMBNAILS)
"""All that a report consists of."""

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
