"""The YAML file that says what the numbers in somebody's masks mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamseg.io.yaml_files import read_yaml
from seamseg.structures.categories import VOID, Categories, Category, palette_color

_KEYS = ("stuff", "things", "void")
_COLOR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_EXAMPLE = "such as `road: 1`, `road: [1, 4]`, `road: '#804080'` or `road: {pixels: 1, color: '#804080'}`"


@dataclass(frozen=True)
class MaskClasses:
    """Names of classes, and the pixels that stand for them.

    Attributes:
        categories: the original ids count from 1 in the order of the file, stuff first.
        class_of_value: the class of every value that a class map may hold, 255 for void; a colour is the value
            ``red + 256 green + 65536 blue``.
    """

    categories: Categories
    class_of_value: dict[int, int]


def read_mask_classes(path: Path) -> MaskClasses:
    """Reads a file like this one::

        stuff:
          road: 1                                 # the number of its pixels in the class maps
          plants: [2, 5]                          # several numbers
        things:
          car: {pixels: 3, color: "#0000f0"}      # and the colour that pictures show it in
          person: "#dc143c"                       # the colour of its pixels, where class maps are coloured
        void: [0, 255]                            # pixels without a label; 0 where this line is missing

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not of that form, a class or a number is given twice, or there is no stuff or no thing class.
    """
    content = _load(path)
    categories: list[Category] = []
    values: dict[int, int] = {}
    for key in ("stuff", "things"):
        named = content.get(key)
        if not isinstance(named, dict) or not named:
            raise ValueError(f"{path} names no {key}: it needs at least one class under `{key}:`, {_EXAMPLE}")
        for name, entry in named.items():
            where = f"{path}, {name}"
            pixels, color = _entry(entry, len(categories), where)
            _take(values, pixels, len(categories), where)
            categories.append(Category(str(name), key == "things", color, len(categories) + 1))
    _take(values, _values(content.get("void", [0]), f"{path}, void"), VOID, f"{path}, void")
    try:
        return MaskClasses(Categories(tuple(categories)), values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it has to say which classes the masks show")
    content = read_yaml(path)
    if not isinstance(content, dict) or not set(content) <= set(_KEYS):
        unknown = sorted(str(key) for key in content if key not in _KEYS) if isinstance(content, dict) else []
        raise ValueError(f"{path} has to be a mapping with the keys {', '.join(_KEYS)}" + _found(unknown))
    return content


def _found(unknown: list[str]) -> str:
    return f"; it has {', '.join(unknown)}" if unknown else ""


def _entry(entry: Any, position: int, where: str) -> tuple[list[int], tuple[int, int, int]]:
    """Values of the pixels, and the colour for pictures."""
    if not isinstance(entry, dict):
        values = _values(entry, where)
        return values, _rgb(values[0]) if _is_color(entry) else palette_color(position)
    if "pixels" not in entry or not set(entry) <= {"pixels", "color"}:
        raise ValueError(f"{where}: expected the keys pixels and color, found {', '.join(map(str, entry)) or 'none'}")
    values = _values(entry["pixels"], where)
    if "color" in entry and not _is_color(entry["color"]):
        raise ValueError(f"{where}: the color {entry['color']!r} is not of the form '#rrggbb' (with quotes)")
    color = _rgb(_value(entry["color"], where)) if "color" in entry else palette_color(position)
    return values, color


def _values(entry: Any, where: str) -> list[int]:
    return [_value(part, where) for part in (entry if isinstance(entry, list) and entry else [entry])]


def _value(part: Any, where: str) -> int:
    if _is_color(part):
        return int(part[5:7] + part[3:5] + part[1:3], 16)
    if isinstance(part, bool) or not isinstance(part, int) or part < 0:
        raise ValueError(f"{where}: {part!r} is no number of pixels and no colour in quotes, {_EXAMPLE}")
    return part


def _is_color(part: Any) -> bool:
    return isinstance(part, str) and _COLOR.fullmatch(part) is not None


def _rgb(value: int) -> tuple[int, int, int]:
    return value & 255, value >> 8 & 255, value >> 16


def _take(values: dict[int, int], pixels: list[int], number: int, where: str) -> None:
    for value in pixels:
        if value in values:
            raise ValueError(
                f"{where}: the pixels {value} stand for another class already; each number has one meaning"
            )
        values[value] = number
