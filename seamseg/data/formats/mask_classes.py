"""Classes of the pixel values in class maps, and the reader of ``classes.yaml``, which lists them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.png import UNLABELED, color_text
from seamseg.errors import DataError, SeamsegError, SettingsError
from seamseg.io.yaml_files import read_yaml
from seamseg.structures.categories import VOID, Categories, Category, palette_color

CLASS_FILE = "classes.yaml"
_NUM_EXAMPLES = 5
_KEYS = ("stuff", "things", "void", "color_distance")
_LARGEST_DISTANCE = 442  # distance between black and white, rounded up
_COLOR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_EXAMPLE = "such as `road: 1`, `road: [1, 4]`, `road: '#804080'` or `road: {pixels: 1, color: '#804080'}`"


@dataclass(frozen=True)
class MaskClasses:
    """Classes, and the pixel values that represent them.

    Attributes:
        categories: Categories with original ids counted from 1 in the order of the file, stuff first.
        class_of_value: Class of every value that a class map may contain, 255 for void. Colors are encoded as
            ``red + 256 green + 65536 blue``.
        colored: Whether any values are colors.
        color_distance: Maximum Euclidean distance in red, green and blue (0 … 441) at which an unlisted color counts as
            the nearest listed one.
        remedy: What to do about values that belong to no class, for error messages. None if a class file tells the
            classes.
    """

    categories: Categories
    class_of_value: dict[int, int]
    colored: bool = False
    color_distance: float = 0
    remedy: str | None = None

    def classes_of(self, values: NDArray[np.int64], value_of_pixel: NDArray[np.int64]) -> NDArray[np.int64]:
        """Look up the class of each value; an unlisted color gets that of the nearest color within the distance.

        Args:
            values: K distinct values of a class map.
            value_of_pixel: H×W index of each pixel's value, for the error message.

        Returns:
            K classes, 255 for void, which includes transparent pixels.

        Raises:
            SeamsegError: A value belongs neither to a class nor to void, and no listed color is close enough.
        """
        known = self.class_of_value | {UNLABELED: VOID}
        unknown = np.array([value for value in values.tolist() if value not in known], np.int64)
        if len(unknown):
            nearest, distances = self.nearest(unknown)
            far = ~(distances <= self.color_distance) | (not self.colored)
            if far.any():
                counts = dict(zip(values.tolist(), np.bincount(value_of_pixel.ravel()).tolist(), strict=True))
                rows = zip(unknown[far].tolist(), nearest[far].tolist(), distances[far].tolist(), strict=True)
                raise DataError(_unknown_values_message(sorted(rows, key=lambda row: -counts[row[0]]), counts, self))
            known |= {one: known[other] for one, other in zip(unknown.tolist(), nearest.tolist(), strict=True)}
        return np.array([known[value] for value in values.tolist()], np.int64)

    def nearest(self, colors: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the known value nearest to each of N colors; return the N values and the N distances."""
        values, distances = np.zeros(len(colors), np.int64), np.full(len(colors), np.inf)
        parts = _channels(colors)
        for value in self.class_of_value:
            distance = np.sqrt(((parts - _channels(np.array([value]))) ** 2).sum(axis=1))
            values, distances = np.where(distance < distances, value, values), np.minimum(distance, distances)
        return values, distances

    def name_of(self, value: int) -> str:
        """Return the name of the class that a known value represents."""
        number = self.class_of_value[value]
        return "void" if number == VOID else self.categories.names[number]


def read_mask_classes(path: Path) -> MaskClasses:
    """Read a YAML file of classes.

    The file looks like this::

        stuff:
          road: 1                                 # pixel value in the class maps
          plants: [2, 5]                          # several pixel values
        things:
          car: {pixels: 3, color: "#0000f0"}      # also the display color
          person: "#dc143c"                       # color of its pixels in colored class maps
        void: [0, 255]                            # pixels without a label; default: 0
        color_distance: 20                        # tolerance for pixel colors; default: 0

    Raises:
        FileNotFoundError: The file does not exist.
        SeamsegError: The file is malformed, a class or a pixel value appears twice, or there is no class.
    """
    content = _load(path)
    categories: list[Category] = []
    values: dict[int, int] = {}
    for key in ("stuff", "things"):
        named = content.get(key) or {}
        if not isinstance(named, dict):
            raise SettingsError(f"{path} lists no classes under `{key}:`; add at least one, {_EXAMPLE}")
        for name, entry in named.items():
            where = f"{path}, {name}"
            pixels, color = _pixels_and_color(entry, len(categories), where)
            _assign_class(values, pixels, len(categories), where)
            categories.append(Category(str(name), key == "things", color, len(categories) + 1))
    if not categories:
        raise SettingsError(f"{path} lists no classes under `stuff:` or `things:`; add at least one, {_EXAMPLE}")
    _assign_class(values, _values(content.get("void", [0]), f"{path}, void"), VOID, f"{path}, void")
    colored = _names_colors(content)
    distance = _distance(content.get("color_distance", 0), colored, path)
    try:
        return MaskClasses(Categories(tuple(categories)), values, colored, distance)
    except SeamsegError as error:
        raise SettingsError(f"{path}: {error}") from error


