"""Buildings: boxes with painted walls and flat or pitched roofs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from seamseg.scenes.drawing.camera import UP, Points
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.painter import Painter
from seamseg.scenes.objects.facade import FacadeStyle, Tone, Wall, paint_facade, sample_style

BuildingKind = Literal["city", "houses", "offices"]

_NEAREST = 0.8
_HEIGHTS: dict[BuildingKind, tuple[float, float]] = {"city": (8.0, 21.0), "houses": (4.6, 7.0), "offices": (9.0, 36.0)}
_ROOFS = ((148, 78, 58), (110, 74, 62), (84, 84, 90), (120, 104, 92), (70, 62, 60))


@dataclass(frozen=True, eq=False)
class Building:
    """A box with a front toward the street and a flat or pitched roof.

    Attributes:
        near: World point (3) at the near end of the foot of the front.
        far: World point (3) at the far end of the foot of the front.
        away: Unit vector (3) from the front to the back.
        depth: Depth in meters.
        height: Height of the walls in meters.
        roof: Height of the pitched roof in meters, or 0 for a flat roof.
        style: Style of the walls.
        tiles: Color of the roof.
        detached: Whether the side wall toward the camera can be visible.
        seed: Seed of everything drawn on the walls.
    """

    near: Points
    far: Points
    away: Points
    depth: float
    height: float
    roof: float
    style: FacadeStyle
    tiles: Rgb
    detached: bool
    seed: int

    def casters(self) -> list[Points]:
        """World points (N×3) of the body that casts a shadow."""
        feet = np.array([self.near, self.far, self.far + self.away * self.depth, self.near + self.away * self.depth])
        return [np.concatenate([feet, feet + UP * (self.height + self.roof * 0.6)])]

    def draw(self, painter: Painter) -> None:
        """Draw walls and roof."""
        rng = np.random.default_rng(self.seed)
        back = self.near + self.away * self.depth
        if self.roof:
            painter.face(self._gable(back), self.style.wall)
        if self.detached:
            self._wall(painter, rng, back, self.near)
        if self.roof:
            self._roof(painter, rng)
        self._wall(painter, rng, self.near, self.far)

    def _gable(self, back: Points) -> Points:
        """Outline (3×3) of the triangle between the side wall and the ridge."""
        ridge = (back + self.near) / 2 + UP * (self.height + self.roof)
        return np.array([back + UP * self.height, ridge, self.near + UP * self.height])

    def _wall(self, painter: Painter, rng: np.random.Generator, start: Points, end: Points) -> None:
        """Draw the part of one wall between two foot points that is in front of the camera."""
        start, end = _clip_to_front(painter, start, end)
        corners = np.array([start, end, end, start])
        corners[:2, 1] = self.height
        if not painter.shows(corners):
            return
        distance = painter.camera.distance(corners[:2])
        size = self.height, float(np.linalg.norm(end - start))
        tone = _tone(painter, corners)
        scale = _texture_scale(painter, size, float(np.sqrt(max(distance.prod(), 0.1))))
        painter.texture(paint_facade(rng, self.style, tone, size, scale), corners)

    def _roof(self, painter: Painter, rng: np.random.Generator) -> None:
        """Draw the roof slope toward the street, and a chimney."""
        up, ridge = UP * self.height, UP * (self.height + self.roof)
        middle, out = self.away * (self.depth / 2), -self.away * 0.35 - np.array([0, 0.1, 0])
        near, far = _clip_to_front(painter, self.near, self.far)
        slope = np.array([near + middle + ridge, far + middle + ridge, far + up + out, near + up + out])
        if not painter.shows(slope):
            return
        foot = near + (far - near) * rng.uniform(0.15, 0.85) + middle + ridge
        across = (far - near) / np.linalg.norm(far - near) * 0.4
        stack = np.array([foot - across, foot + across, foot + across, foot - across])
        stack[:2, 1] += 1.1
        stack[2:, 1] -= 0.4
        painter.face(stack, self.style.wall * 0.8)
        rows = 0.85 + 0.15 * rng.uniform(0, 1, (28, 1, 1)) + 0.12 * rng.uniform(-1, 1, (28, 40, 1))
        painter.texture(_tone(painter, slope)(rows * self.tiles).astype(np.uint8), slope)


def _clip_to_front(painter: Painter, start: Points, end: Points) -> tuple[Points, Points]:
    """Clip the line between two points to the part that is at least ``_NEAREST`` meters in front of the camera."""
    one, two = painter.camera.distance(np.array([start, end]))
    if one < _NEAREST < two:
        start = end + (start - end) * ((two - _NEAREST) / (two - one))
    elif two < _NEAREST < one:
        end = start + (end - start) * ((one - _NEAREST) / (one - two))
    return start, end


def _texture_scale(painter: Painter, size: tuple[float, float], distance: float) -> float:
    """Pixels per meter of a wall's texture: the visible resolution, within limits."""
    height, width = painter.canvas.size
    most = np.sqrt(height * width / 10 / (size[0] * size[1]))
    return float(np.clip(painter.camera.focal / distance, 2.5, max(min(painter.camera.focal / 45, most), 4)))


def _tone(painter: Painter, corners: Points) -> Tone:
    air = float(painter.light.haze(painter.camera.distance(corners).mean()))
    return Tone(painter.shade(corners), painter.light.sky_low, air)


def sample_building(
    rng: np.random.Generator, kind: BuildingKind, ends: tuple[Points, Points], away: Points, lamps: float
) -> Building:
    """Sample a building.

    Args:
        rng: Random generator.
        kind: Kind of building.
        ends: World points (3) at the near and far end of the foot of the front.
        away: Unit vector (3) from the front to the back.
        lamps: Amount of lit windows, 0 … 1.
    """
    surfaces: tuple[Wall, ...] = ("plaster", "bricks", "glass")
    surface = surfaces[int(rng.choice(3, p=[0.2, 0.2, 0.6] if kind == "offices" else [0.6, 0.37, 0.03]))]
    return Building(
        near=ends[0],
        far=ends[1],
        away=away,
        depth=float(rng.uniform(8, 14)),
        height=float(rng.uniform(*_HEIGHTS[kind])),
        roof=float(rng.uniform(2.2, 4.0)) if kind == "houses" else 0.0,
        style=sample_style(rng, surface, bool(kind == "city" and rng.uniform() < 0.55), lamps),
        tiles=np.array(_ROOFS[int(rng.integers(len(_ROOFS)))], np.float64) * rng.uniform(0.7, 1.2),
        detached=True,
        seed=int(rng.integers(2**31)),
    )
