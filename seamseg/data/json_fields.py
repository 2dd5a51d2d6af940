"""Reading JSON of unknown quality: values of the expected type, or an error that says where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def load_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ValueError: the file is not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # of the decoder, or of the text encoding
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}, not an object")
    return content


def field(entry: Any, key: str, kind: type[T], where: str) -> T:
    """The value of a key that must be there.

    Raises:
        ValueError: ``entry`` is no JSON object, lacks the key, or holds another type there; begins with ``where``.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected a JSON object, found {entry!r}")
    if key not in entry:
        raise ValueError(f"{where}: the key {key!r} is missing")
    value = entry[key]
    if not isinstance(value, kind):
        raise ValueError(f"{where}: {key!r} is {value!r}, expected {kind.__name__}")
    return value
