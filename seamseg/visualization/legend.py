"""Legend of the colors of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seamseg.structures.categories import VOID, Categories
from seamseg.visualization.colors import GRAY, INK, RULE, instance_shades
from seamseg.visualization.images import Picture
from seamseg.visualization.shapes import paste_rounded
from seamseg.visualization.text import BOLD, CAP_HEIGHT, draw_text, shorten, text_width


@dataclass(frozen=True)
class _Grid:
    """Entries in columns of equal width, to the right of a heading."""

    size: int
    heading: int
    columns: int
    entry: int

    @property
    def line(self) -> int:
        return round(self.size * 1.75)

    def lines(self, entries: int) -> int:
        return -(-entries // self.columns)


def legend_height(categories: Categories, classes: Sequence[int], width: int, size: int) -> int:
    """Return the height in pixels of a legend that :func:`draw_legend` draws with the same arguments."""
    sections = _sections(categories, classes)
    grid = _grid(categories, classes, width, size)
    lines = sum(grid.lines(len(members)) for _, members in sections)
    return lines * grid.line + len(sections) * _space(size)


def draw_legend(
    canvas: Picture, corner: tuple[int, int], categories: Categories, classes: Sequence[int], width: int, size: int
) -> None:
    """Draw a swatch and the name of each class into a picture, in place, with stuff above things.

    Args:
        canvas: Picture, H×W×3 uint8 RGB.
        corner: Top left pixel (y, x) of the legend.
        categories: Categories of the classes.
        classes: Classes to list, ascending; 255 is listed as void.
        width: Width of the legend in pixels.
        size: Font size in pixels.
    """
    y, x = corner
    canvas[y : y + max(1, size // 16), x : x + width] = RULE
    y += _space(size)
    grid = _grid(categories, classes, width, size)
    for heading, members in _sections(categories, classes):
        draw_text(canvas, heading, x, y + _baseline(grid), size, INK, BOLD)
        for position, number in enumerate(members):
            line, column = divmod(position, grid.columns)
            entry = (y + line * grid.line, x + grid.heading + column * grid.entry)
            _draw_entry(canvas, entry, categories, number, grid)
        y += grid.lines(len(members)) * grid.line + _space(size)


def _draw_entry(canvas: Picture, corner: tuple[int, int], categories: Categories, number: int, grid: _Grid) -> None:
    (y, x), size = corner, grid.size
    swatch = _swatch(categories, number, size)
    paste_rounded(canvas, swatch, y + (grid.line - size) // 2, x, size // 5)
    left = x + swatch.shape[1] + size // 2
    name = shorten(_name(categories, number), grid.entry - swatch.shape[1] - size, size)
    draw_text(canvas, name, left, y + _baseline(grid), size, GRAY)


def _swatch(categories: Categories, number: int, size: int) -> Picture:
    """Return a swatch: the color of a stuff class, three instance shades of a thing class, or dark stripes for void."""
    swatch = np.zeros((size, round(1.5 * size), 3), np.uint8)
    if number == VOID:
        phase = np.add.outer(np.arange(swatch.shape[0]), np.arange(swatch.shape[1])) % max(4, size // 2)
        swatch[:] = np.where(phase < max(1, size // 8), 120, 90)[:, :, None]
        return swatch
    color = np.array([categories.classes[number].color], np.uint8)
    swatch[:] = color
    if categories.classes[number].is_thing:
        shades = instance_shades(color.repeat(3, axis=0), np.array([2, 4, 1]))
        for part, shade in zip(np.array_split(np.arange(swatch.shape[1]), 3), shades, strict=True):
            swatch[:, part] = shade
    return swatch


def _grid(categories: Categories, classes: Sequence[int], width: int, size: int) -> _Grid:
    heading = round(text_width("Things", size, BOLD) + 1.5 * size)
    longest = max(text_width(_name(categories, number), size) for number in classes)
    columns = max(1, (width - heading) // (longest + round(3.5 * size)))
    return _Grid(size, heading, columns, (width - heading) // columns)


def _sections(categories: Categories, classes: Sequence[int]) -> list[tuple[str, list[int]]]:
    things = [number for number in classes if categories.num_stuff <= number < VOID]
    rest = [number for number in classes if number not in things]
    return [(heading, members) for heading, members in (("Stuff", rest), ("Things", things)) if members]


def _name(categories: Categories, number: int) -> str:
    return "void" if number == VOID else categories.classes[number].name


def _baseline(grid: _Grid) -> int:
    return (grid.line + round(CAP_HEIGHT * grid.size)) // 2


def _space(size: int) -> int:
    return round(0.9 * size)