def _names_colors(content: dict[str, Any]) -> bool:
    """Whether any pixel values, including those of void, are colors."""
    classes = [entry for key in ("stuff", "things") for entry in (content.get(key) or {}).values()]
    entries = [*classes, content.get("void")]
    pixels = [entry.get("pixels") if isinstance(entry, dict) else entry for entry in entries]
    return any(_is_color(part) for entry in pixels for part in (entry if isinstance(entry, list) else [entry]))


def _distance(value: Any, colored: bool, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST_DISTANCE:
        raise SettingsError(f"{path}: color_distance must be a number in 0 … {_LARGEST_DISTANCE}, not {value!r}")
    if value and not colored:
        raise SettingsError(f"{path}: color_distance is {value}, but no class is given as a color; remove it")
    return float(value)


def _channels(colors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Split N colors into N×3 red, green and blue."""
    return np.stack([colors & 255, colors >> 8 & 255, colors >> 16], axis=1).astype(np.float64)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; create it to describe the classes in the masks")
    content = read_yaml(path)
    if not isinstance(content, dict) or not set(content) <= set(_KEYS):
        unknown = sorted(str(key) for key in content if key not in _KEYS) if isinstance(content, dict) else []
        raise SettingsError(f"{path} must be a mapping with the keys {', '.join(_KEYS)}" + _unknown_keys_text(unknown))
    return content


def _unknown_keys_text(unknown: list[str]) -> str:
    return f"; unknown: {', '.join(unknown)}" if unknown else ""


def _pixels_and_color(entry: Any, position: int, where: str) -> tuple[list[int], tuple[int, int, int]]:
    """Pixel values and display color of one class."""
    if not isinstance(entry, dict):
        values = _values(entry, where)
        return values, _rgb(values[0]) if _is_color(entry) else palette_color(position)
    if "pixels" not in entry or not set(entry) <= {"pixels", "color"}:
        raise SettingsError(
            f"{where}: expected the keys 'pixels' and optionally 'color', found {', '.join(map(str, entry)) or 'none'}"
        )
    values = _values(entry["pixels"], where)
    if "color" in entry and not _is_color(entry["color"]):
        raise SettingsError(f"{where}: the color {entry['color']!r} does not have the form '#rrggbb' (with quotes)")
    color = _rgb(_value(entry["color"], where)) if "color" in entry else palette_color(position)
    return values, color


def _values(entry: Any, where: str) -> list[int]:
    return [_value(part, where) for part in (entry if isinstance(entry, list) and entry else [entry])]


def _value(part: Any, where: str) -> int:
    if _is_color(part):
        return int(part[5:7] + part[3:5] + part[1:3], 16)
    if isinstance(part, bool) or not isinstance(part, int) or part < 0:
        raise SettingsError(
            f"{where}: expected a non-negative integer or a color in quotes, {_EXAMPLE}, found {part!r}"
        )
    return part


def _is_color(part: Any) -> bool:
    return isinstance(part, str) and _COLOR.fullmatch(part) is not None


def _rgb(value: int) -> tuple[int, int, int]:
    return value & 255, value >> 8 & 255, value >> 16


def _assign_class(values: dict[int, int], pixels: list[int], number: int, where: str) -> None:
    for value in pixels:
        if value in values:
            raise SettingsError(
                f"{where}: the pixel value {value} already belongs to another class; list each value only once"
            )
        values[value] = number


def _unknown_values_message(rows: list[tuple[int, int, float]], counts: dict[int, int], classes: MaskClasses) -> str:
    """Build the error message from unknown value, nearest known value and distance, the most frequent value first."""
    remedy = classes.remedy or f"assign them to classes in {CLASS_FILE}, or list them under void"
    if classes.colored:
        examples = [
            f"{color_text(value)} ({_pixels(counts[value])}, distance {distance:.0f} to {classes.name_of(other)})"
            for value, other, distance in rows[:_NUM_EXAMPLES]
        ]
        if classes.remedy is None:
            distance = math.ceil(max(row[2] for row in rows))
            remedy += f"; with `color_distance: {distance}`, all of them would count as the nearest class"
    else:
        shown = ((value, value if value < 2**16 else color_text(value)) for value, _, _ in rows[:_NUM_EXAMPLES])
        examples = [f"{text} ({_pixels(counts[value])})" for value, text in shown]
    more = f" and {len(rows) - _NUM_EXAMPLES:,} other values" if len(rows) > _NUM_EXAMPLES else ""
    return f"the values {', '.join(examples)}{more} do not belong to any class; {remedy}"


def _pixels(number: int) -> str:
    return f"{number:,} pixel{'' if number == 1 else 's'}"
