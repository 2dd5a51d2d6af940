"""Traffic lights and street lanterns; only the housing is labeled, the post is void."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from seamseg.scenes.drawing.camera import Footprint, Plane, Points, circle
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.painter import Face, Painter
from seamseg.scenes.objects.items import Item
from seamseg.scenes.objects.signs import BLACK, UPRIGHT, WHITE, draw_posts

_GLASS = np.array([205.0, 208.0, 205.0])
_LAMPS = (np.array([255.0, 48.0, 36.0]), np.array([255.0, 186.0, 40.0]), np.array([60.0, 240.0, 150.0]))


@dataclass(frozen=True, eq=False)
class TrafficLight(Item):
    """Two or three lamps in a housing.

    Attributes:
        place: World point (3) at the foot of the post.
        height: Height of the lower edge of the housing in meters.
        size: Height of the part of the housing around one lamp in meters.
        num_lamps: Number of lamps, 2 for pedestrians and 3 for cars.
        shining: Index of the lamp that is on, counted from the top.
        housing: Albedo of the housing.
        shield: Whether there is a dark board with a white edge behind the housing.
        category: Name of the class.
    """

    place: Points
    height: float
    size: float
    num_lamps: int
    shining: int
    housing: Rgb
    shield: bool
    category: str = "light"

    @cached_property
    def footprint(self) -> Footprint:
        """Rectangle on the ground around the post."""
        return Footprint.around(self.place, 0.2, 0.1)

    def casters(self) -> list[Points]:
        """World points (N×3 each) of lamp and post, which cast shadows."""
        plane = Plane(self.place, np.array([1.0, 0.0, 0.0]))
        top = self.height + self.size * self.num_lamps
        return [plane.box(-0.2, 0.2, self.height, top), plane.box(-0.05, 0.05, 0.0, self.height)]

    def draw(self, painter: Painter) -> None:
        """Draw lamp and post; the post is void."""
        plane = Plane.facing(painter.camera, self.place)
        draw_posts(painter, plane, (0.0,), 1.0, self.height)
        half, top = self.size * 0.48, self.height + self.size * self.num_lamps
        faces: list[Face] = []
        for margin, color in ((0.13, WHITE), (0.09, BLACK)) if self.shield else ():
            box = plane.box(-half - margin, half + margin, self.height - margin, top + margin)
            faces.append(Face(box, color, normal=UPRIGHT))
        faces.append(Face(plane.box(-half, half, self.height, top), self.housing, normal=UPRIGHT))
        faces.append(Face(plane.box(half * 0.7, half, self.height, top), self.housing * 0.65, normal=UPRIGHT))
        for lamp in range(self.num_lamps):
            faces += self._lamp(plane, lamp, top - self.size * (lamp + 0.5))
        painter.faces(faces)

    def _lamp(self, plane: Plane, lamp: int, y: float) -> list[Face]:
        radius = self.size * 0.36
        color = _LAMPS[0 if lamp == 0 else (2 if lamp == self.num_lamps - 1 else 1)]
        hood = Face(plane.at(circle(radius * 1.12, 14, (0, y + 0.02))), BLACK * 0.7, normal=UPRIGHT)
        disc = plane.at(circle(radius, 14, (0, y)))
        if lamp != self.shining:
            return [hood, Face(disc, color * 0.16 + 14, normal=UPRIGHT)]
        core = plane.at(circle(radius * 0.5, 10, (0, y)))
        return [hood, Face(disc, color, glows=True), Face(core, color * 0.5 + 127, glows=True)]


@dataclass(frozen=True, eq=False)
class Lantern(Item):
    """A street lantern on top of a post.

    Attributes:
        place: World point (3) at the foot of the post.
        height: Height of the lower edge of the lantern in meters.
        size: Height of the lantern in meters.
        globe: Whether the lantern is a ball instead of a cage with a roof.
        cap: Albedo of the metal.
        category: Name of the class.
    """

    place: Points
    height: float
    size: float
    globe: bool
    cap: Rgb
    category: str = "light"

    @cached_property
    def footprint(self) -> Footprint:
        """Rectangle on the ground around the post."""
        return Footprint.around(self.place, 0.2, 0.2)

    def moved(self, place: Points) -> Lantern:
        """Return an equal lantern at another place."""
        return replace(self, place=place)

    def casters(self) -> list[Points]:
        """World points (N×3 each) of lamp and post, which cast shadows."""
        plane = Plane(self.place, np.array([1.0, 0.0, 0.0]))
        high = self.height + self.size
        return [plane.box(-0.3, 0.3, self.height, high), plane.box(-0.06, 0.06, 0.0, self.height)]

    def draw(self, painter: Painter) -> None:
        """Draw lamp and post; the post is void."""
        plane = Plane.facing(painter.camera, self.place)
        draw_posts(painter, plane, (0.0,), 1.0, self.height)
        glass = np.array([255.0, 232.0, 178.0]) * (0.7 + 0.3 * painter.light.lamps)
        faces: list[Face] = []
        for outline, color in self._ball() if self.globe else self._cage():
            points = plane.at(outline * self.size + (0.0, self.height))
            shines = color is _GLASS and painter.light.lamps > 0
            faces.append(Face(points, glass if shines else color, glows=shines, normal=UPRIGHT))
        painter.faces(faces)

    def _ball(self) -> list[tuple[Points, Rgb]]:
        foot = np.array([[-0.25, 0.10], [0.25, 0.10], [0.12, -0.06], [-0.12, -0.06]])
        return [(circle(0.5, 20, (0.0, 0.5)), _GLASS), (circle(0.3, 16, (-0.06, 0.58)), _GLASS), (foot, self.cap)]

    def _cage(self) -> list[tuple[Points, Rgb]]:
        parts = [(np.array([[-0.36, 0.72], [0.36, 0.72], [0.22, 0.06], [-0.22, 0.06]]), _GLASS)]
        for x in (-1, 0, 1):
            top, low = 0.36 * x, 0.22 * x
            bar = [[top - 0.03, 0.72], [top + 0.03, 0.72], [low + 0.03, 0.06], [low - 0.03, 0.06]]
            parts.append((np.array(bar), self.cap))
        roof = [[-0.46, 0.70], [0.46, 0.70], [0.16, 0.93], [0.05, 1.0], [-0.05, 1.0], [-0.16, 0.93]]
        foot = [[-0.25, 0.07], [0.25, 0.07], [0.1, -0.06], [-0.1, -0.06]]
        return [*parts, (np.array(roof), self.cap), (np.array(foot), self.cap)]


def sample_traffic_light(rng: np.random.Generator, place: Points) -> TrafficLight:
    """Sample a traffic light with its foot at a world point (3)."""
    num_lamps = 2 if rng.uniform() < 0.2 else 3
    housings = [(34, 36, 38), (44, 62, 52), (196, 154, 42), (96, 98, 100)]
    return TrafficLight(
        place=place,
        height=float(rng.uniform(2.2, 3.3)),
        size=float(rng.uniform(0.40, 0.50)),
        num_lamps=num_lamps,
        shining=int(rng.integers(num_lamps)),
        housing=np.array(housings[int(rng.choice(4, p=[0.55, 0.15, 0.18, 0.12]))], np.float64) * rng.uniform(0.8, 1.2),
        shield=bool(rng.uniform() < 0.3),
    )


def sample_lantern(rng: np.random.Generator, place: Points) -> Lantern:
    """Sample a lantern with its foot at a world point (3)."""
    globe = bool(rng.uniform() < 0.35)
    return Lantern(
        place=place,
        height=float(rng.uniform(3.2, 4.3)),
        size=float(rng.uniform(0.62, 0.8) if globe else rng.uniform(0.8, 1.05)),
        globe=globe,
        cap=np.array([1.0, 1.0, 1.0]) * rng.uniform(25, 80) + rng.uniform(0, 22, 3),
    )
