"""What everything that stands in the street can do, and who hides whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from seamseg.scenes.drawing.camera import Footprint, Points
from seamseg.scenes.drawing.painter import Painter


class Item(Protocol):
    """Something that stands in the street.

    Attributes:
        category: name of its class, or ``"void"``.
        crowd: whether it stands for many objects that nobody told apart.
        footprint: where it stands.
    """

    @property
    def category(self) -> str: ...
    @property
    def crowd(self) -> bool: ...
    @property
    def footprint(self) -> Footprint: ...
    def feet(self) -> list[Footprint]:
        """Where it darkens the ground under it."""
        ...

    def casters(self) -> list[Points]:
        """World points (N×3 each), the shadow of whose convex hulls falls on the ground."""
        ...

    def draw(self, painter: Painter) -> None:
        """Draws it; its own pixels go to the painter's owner."""
        ...


Stands = TypeVar("Stands", bound=Item)


def far_to_near(items: Sequence[Stands], eye: float) -> list[Stands]:
    """The order in which to draw, so that what is in front covers what is behind.

    Args:
        items: in any order.
        eye: meters right of the road's middle where the camera is.
    """
    left = sorted(items, key=lambda item: -float(np.hypot(*(item.footprint.center[[0, 2]] - (eye, 0)))))
    ordered: list[Stands] = []
    while left:
        free = (item for item in left if not any(_hides(item, other, eye) for other in left if other is not item))
        chosen = next(free, left[0])
        left.remove(chosen)
        ordered.append(chosen)
    return ordered


def _hides(item: Item, other: Item, eye: float) -> bool:
    """Whether ``item`` is certainly before ``other``: nearer, or, side by side, closer to the line of sight."""
    one, two = item.footprint, other.footprint
    if one.far <= two.near or two.far <= one.near:
        return one.far <= two.near
    if one.right <= two.left:
        return one.right > eye
    if two.right <= one.left:
        return one.left < eye
    return False
