"""Categories and segments of the synthetic scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seamseg.structures.categories import Categories, Category

SCENE_CATEGORIES = Categories(
    (
        Category("sky", False, (120, 178, 224), 1),
        Category("building", False, (150, 120, 110), 2),
        Category("road", False, (128, 64, 128), 3),
        Category("pavement", False, (236, 160, 210), 4),
        Category("vegetation", False, (88, 150, 60), 5),
        Category("car", True, (40, 60, 190), 6),
        Category("person", True, (220, 40, 70), 7),
        Category("sign", True, (240, 210, 40), 8),
        Category("light", True, (250, 150, 30), 9),
    )
)
"""Five kinds of stuff and four kinds of things; a tree's trunk and grass are vegetation, posts and clutter are void."""


MIN_PIXELS = 24
MIN_SHARE = 0.0005
"""Share of the picture below which a segment is void."""
MIN_VISIBLE = 0.25
"""Share of an object that must be in sight, else it is void."""


@dataclass(frozen=True)
class Owner:
    """What an owner number stands for.

    Attributes:
        name: of its class.
        crowd: whether it is many objects at once.
        full_area: pixels of the drawing that it covers with nothing before it.
    """

    name: str
    crowd: bool
    full_area: int


@dataclass(frozen=True)
class Segment:
    """One segment of a scene.

    Attributes:
        id: its value in the id map.
        name: of its class.
        crowd: whether it is many objects at once.
        area: its pixels.
    """

    id: int
    name: str
    crowd: bool
    area: int


def label(
    owners: npt.NDArray[np.uint16], known: Mapping[int, Owner], drawn_per_pixel: int
) -> tuple[npt.NDArray[np.int32], tuple[Segment, ...]]:
    """The id map and its segments.

    Args:
        owners: H×W, the owner of every pixel.
        known: what the owner numbers stand for; others are void.
        drawn_per_pixel: how many pixels of the drawing, in which full areas are counted, make one.

    Returns:
        H×W int32 ids (0 is void) and the segments, by rising id 1 … K.
    """
    areas = np.bincount(owners.reshape(-1), minlength=max(known, default=0) + 1)
    smallest = max(MIN_PIXELS, MIN_SHARE * owners.size)
    number_of = np.zeros(len(areas), np.int32)
    segments: list[Segment] = []
    for number, owner in sorted(known.items()):
        if areas[number] >= max(smallest, MIN_VISIBLE * owner.full_area / drawn_per_pixel):
            number_of[number] = len(segments) + 1
            segments.append(Segment(len(segments) + 1, owner.name, owner.crowd, int(areas[number])))
    return number_of[owners], tuple(segments)
