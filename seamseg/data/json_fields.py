"""Readers of untrusted JSON that return values of the expected type or raise an error that states where."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from seamseg.errors import DataError
from seamseg.structures import ImageId
from seamseg.structures.categories import FLAG_VALUES, is_flag

T = TypeVar("T")

_LONGEST_TEXT, _LONGEST_WORD = 60, 255
_DRIVE = re.compile("[A-Za-z]:")


def load_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Raises:
        SeamsegError: The path is a folder, or the file is not JSON or not an object.
        OSError: The file cannot be read.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; pass a JSON file")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # invalid JSON, invalid encoding, or too many nested brackets
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} contains a JSON {type(content).__name__}, not an object")
    return content


def field(entry: Any, key: str, kind: type[T], where: str) -> T:
    """Return the value of a required key.

    Args:
        entry: JSON object.
        key: Key to read.
        kind: Expected type of the value; ``true`` and ``false`` do not count as int.
        where: Start of the error message, which states the file and entry.

    Raises:
        SeamsegError: ``entry`` is not a JSON object, lacks the key, or has a value of another type.
    """
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected a JSON object, found {short_text(entry)}")
    if key not in entry:
        raise DataError(f"{where}: the key {key!r} is missing")
    value = entry[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataError(f"{where}: {key!r} is {short_text(value)}, expected {kind.__name__}")
    return value


def flag_field(entry: Any, key: str, where: str) -> bool:
    """Return the value of a required flag such as ``iscrowd``: 0, 1, true or false.

    Raises:
        SeamsegError: The flag is missing or has another value, such as the text ``"0"``; see :func:`field`.
    """
    value: object = field(entry, key, object, where)
    if not is_flag(value):
        raise DataError(f"{where}: {key!r} is {short_text(value)}, expected {FLAG_VALUES}")
    return bool(value)


def image_id_field(entry: Any, key: str, where: str) -> ImageId:
    """Return the required id of an image, which may be an integer or a string.

    Raises:
        SeamsegError: The id is missing, has another type, is too long or contains control characters.
    """
    if isinstance(entry, dict) and isinstance(entry.get(key), str):
        word = field(entry, key, str, where)
        if len(word) > _LONGEST_WORD or _has_control_characters(word):
            raise DataError(f"{where}: {key!r} is {short_text(word)}, expected an integer or a short string")
        return word
    return field(entry, key, int, where)


def file_field(entry: Any, key: str, where: str) -> str:
    """Return a required file name, relative to a folder and inside it, with ``/`` between folders.

    Backslashes, which programs on Windows write, are replaced.

    Raises:
        SeamsegError: The name is missing, not a string, empty, absolute, or leads out of its folder.
    """
    return checked_file_name(field(entry, key, str, where), f"{where}: {key!r}").replace("\\", "/")


def checked_file_name(name: str, where: str) -> str:
    """Return the name if it stays inside its folder.

    Args:
        name: File name, relative to its folder.
        where: Start of the error message.

    Raises:
        SeamsegError: The name is empty, absolute, or leads out of its folder.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    absolute = bool(parts) and (parts[0].startswith("/") or _DRIVE.fullmatch(parts[0]) is not None)
    if not parts or absolute or ".." in parts or _has_control_characters(name):
        raise DataError(f"{where} is {short_text(name)}, but file names must be relative and stay in their folder")
    return name


def check_file_names(names: Iterable[str], where: str) -> None:
    """Reject file names that no reader of results or data sets would accept; call this before any work.

    Args:
        names: File names as results or a data set would state them.
        where: Folder or file that contains the files, for the error message.

    Raises:
        SeamsegError: A name contains a control character, such as a tab, or bytes that are not UTF-8.
    """
    odd = [name for name in names if _has_control_characters(name)]
    if odd:
        which = "a file whose name contains" if len(odd) == 1 else f"{len(odd)} files whose names contain"
        raise DataError(
            f"{where} contains {which} control characters or bytes that are not UTF-8, such as {short_text(odd[0])}; "
            "rename them"
        )


def _has_control_characters(text: str) -> bool:
    """Return whether the text contains characters that are not allowed in file names or would break a line."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def short_text(value: Any) -> str:
    """Return a value from a file for an error message, as Python writes it and cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def write_json_lists(path: Path, head: Mapping[str, Any], lists: Mapping[str, Iterable[Any]]) -> None:
    """Write a JSON object that contains lists, with at most one entry in memory at a time.

    Args:
        path: Path of the file.
        head: Keys and values written before the lists; at least one.
        lists: Entries by key; the iterables are consumed one after the other.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write(_compact_json(head)[:-1])
        for key, entries in lists.items():
            file.write(f',\n"{key}":[')
            _write_entries(file.write, entries)
            file.write("]")
        file.write("}\n")


def write_json_list(path: Path, entries: Iterable[Any]) -> None:
    """Write a JSON list, one entry at a time."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        _write_entries(file.write, entries)
        file.write("]\n")


def _write_entries(write: Callable[[str], Any], entries: Iterable[Any]) -> None:
    for position, entry in enumerate(entries):
        write(("," if position else "") + "\n" + _compact_json(entry))


def _compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
