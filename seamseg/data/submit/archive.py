"""Zip archives whose bytes depend on their content alone."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can state
_UNIX, _REGULAR_FILE = 3, 0o100644


class Member(NamedTuple):
    """A file in an archive: its path there, and what it holds."""

    name: str
    content: bytes


class Archive:
    """Writes members one after the other; each goes to the disk at once.

    Args:
        path: of the archive; an old file is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path, "w")

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, member: Member) -> None:
        """Adds a file. PNGs, which are compressed already, are stored as they are."""
        stored = member.name.endswith(".png")
        info = _info(member.name, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
        self._file.writestr(info, member.content)

    def add_text(self, name: str, pieces: Iterable[str]) -> None:
        """Adds a text file that comes piece by piece, so that it is never in memory as a whole."""
        with self._file.open(_info(name, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as file:
            for piece in pieces:
                file.write(piece.encode())


def _info(name: str, compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = compression
    info.create_system, info.external_attr = _UNIX, _REGULAR_FILE << 16  # the same on every system
    return info
