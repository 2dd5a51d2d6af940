"""Classes of the pixels of a large image, from the class scores of overlapping tiles.

Where several tiles see a pixel, their scores are averaged, each with a weight that falls towards the edges of its tile.
If all of them have the largest score for the same class, so has the average. Therefore scores are only enlarged for the
pixels about which tiles disagree.

Pixels are decided as soon as no later tile sees them. Of earlier tiles, only the rows that later tiles overlap stay in
memory, so that the memory does not depend on the height of the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from seamseg.algos.tiles import TileGrid, Window, edge_distances, intersection, within
from seamseg.ops.fusion import score_step, taps, upsample_argmax
from seamseg.structures import VOID, SemanticLogits

CHUNK_BYTES = 1 << 22
"""Maximum size of the enlarged class scores, in float32, that are computed at once."""


@dataclass(frozen=True)
class _Tile:
    """Part of a tile that is needed: the rows from one row on.

    Attributes:
        number: Number of the tile.
        window: Pixels of the image.
        classes: h×w uint8, the class of each of these pixels.
        logits: C×r×c logits, the rows from ``first`` on.
        first: First row of the logits that is kept.
        num_rows: Number of rows of all logits of the tile.
        steps: Number of rows and of columns of the logits per pixel.
    """

    number: int
    window: Window
    classes: Tensor
    logits: Tensor
    first: int
    num_rows: int
    steps: tuple[float, float]

    def below(self, row: int, top: int) -> _Tile | None:
        """Return what is needed for the pixels from a row of the image on; None if it is nothing.

        Args:
            row: Row of the image.
            top: First row of the tile.
        """
        y0, x0, y1, x1 = self.window
        if row <= y0:
            return self
        if row >= y1:
            return None
        before, _ = taps(torch.tensor([row - top]), self.steps[0], self.num_rows)
        first = int(before)
        logits = self.logits[:, first - self.first :].clone()
        return _Tile(
            self.number, (row, x0, y1, x1), self.classes[row - y0 :].clone(), logits, first, self.num_rows, self.steps
        )


class TileClasses:
    """Class of every pixel of a large image. Tiles are added one after the other, in their order.

    Args:
        grid: Tiles of the image.

    Attributes:
        classes: H×W uint8 on the CPU; 255 for pixels that are not decided yet, and without class scores.
    """

    def __init__(self, grid: TileGrid) -> None:
        self.grid = grid
        self.classes = torch.full(grid.size, VOID, dtype=torch.uint8)
        self._tiles: list[_Tile] = []

    def add(self, number: int, semantics: SemanticLogits) -> None:
        """Add the next tile, and decide all pixels that no later tile covers.

        Args:
            number: Number of the tile.
            semantics: Class scores of the tile.
        """
        if not semantics.has_classes:
            return
        steps = score_step(semantics, self.grid.tile, 0), score_step(semantics, self.grid.tile, 1)
        classes = upsample_argmax(semantics, self.grid.tile).to(torch.uint8).cpu()
        logits = semantics.logits
        self._tiles.append(_Tile(number, self.grid.window(number), classes, logits, 0, logits.shape[1], steps))
        region = self.grid.region(number)
        for cell, tiles in _cells(region, self._tiles):
            self._decide(cell, tiles)
        self._forget(region)

    def _forget(self, region: Window) -> None:
        """Free what the tiles after the one with this region do not need."""
        is_last = region[3] == self.grid.size[1]
        kept = []
        for tile in self._tiles:
            row = region[2] if is_last or tile.window[3] <= region[3] else region[0]
            kept.append(tile.below(row, self.grid.window(tile.number)[0]))
        self._tiles = [tile for tile in kept if tile is not None]

    def _decide(self, cell: Window, tiles: Sequence[_Tile]) -> None:
        """Set the classes of pixels that the same tiles cover."""
        first, *others = (tile.classes[within(cell, tile.window)] for tile in tiles)
        target = self.classes[within(cell, (0, 0, *self.grid.size))]
        target.copy_(first)
        differs = torch.zeros_like(first, dtype=torch.bool)
        for other in others:
            differs |= other != first
        num_points = max(1, CHUNK_BYTES // (4 * len(tiles[0].logits)))
        for points in torch.split(differs.nonzero(), num_points):
            rows, columns = points.unbind(1)
            target[rows, columns] = self._blended(tiles, rows + cell[0], columns + cell[1])

    def _blended(self, tiles: Sequence[_Tile], rows: Tensor, columns: Tensor) -> Tensor:
        """Return the classes with the largest weighted sums of scores, P uint8."""
        total: Tensor | None = None
        heights, widths = (torch.from_numpy(edge_distances(length)) for length in self.grid.tile)
        for tile in tiles:
            top, left, _, _ = self.grid.window(tile.number)
            weights = (heights[rows - top] * widths[columns - left]).to(tile.logits.device)
            scores = _sampled(tile, rows - top, columns - left).mul_(weights)
            total = scores if total is None else total.add_(scores)
        assert total is not None, "every pixel is in a tile"
        return total.argmax(dim=0).to(torch.uint8).cpu()


def _cells(region: Window, tiles: Sequence[_Tile]) -> Iterator[tuple[Window, list[_Tile]]]:
    """Divide a region into windows that the same tiles cover, and yield each with its tiles."""
    shared = [(intersection(region, tile.window), tile) for tile in tiles]
    shared = [(window, tile) for window, tile in shared if window[0] < window[2] and window[1] < window[3]]
    rows, columns = (sorted({edge for window, _ in shared for edge in window[axis::2]}) for axis in (0, 1))
    for y0, y1 in pairwise(rows):
        for x0, x1 in pairwise(columns):
            cell = y0, x0, y1, x1
            yield cell, [tile for window, tile in shared if intersection(window, cell) == cell]


def _sampled(tile: _Tile, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the scores at P pixels of a tile by bilinear interpolation, C×P float32 on the device of the logits."""
    num_columns, device = tile.logits.shape[2], tile.logits.device
    y0, y_share = taps(rows, tile.steps[0], tile.num_rows)
    x0, x_share = taps(columns, tile.steps[1], num_columns)
    y1, x1 = (y0 + 1).clamp(max=tile.num_rows - 1), (x0 + 1).clamp(max=num_columns - 1)
    flat, lowest = tile.logits.flatten(1), torch.finfo(torch.float32).min
    total: Tensor | None = None
    for y, wy in ((y0, 1 - y_share), (y1, y_share)):
        for x, wx in ((x0, 1 - x_share), (x1, x_share)):
            values = flat[:, ((y - tile.first) * num_columns + x).to(device)].float()
            corner = torch.nan_to_num(values, nan=lowest).mul_((wy * wx).float().to(device))
            total = corner if total is None else total.add_(corner)
    assert total is not None
    return total
