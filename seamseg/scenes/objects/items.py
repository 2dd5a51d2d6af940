"""Interface of all objects in the street, and the order in which they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from seamseg.scenes.drawing.camera import Footprint, Points
from seamseg.scenes.drawing.painter import Painter


class Item(Protocol):
    """An object placed in the street; the classes of single objects inherit from it."""

    @property
    def category(self) -> str:
        """Name of the class, or ``"void"``."""
        ...

    @property
    def crowd(self) -> bool:
        """Whether the item is a group of objects that are not labeled individually; by default, it is one object."""
        return False

    @property
    def footprint(self) -> Footprint:
        """Rectangle on the ground that the item covers."""
        ...

    def feet(self) -> list[Footprint]:
        """Footprints of the places where the item darkens the ground below it; by default, its own footprint."""
        return [self.footprint]

    def casters(self) -> list[Points]:
        """World points (N×3 each); the convex hull of each array casts a shadow on the ground."""
        ...

    def draw(self, painter: Painter) -> None:
        """Draw the item; its labeled pixels get the painter's owner."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


def far_to_near(items: Sequence[ItemT], eye: float, along: float = 0.0) -> list[ItemT]:
    """Sort items for drawing, so that nearer items cover farther ones.

    Args:
        items: Items in arbitrary order.
        eye: Camera position in meters to the right of the middle of the road.
        along: Camera position in meters along the street.
    """
    left = sorted(items, key=lambda item: -float(np.hypot(*(item.footprint.center[[0, 2]] - (eye, along)))))
    ordered: list[ItemT] = []
    while left:
        free = (item for item in left if not any(_hides(item, other, eye) for other in left if other is not item))
        chosen = next(free, left[0])
        left.remove(chosen)
        ordered.append(chosen)
    return ordered


def _hides(item: Item, other: Item, eye: float) -> bool:
    """Whether ``item`` is certainly in front of ``other``: nearer, or side by side and closer to the view axis."""
    one, two = item.footprint, other.footprint
    if one.far <= two.near or two.far <= one.near:
        return one.far <= two.near
    if one.right <= two.left:
        return one.right > eye
    if two.right <= one.left:
        return one.left < eye
    return False
