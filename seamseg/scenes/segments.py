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
"""Five stuff and four thing classes. Trunks and grass are vegetation; posts and clutter are void."""


MIN_PIXELS = 24
"""Minimum area of a segment in pixels. Smaller segments become void."""
MIN_SHARE = 0.0005
"""Minimum area of a segment as a fraction of the picture. Smaller segments become void."""
MIN_VISIBLE = 0.25
"""Minimum visible fraction of an object. Objects that are covered more become void."""


@dataclass(frozen=True)
class Owner:
    """Object or stuff class with an owner number.

    Attributes:
        name: Name of the class.
        crowd: Whether the owner is a group of objects.
        full_area: Number of pixels in the drawing, including pixels that nearer objects cover later. 0 for stuff.
    """

    name: str
    crowd: bool
    full_area: int


@dataclass(frozen=True)
class Segment:
    """One segment of a scene.

    Attributes:
        id: Value in the id map.
        name: Name of the class.
        crowd: Whether the segment is a group of objects.
        area: Number of pixels.
        owner: Number of the owner; the same for one object in all frames of a drive.
    """

    id: int
    name: str
    crowd: bool
    area: int
    owner: int


def label(
    owners: npt.NDArray[np.uint16], known: Mapping[int, Owner], drawn_per_pixel: int
) -> tuple[npt.NDArray[np.int32], tuple[Segment, ...]]:
    """Convert owner numbers to an id map and its segments.

    Args:
        owners: H×W owner number of each pixel.
        known: Owners by number. Other numbers become void.
        drawn_per_pixel: Number of pixels in the drawing per pixel of ``owners``. Full areas are counted in the drawing.

    Returns:
        The H×W int32 ids (0 for void) and the segments with ascending ids 1 … K.
    """
    areas = np.bincount(owners.reshape(-1), minlength=max(known, default=0) + 1)
    smallest = max(MIN_PIXELS, MIN_SHARE * owners.size)
    number_of = np.zeros(len(areas), np.int32)
    segments: list[Segment] = []
    for number, owner in sorted(known.items()):
        if areas[number] >= max(smallest, MIN_VISIBLE * owner.full_area / drawn_per_pixel):
            number_of[number] = len(segments) + 1
            segments.append(Segment(len(segments) + 1, owner.name, owner.crowd, int(areas[number]), number))
    return number_of[owners], tuple(segments)
