"""Objects of a large image, joined from the detections of overlapping tiles.

Two detections of one class from two tiles are the same object if their masks agree where both tiles see them: the
intersection over union (IoU) of the masks within the overlap of the tiles exceeds ½. Pairs are joined by descending
IoU. Joins are transitive, so an object may extend over any number of tiles. An object has at most one detection per
tile, so two objects that one tile distinguishes stay two.

A detection that is cut by the edge of its tile and lies in the overlap is a fragment if it does not agree with a larger
object of its class that the other tile sees, but this object covers more than half of it. Objects that consist of
fragments are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.algos.tiles import TileGrid, Window, intersection, within
from seamseg.ops.fusion import Patch, paste_mask, windows
from seamseg.structures import Detections

JOIN_IOU = 0.5
"""IoU within the overlap of two tiles that two detections of the same object exceed."""

FRAGMENT_COVER = 0.5
"""Fraction of a cut detection that another object must cover to replace it."""

_EDGE = 1 / 64
"""Maximum distance of a cut detection from the edge of its tile, relative to the tile."""


@dataclass(frozen=True)
class TileObject:
    """Detection of one tile, in pixels of the image.

    Attributes:
        tile: Number of the tile.
        category: Class, 0-based among the things.
        score: Score in 0 … 1.
        box: Predicted box (y0, x0, y1, x1).
        window: Pixels inside the box.
        bits: Mask of these pixels, row by row, eight pixels per byte; None from a network without masks.
    """

    tile: int
    category: int
    score: float
    box: tuple[float, ...]
    window: Window
    bits: NDArray[np.uint8] | None

    def mask(self) -> NDArray[np.bool_]:
        """Return the mask of the window, h×w; True everywhere from a network without masks."""
        shape = self.window[2] - self.window[0], self.window[3] - self.window[1]
        if self.bits is None:
            return np.broadcast_to(np.True_, shape)
        return np.unpackbits(self.bits, count=shape[0] * shape[1]).reshape(shape).view(np.bool_)


@dataclass(frozen=True)
class JoinedObject:
    """Object of a large image.

    Attributes:
        parts: Its detections, one or more of different tiles, the one with the highest score first.
        grid: Tiles of the image.
    """

    parts: tuple[TileObject, ...]
    grid: TileGrid

    @property
    def category(self) -> int:
        """Class, 0-based among the things."""
        return self.parts[0].category

    @property
    def score(self) -> float:
        """Highest score of the parts."""
        return self.parts[0].score

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Box (y0, x0, y1, x1) around the boxes of all parts, in pixels of the image."""
        y0, x0, y1, x1 = zip(*(part.box for part in self.parts), strict=True)
        return min(y0), min(x0), max(y1), max(x1)

    @property
    def has_mask(self) -> bool:
        """Whether the network predicts masks."""
        return self.parts[0].bits is not None

    def patch(self) -> Patch:
        """Return the pixels of the object.

        Each pixel is decided by one of the tiles with a detection of this object: the one in which it is most central.
        """
        if len(self.parts) == 1:
            window = self.parts[0].window
            return Patch(torch.from_numpy(self.parts[0].mask().copy()), window[0], window[1])
        y0, x0, y1, x1 = zip(*(part.window for part in self.parts), strict=True)
        frame = min(y0), min(x0), max(y1), max(x1)
        mask = np.zeros((frame[2] - frame[0], frame[3] - frame[1]), np.bool_)
        most = np.zeros(mask.shape, np.float32)
        for part in self.parts:
            seen = intersection(self.grid.window(part.tile), frame)
            centrality, inside = self.grid.centrality(part.tile, seen), within(seen, frame)
            shown = np.zeros(centrality.shape, np.bool_)
            shown[within(part.window, seen)] = part.mask()
            decides = centrality > most[inside]
            mask[inside][decides] = shown[decides]
            most[inside][decides] = centrality[decides]
        return Patch(torch.from_numpy(mask), frame[0], frame[1])


