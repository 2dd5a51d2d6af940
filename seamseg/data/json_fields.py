"""Reading JSON of unknown quality: values of the expected type, or an error that says where."""

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
    """The JSON object in a file.

    Raises:
        SeamsegError: it is a folder, or the file is not JSON, or not an object.
        OSError: it cannot be read.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a JSON file")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # of the decoder, of the text encoding, or of too many brackets
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a JSON {type(content).__name__}, not an object")
    return content


def field(entry: Any, key: str, kind: type[T], where: str) -> T:
    """The value of a key that must be there.

    Raises:
        SeamsegError: ``entry`` is not a JSON object, lacks the key, or holds another type there (``true`` is not a
            number); the message starts with ``where``.
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
    """The value of a flag that must be there, such as ``iscrowd``: 0, 1, true or false.

    Raises:
        SeamsegError: as :func:`field`; text such as ``"0"`` is not a flag.
    """
    value: object = field(entry, key, object, where)
    if not is_flag(value):
        raise DataError(f"{where}: {key!r} is {short_text(value)}, expected {FLAG_VALUES}")
    return bool(value)


def image_id_field(entry: Any, key: str, where: str) -> ImageId:
    """The id of an image, which may be a number or a word.

    Raises:
        SeamsegError: as :func:`field`.
    """
    if isinstance(entry, dict) and isinstance(entry.get(key), str):
        word = field(entry, key, str, where)
        if len(word) > _LONGEST_WORD or _has_controls(word):
            raise DataError(f"{where}: {key!r} is {short_text(word)}, expected a number or a word")
        return word
    return field(entry, key, int, where)


def file_field(entry: Any, key: str, where: str) -> str:
    """The name of a file, relative to a folder that it does not leave, with ``/`` between folders.

    Programs on Windows write backslashes, which are replaced.

    Raises:
        SeamsegError: as :func:`field`, or the name is empty, absolute, or leads out of its folder.
    """
    return checked_file_name(field(entry, key, str, where), f"{where}: {key!r}").replace("\\", "/")


def checked_file_name(name: str, where: str) -> str:
    """The name, if it stays in its folder.

    Raises:
        SeamsegError: it is empty, absolute, or leads out of its folder; begins with ``where``.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    absolute = bool(parts) and (parts[0].startswith("/") or _DRIVE.fullmatch(parts[0]) is not None)
    if not parts or absolute or ".." in parts or _has_controls(name):
        raise DataError(f"{where} is {short_text(name)}; files are named relative to the folder that they lie in")
    return name


def check_file_names(names: Iterable[str], where: str) -> None:
    """Refuses files whose names no reader of results and data sets would take; to be called before any work.

    Args:
        names: Names of files, as results or a data set would state them.
        where: What holds the files, for the error.

    Raises:
        SeamsegError: a name holds a control character, such as a tab, or bytes that are not UTF-8.
    """
    odd = [name for name in names if _has_controls(name)]
    if odd:
        which = "a file whose name holds" if len(odd) == 1 else f"{len(odd)} files whose names hold"
        raise DataError(
            f"{where} holds {which} control characters or bytes that are not UTF-8, such as {short_text(odd[0])}; "
            "rename them"
        )


def _has_controls(text: str) -> bool:
    """Whether there are characters that no file name can have, or that would break a line."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def short_text(value: Any) -> str:
    """How a sentence shows a value from a file: as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


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
