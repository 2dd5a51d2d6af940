"""What an unfinished work on many images has done so far."""

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


class Item(Protocol):
    """What one result is made from."""

    @property
    def name(self) -> str:
        """Each item of a work has its own."""

    @property
    def sources(self) -> Sequence[Path]:
        """The files that are read; when one changes, an interrupted work does the item again."""


@dataclass(frozen=True)
class ItemOutput:
    """What became of one item.

    Attributes:
        files: that were written, each in one step.
        entries: what to append to the lists of the JSON file, by their keys.
        num_hidden: objects that are left out because others cover them.
        num_replaced: Objects without a usable outline, which are left out or shown by their boxes.
    """

    files: tuple[Path, ...]
    entries: dict[str, list[dict[str, Any]]]
    num_hidden: int = 0
    num_replaced: int = 0


class Journal:
    """A text file: a line for the work, one for every item that is done.

    In memory stay only the places of the lines. A line that is torn, as by a power cut, is dropped with all after it.
    Only one process has a journal open. Written files are named relative to the journal's folder, which may be moved or
    copied with them.

    Args:
        path: of the file; its folder exists.
        fingerprint: of the work; a journal of another one begins anew.
        busy: what it means that another process has the file open, for the error.

    Raises:
        SeamsegError: another process has it open.
    """

    def __init__(self, path: Path, fingerprint: str, busy: str) -> None:
        self._path = path
        self._file = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise OutputError(busy) from error
        self._places: dict[str, int] = {}
        self._checks: dict[str, Any] = {}
        self._read_all({_HEAD: fingerprint})

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the file to others."""
        self._file.close()

    def holds(self, item: Item) -> bool:
        """Whether the item is done, its sources are as they were, and so are the files that were written."""
        if item.name not in self._checks:
            return False
        return bool(self._checks[item.name] == _stamps(item.sources) + _written(self.read(item.name).files))

    def append(self, item: Item, converted: ItemOutput) -> None:
        """Notes that an item is done; its files are in place."""
        line = {
            "name": item.name,
            "check": _stamps(item.sources) + _written(converted.files),
            "files": [os.path.relpath(path, self._path.parent) for path in converted.files],
            "entries": converted.entries,
            "hidden": converted.num_hidden,
            "replaced": converted.num_replaced,
        }
        self._append(line)

    def absorb(self, other: Journal) -> None:
        """Notes all that another journal of the same work holds."""
        for place in other._places.values():
            other._file.seek(place)
            self._append(json.loads(other._file.readline()))

    def read(self, name: str) -> ItemOutput:
        """What became of an item that is done."""
        self._file.seek(self._places[name])
        line = json.loads(self._file.readline())
        files = (self._path.parent / name for name in line["files"])
        return ItemOutput(tuple(files), line["entries"], line["hidden"], line.get("replaced", 0))

    def files(self) -> Iterator[Path]:
        """All that were written."""
        return (path for name in self._places for path in self.read(name).files)

    def remove(self) -> None:
        """Once the result is complete."""
        self._path.unlink()

    def _append(self, line: dict[str, Any]) -> None:
        self._file.seek(0, 2)
        self._places[line["name"]], self._checks[line["name"]] = self._file.tell(), line["check"]
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _read_all(self, head: dict[str, str]) -> None:
        self._file.seek(0)
        first = _parsed(self._file.readline())
        if first != head:
            self._file.truncate(0)
            self._file.write(json.dumps(head).encode() + b"\n")
            self._file.flush()
            return
        place = self._file.tell()
        while (line := _parsed(self._file.readline())) is not None:
            self._places[line["name"]], self._checks[line["name"]] = place, line["check"]
            place = self._file.tell()
        self._file.truncate(place)


def fingerprint_of(path: Path) -> str:
    """Of the work that a file is the journal of; empty if it is none."""
    with path.open("rb") as file:
        head = _parsed(file.readline())
    return str(head.get(_HEAD, "")) if isinstance(head, dict) else ""


def _parsed(line: bytes) -> Any:
    """The JSON value of a line; None if it is torn."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _stamps(sources: Sequence[Path]) -> list[list[Any]]:
    """Of files, where they are, and size and time of change of those that are there."""
    stamps: list[list[Any]] = []
    for path in sources:
        status = path.stat() if path.exists() else None
        stamp = [] if status is None else [status.st_size, status.st_mtime_ns]
        stamps.append([str(path.absolute()), *stamp])
    return stamps


def _written(files: Sequence[Path]) -> list[list[int]]:
    """Sizes of files; a power cut can leave a file of a size of 0."""
    return [[path.stat().st_size] if path.exists() else [] for path in files]