class ObjectJoiner:
    """Collect the detections of all tiles of an image, and join the parts of each object.

    Args:
        grid: Tiles of the image.
    """

    def __init__(self, grid: TileGrid) -> None:
        self.grid = grid
        self._parts: list[TileObject] = []
        self._of_tile: dict[int, range] = {}
        self._pairs: list[tuple[float, int, int]] = []
        self._fragments: set[int] = set()

    def add(self, number: int, detections: Detections) -> None:
        """Add the next tile, and compare its detections with those of earlier tiles.

        Args:
            number: Number of the tile.
            detections: Detections of the tile, with boxes in its pixels.
        """
        first = len(self._parts)
        self._parts += _tile_objects(number, detections.cpu(), self.grid)
        self._of_tile[number] = range(first, len(self._parts))
        masks = _Masks(self._parts)
        for other in self.grid.earlier_neighbors(number):
            overlap = intersection(self.grid.window(number), self.grid.window(other))
            for earlier, index in self._candidates(other, number, overlap):
                self._compare(earlier, index, overlap, masks)

    def _candidates(self, tile: int, other: int, overlap: Window) -> list[tuple[int, int]]:
        """Return pairs of detections of two tiles that have the same class and whose windows meet in the overlap."""
        rows = [self._of_tile[number] for number in (tile, other)]
        ours, theirs = (
            np.array([(*part.window, part.category) for part in self._parts[of.start : of.stop]]).reshape(-1, 5)
            for of in rows
        )
        low = np.maximum(ours[:, None, :2], theirs[None, :, :2]).clip(min=overlap[:2])
        high = np.minimum(ours[:, None, 2:4], theirs[None, :, 2:4]).clip(max=overlap[2:])
        meets = (low < high).all(axis=2) & (ours[:, None, 4] == theirs[None, :, 4])
        return [(rows[0].start + one, rows[1].start + two) for one, two in np.argwhere(meets).tolist()]

    def _compare(self, one: int, other: int, overlap: Window, masks: _Masks) -> None:
        both = intersection(self._parts[one].window, intersection(self._parts[other].window, overlap))
        common = int(np.count_nonzero(masks.part(one, both) & masks.part(other, both)))
        if common == 0:
            return
        areas = [masks.area(index, intersection(self._parts[index].window, overlap)) for index in (one, other)]
        iou = common / (sum(areas) - common)
        if iou > JOIN_IOU:
            self._pairs.append((iou, one, other))
            return
        for index, area, whole in ((one, areas[0], other), (other, areas[1], one)):
            is_fragment = common > FRAGMENT_COVER * area and self._is_cut(index)
            if is_fragment and self._is_inside(index, overlap) and not self._is_inside(whole, overlap):
                self._fragments.add(index)

    def _is_inside(self, index: int, window: Window) -> bool:
        return intersection(self._parts[index].window, window) == self._parts[index].window

    def _is_cut(self, index: int) -> bool:
        """Return whether a detection reaches an edge of its tile inside the image, where the object may continue."""
        part = self._parts[index]
        tile, inner = self.grid.window(part.tile), self.grid.is_inner_edge(part.tile)
        margins = [max(1.0, _EDGE * length) for length in self.grid.tile]
        return any(inner[side] and abs(part.window[side] - tile[side]) <= margins[side % 2] for side in range(4))

    def joined(self) -> list[JoinedObject]:
        """Return the objects of the image by descending score."""
        groups: list[list[int]] = [[index] for index in range(len(self._parts))]
        for _, one, other in sorted(self._pairs, key=lambda pair: (-pair[0], pair[1:])):
            first, second = groups[one], groups[other]
            tiles = [self._parts[index].tile for index in {*first, *second}]
            if first is not second and len(set(tiles)) == len(tiles):
                first += second
                for index in second:
                    groups[index] = first
        distinct = [group for index, group in enumerate(groups) if group[0] == index]
        whole = [group for group in distinct if not self._fragments.issuperset(group)]
        found = [JoinedObject(self._best_first(group), self.grid) for group in whole]
        return sorted(found, key=lambda one: -one.score)

    def _best_first(self, group: Sequence[int]) -> tuple[TileObject, ...]:
        return tuple(sorted((self._parts[index] for index in group), key=lambda part: -part.score))


class _Masks:
    """Unpacked masks of the objects that are compared with the objects of one tile."""

    def __init__(self, parts: Sequence[TileObject]) -> None:
        self._parts = parts
        self._masks: dict[int, NDArray[np.bool_]] = {}

    def part(self, index: int, window: Window) -> NDArray[np.bool_]:
        """Return the mask of an object in a part of its window."""
        if index not in self._masks:
            self._masks[index] = self._parts[index].mask()
        return self._masks[index][within(window, self._parts[index].window)]

    def area(self, index: int, window: Window) -> int:
        """Return the number of pixels of an object in a part of its window."""
        return int(np.count_nonzero(self.part(index, window)))


def _tile_objects(number: int, detections: Detections, grid: TileGrid) -> list[TileObject]:
    """Return the detections of a tile in pixels of the image."""
    top, left, _, _ = grid.window(number)
    places = windows(detections.boxes, grid.tile).tolist()
    boxes, classes, scores = detections.boxes.tolist(), detections.classes.tolist(), detections.scores.tolist()
    found = []
    for index, (place, box) in enumerate(zip(places, boxes, strict=True)):
        bits = None
        if detections.has_masks:
            bits = np.packbits(paste_mask(detections.masks[index], detections.boxes[index], grid.tile).mask.numpy())
        y0, x0, y1, x1 = place
        window = y0 + top, x0 + left, y1 + top, x1 + left
        moved = box[0] + top, box[1] + left, box[2] + top, box[3] + left
        found.append(TileObject(number, classes[index], scores[index], moved, window, bits))
    return found
