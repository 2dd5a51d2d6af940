"""JSON files with long lists, written entry by entry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


def write_json_lists(path: Path, head: Mapping[str, Any], lists: Mapping[str, Iterable[Any]]) -> None:
    """Writes a JSON object of which no more than one entry is in memory at a time.

    Args:
        path: of the file.
        head: what stands in the object before the lists; at least one key.
        lists: by their keys; each is gone through once, one after the other.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write(_text(head)[:-1])
        for key, entries in lists.items():
            file.write(f',\n"{key}":[')
            _write_entries(file.write, entries)
            file.write("]")
        file.write("}\n")


def write_json_list(path: Path, entries: Iterable[Any]) -> None:
    """Writes a JSON list, one entry at a time."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        _write_entries(file.write, entries)
        file.write("]\n")


def _write_entries(write: Callable[[str], Any], entries: Iterable[Any]) -> None:
    for position, entry in enumerate(entries):
        write(("," if position else "") + "\n" + _text(entry))


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
