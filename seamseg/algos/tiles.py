"""Tiles of a large image: overlapping windows of one size that together cover it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seamseg.errors import SettingsError
from seamseg.structures import Size

Window = tuple[int, int, int, int]
"""Window (y0, x0, y1, x1) in pixels, half-open."""


@dataclass(frozen=True)
class Tiling:
    """Size and overlap of tiles.

    Attributes:
        tile: Height and width of a tile, in pixels of the image.
        overlap: Minimum overlap of neighboring tiles in pixels, at most half of a tile's shorter side. Tiles are spread
            evenly over an image, so they may overlap more.

    Raises:
        SeamsegError: A side or the overlap is out of range.
    """

    tile: Size
    overlap: int

    def __post_init__(self) -> None:
        height, width = self.tile
        if min(self.tile) < 1:
            raise SettingsError(f"a tile must have at least 1×1 pixels, not {height}×{width}")
        if not 0 <= self.overlap <= min(self.tile) // 2:
            raise SettingsError(
                f"the overlap of tiles of {height}×{width} pixels must be in 0 … {min(self.tile) // 2} pixels, half of "
                f"the shorter side, not {self.overlap}"
            )

    def covers(self, size: Size) -> bool:
        """Return whether one tile covers an image of this height and width."""
        return size[0] <= self.tile[0] and size[1] <= self.tile[1]

    def grid(self, size: Size) -> TileGrid:
        """Return the tiles of an image of this height and width."""
        tile = min(self.tile[0], size[0]), min(self.tile[1], size[1])
        rows, columns = (_starts(whole, part, self.overlap) for whole, part in zip(size, tile, strict=True))
        return TileGrid(size, tile, rows, columns)


def _starts(whole: int, part: int, overlap: int) -> tuple[int, ...]:
    """Return the first pixels of as few parts as possible, spread evenly over an axis."""
    if part == whole:
        return (0,)
    number = -(-(whole - overlap) // (part - overlap))
    return tuple(index * (whole - part) // (number - 1) for index in range(number))


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one image, numbered row by row. All of them have the same size.

    Attributes:
        size: Height and width of the image.
        tile: Height and width of a tile; at most those of the image.
        rows: First pixel row of each row of tiles, ascending.
        columns: First pixel column of each column of tiles, ascending.

    Example:
        >>> from seamseg.algos.tiles import Tiling
        >>> grid = Tiling(tile=(64, 64), overlap=16).grid((64, 150))
        >>> grid.columns
        (0, 43, 86)
        >>> grid.window(1), grid.region(1)
        ((0, 43, 64, 107), (0, 43, 64, 86))
    """

    size: Size
    tile: Size
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def window(self, number: int) -> Window:
        """Return the pixels of a tile."""
        row, column = divmod(number, len(self.columns))
        y0, x0 = self.rows[row], self.columns[column]
        return y0, x0, y0 + self.tile[0], x0 + self.tile[1]

    def region(self, number: int) -> Window:
        """Return the pixels of a tile that no later tile covers.

        The regions of all tiles cover the image without overlap. Only this tile and earlier ones cover its region.
        """
        row, column = divmod(number, len(self.columns))
        y0, x0, _, _ = self.window(number)
        return y0, x0, self._next(self.rows, row, self.size[0]), self._next(self.columns, column, self.size[1])

    @staticmethod
    def _next(starts: tuple[int, ...], index: int, end: int) -> int:
        return starts[index + 1] if index + 1 < len(starts) else end

    def earlier_neighbors(self, number: int) -> Iterator[int]:
        """Yield the earlier tiles that share pixels with a tile."""
        y0, x0, _, x1 = self.window(number)
        for row, top in enumerate(self.rows):
            for column, left in enumerate(self.columns):
                other = row * len(self.columns) + column
                if other < number and top + self.tile[0] > y0 and left < x1 and left + self.tile[1] > x0:
                    yield other

    def is_inner_edge(self, number: int) -> tuple[bool, bool, bool, bool]:
        """Return whether top, left, bottom and right edge of a tile are inside the image."""
        y0, x0, y1, x1 = self.window(number)
        return y0 > 0, x0 > 0, y1 < self.size[0], x1 < self.size[1]

    def centrality(self, number: int, window: Window) -> NDArray[np.float32]:
        """Return how central the pixels of a window are in a tile.

        It is the product of the distances to the nearest horizontal and the nearest vertical edge of the tile. As
        weights of two neighbors, these values change linearly from one tile to the other across their overlap.

        Args:
            number: Tile.
            window: Window inside the tile, in pixels of the image.

        Returns:
            h×w, greater than 0.
        """
        top, left, _, _ = self.window(number)
        rows, columns = (edge_distances(length) for length in self.tile)
        return np.asarray(
            rows[window[0] - top : window[2] - top, None] * columns[None, window[1] - left : window[3] - left]
        )


@lru_cache(maxsize=8)
def edge_distances(length: int) -> NDArray[np.float32]:
    """Return the distance of the center of each pixel of a side to the nearer end of the side."""
    centers = np.arange(length, dtype=np.float32) + np.float32(0.5)
    return np.asarray(np.minimum(centers, length - centers))


def intersection(one: Window, other: Window) -> Window:
    """Return the common pixels of two windows; a window without pixels starts where it ends."""
    y0, x0 = max(one[0], other[0]), max(one[1], other[1])
    return y0, x0, max(y0, min(one[2], other[2])), max(x0, min(one[3], other[3]))


def within(window: Window, frame: Window) -> tuple[slice, slice]:
    """Return the slices of a window in an array that holds the pixels of a frame."""
    return slice(window[0] - frame[0], window[2] - frame[0]), slice(window[1] - frame[1], window[3] - frame[1])
