"""Journal of the finished items of an interrupted job, so that it can be resumed."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from seamseg.errors import OutputError

_HEAD = "conversion"


class JournalItem(Protocol):
    """Source of one result, such as an image with its annotation."""

    @property
    def name(self) -> str:
        """Name that is unique within the job."""

    @property
    def sources(self) -> Sequence[Path]:
        """Files that are read. If one changes, a resumed job processes the item again."""


@dataclass(frozen=True)
class ItemOutput:
    """Result of one item.

    Attributes:
        files: Files that were written, each atomically.
        entries: Entries to append to the lists of the JSON file, by key.
        num_hidden: Number of objects left out because others cover them.
        num_replaced: Number of objects without a usable outline, which are left out or replaced by their boxes.
        num_crossing: Number of polygons that cross themselves.
    """

    files: tuple[Path, ...]
    entries: dict[str, list[dict[str, Any]]]
    num_hidden: int = 0
    num_replaced: int = 0
    num_crossing: int = 0


class Journal:
    """A text file with one line for the job and one line for every finished item.

    Only the positions of the lines are kept in memory. A truncated line, as after a power loss, is dropped together
    with everything after it. Only one process can have a journal open. Written files are named relative to the folder
    of the journal, so the folder may be moved or copied.

    Args:
        path: Path of the journal; its folder must exist.
        fingerprint: Fingerprint of the job. A journal with another fingerprint is cleared.
        busy: Error message if another process has the journal open.

    Raises:
        SeamsegError: Another process has the journal open.
    """

    def __init__(self, path: Path, fingerprint: str, busy: str) -> None:
        self._path = path
        self._file = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise OutputError(busy) from error
        self._offsets: dict[str, int] = {}
        self._checks: dict[str, Any] = {}
        self._read_all({_HEAD: fingerprint})

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal, so that another process can open it."""
        self._file.close()

    def holds(self, item: JournalItem) -> bool:
        """Return whether the item is finished and neither its sources nor the written files have changed since."""
        if item.name not in self._checks:
            return False
        return bool(self._checks[item.name] == _file_stamps(item.sources) + _file_sizes(self.read(item.name).files))

    def append(self, item: JournalItem, converted: ItemOutput) -> None:
        """Record that an item is finished; its files must already be in place."""
        line = {
            "name": item.name,
            "check": _file_stamps(item.sources) + _file_sizes(converted.files),
            "files": [os.path.relpath(path, self._path.parent) for path in converted.files],
            "entries": converted.entries,
            "hidden": converted.num_hidden,
            "replaced": converted.num_replaced,
            "crossing": converted.num_crossing,
        }
        self._append(line)

    def invalidate(self, name: str) -> None:
        """Record that a finished item has to be processed again; its files are still listed."""
        self._file.seek(self._offsets[name])
        self._append(json.loads(self._file.readline()) | {"check": None})

    def absorb(self, other: Journal) -> None:
        """Append all entries of another journal of the same job."""
        for offset in other._offsets.values():
            other._file.seek(offset)
            self._append(json.loads(other._file.readline()))

    def read(self, name: str) -> ItemOutput:
        """Return the result of a finished item."""
        self._file.seek(self._offsets[name])
        line = json.loads(self._file.readline())
        files = (self._path.parent / name for name in line["files"])
        counts = line["hidden"], line.get("replaced", 0), line.get("crossing", 0)
        return ItemOutput(tuple(files), line["entries"], *counts)

    def files(self) -> Iterator[Path]:
        """Return all written files."""
        return (path for name in self._offsets for path in self.read(name).files)

    def remove(self) -> None:
        """Delete the journal, once the whole result is complete."""
        self._path.unlink()

    def _append(self, line: dict[str, Any]) -> None:
        self._file.seek(0, 2)
        self._offsets[line["name"]], self._checks[line["name"]] = self._file.tell(), line["check"]
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _read_all(self, head: dict[str, str]) -> None:
        self._file.seek(0)
        first = _parse_line(self._file.readline())
        if first != head:
            self._file.truncate(0)
            self._file.write(json.dumps(head).encode() + b"\n")
            self._file.flush()
            return
        offset = self._file.tell()
        while (line := _parse_line(self._file.readline())) is not None:
            self._offsets[line["name"]], self._checks[line["name"]] = offset, line["check"]
            offset = self._file.tell()
        self._file.truncate(offset)


def fingerprint_of(path: Path) -> str:
    """Return the fingerprint of the job that a journal belongs to; empty if the file is not a journal."""
    with path.open("rb") as file:
        head = _parse_line(file.readline())
    return str(head.get(_HEAD, "")) if isinstance(head, dict) else ""


def _parse_line(line: bytes) -> Any:
    """Return the JSON value of a line; None if the line is truncated."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _file_stamps(sources: Sequence[Path]) -> list[list[Any]]:
    """Return the absolute path of each file, followed by its size and modification time in nanoseconds if it exists."""
    stamps: list[list[Any]] = []
    for path in sources:
        status = path.stat() if path.exists() else None
        stamp = [] if status is None else [status.st_size, status.st_mtime_ns]
        stamps.append([str(path.absolute()), *stamp])
    return stamps


def _file_sizes(files: Sequence[Path]) -> list[list[int]]:
    """Return the size of each file, or an empty list for a missing one; after a power loss, a file can have size 0."""
    return [[path.stat().st_size] if path.exists() else [] for path in files]
