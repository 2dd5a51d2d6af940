"""Copy-paste with sets of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oracles.pixel_sets import Pixels

from seamseg.structures import LayeredSegmentation

Colors = list[list[list[int]]]
"""Red, green and blue of each pixel, by row and column."""


@dataclass
class Segment:
    """Segment with its pixels, which other segments may share."""

    pixels: Pixels
    class_index: int
    crowd: bool

    @property
    def box(self) -> list[int]:
        rows, columns = [y for y, _ in self.pixels], [x for _, x in self.pixels]
        return [min(rows), min(columns), max(rows) + 1, max(columns) + 1]


def segments_of(annotation: LayeredSegmentation) -> list[Segment]:
    """Return segments 1 … K, and check that each lies in one layer."""
    found: dict[int, set[tuple[int, int, int]]] = {}
    for layer, ids in enumerate(annotation.ids.tolist()):
        for y, row in enumerate(ids):
            for x, segment in enumerate(row):
                found.setdefault(segment, set()).add((layer, y, x))
    segments = []
    for segment in range(1, len(annotation.classes)):
        places = found.get(segment, set())
        assert len({layer for layer, _, _ in places}) <= 1, "a segment lies in one layer"
        pixels = {(y, x) for _, y, x in places}
        segments.append(Segment(pixels, int(annotation.classes[segment]), bool(annotation.crowd[segment])))
    return segments


def copy_paste(
    colors: Colors,
    segments: Sequence[Segment],
    source_colors: Colors,
    source_segments: Sequence[Segment],
    min_visible: float,
) -> tuple[Colors, list[Segment]]:
    """Paste all segments of the source that are given, pixel by pixel."""
    height, width = len(colors), len(colors[0])
    result = [[list(color) for color in row] for row in colors]
    covered: Pixels = set()
    for segment in source_segments:
        for y, x in segment.pixels:
            if y < height and x < width:
                result[y][x] = source_colors[y][x]
                covered.add((y, x))
    left = []
    for segment in segments:
        visible = {pixel for pixel in segment.pixels if pixel not in covered}
        few = len(visible) < min_visible * len(segment.pixels)
        left.append(Segment(visible, segment.class_index, segment.crowd or few))
    for segment in source_segments:
        fitting = {(y, x) for y, x in segment.pixels if y < height and x < width}
        left.append(Segment(fitting, segment.class_index, segment.crowd))
    return result, [segment for segment in left if segment.pixels]
