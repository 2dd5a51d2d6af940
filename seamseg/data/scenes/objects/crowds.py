"""Groups that are labelled as one: people standing close, cars parked in a row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from seamseg.data.scenes.drawing.camera import Points
from seamseg.data.scenes.drawing.footprint import Footprint
from seamseg.data.scenes.drawing.painter import Painter
from seamseg.data.scenes.objects.cars import Car
from seamseg.data.scenes.objects.items import far_to_near
from seamseg.data.scenes.objects.people import Person

Member = TypeVar("Member", Car, Person)


@dataclass(frozen=True, eq=False)
class Crowd(Generic[Member]):
    """Several things of one class that nobody told apart."""

    members: tuple[Member, ...]
    crowd: bool = True

    @property
    def category(self) -> str:
        return self.members[0].category

    @cached_property
    def footprint(self) -> Footprint:
        parts = [member.footprint for member in self.members]
        return Footprint(
            min(part.left for part in parts),
            max(part.right for part in parts),
            min(part.near for part in parts),
            max(part.far for part in parts),
        )

    def feet(self) -> list[Footprint]:
        return [member.footprint for member in self.members]

    def casters(self) -> list[Points]:
        return [caster for member in self.members for caster in member.casters()]

    def draw(self, painter: Painter) -> None:
        for member in far_to_near(self.members, painter.camera.x):
            member.draw(painter)


def spread(rng: np.random.Generator, center: Points, reach: tuple[float, float], count: int) -> list[Points]:
    """World points (3) around a centre, within ``reach`` metres to the side and ahead."""
    around = rng.uniform(-1, 1, (count, 2)) * reach
    return list(center + np.insert(around, 1, 0.0, axis=1))
