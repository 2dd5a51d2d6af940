"""The segments of one image on their way into a panoptic data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.coco_writer import measure_segments
from seamseg.data.png import MAX_SEGMENT_ID
from seamseg.structures import Categories
from seamseg.structures.categories import Color


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Who owns every pixel, with the ids that the PNG shall have.

    Attributes:
        ids: H×W int32, 0 is void.
        category_ids: the data set's number of the class, for every id but 0; ids without a pixel may be among them.
        crowd: ids that stand for many objects.
    """

    ids: NDArray[np.int32]
    category_ids: dict[int, int]
    crowd: frozenset[int] = frozenset()

    def segments_info(self) -> list[dict[str, Any]]:
        """The segments that have a pixel as COCO panoptic describes them, in the order of ``category_ids``."""
        measures = measure_segments(self.ids).without_void()
        rows = zip(measures.areas.tolist(), measures.coco_boxes().tolist(), strict=True)
        measured = dict(zip(measures.ids.tolist(), rows, strict=True))
        return [
            {
                "id": number,
                "category_id": category,
                "area": measured[number][0],
                "bbox": measured[number][1],
                "iscrowd": int(number in self.crowd),
            }
            for number, category in self.category_ids.items()
            if number in measured
        ]


def color_ids(categories: Categories, classes: Iterable[int]) -> list[int]:
    """An id for each segment, all different: as a colour it is near that of its class, so that people can read the PNG.

    Args:
        categories: of the data set.
        classes: of the segments.
    """
    used, steps, ids = {0}, Counter[Color](), []
    for number in classes:
        color = categories.classes[number].color
        while (candidate := _shade(color, steps[color])) in used:
            steps[color] += 1
        used.add(candidate)
        ids.append(candidate)
    return ids


def _shade(color: Color, step: int) -> int:
    """Neighbours of a colour as ids; all 2²⁴ of them before one comes again."""
    if step < 16**3:
        red, green, blue = ((part + 5 * digit) % 256 for part, digit in zip(color, _digits(step), strict=True))
        return red + 256 * green + 65536 * blue
    return (step * 0x9E3779 + color[0]) & MAX_SEGMENT_ID


def _digits(step: int) -> tuple[int, int, int]:
    return step % 16, step // 16 % 16, step // 256
