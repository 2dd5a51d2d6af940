"""Cars: position, colors, drawing and shadows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seamseg.scenes.drawing.camera import Footprint, Points
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.painter import Face, Painter
from seamseg.scenes.objects.car_body import CarBody
from seamseg.scenes.objects.car_shapes import CAR_SHAPES, CarShape
from seamseg.scenes.objects.items import Item


@dataclass(frozen=True, eq=False)
class Car(Item):
    """One car.

    Attributes:
        place: World point (3) on the ground below its center.
        heading: Direction in radians, 0 straight ahead, positive to the right.
        shape: Shape of the car.
        paint: Albedo of the paint.
        rims: Albedo of the rims.
        glass: Albedo of the glass.
        braking: Whether the brake lights are on.
        category: Name of the class.
    """

    place: Points
    heading: float
    shape: CarShape
    paint: Rgb
    rims: Rgb
    glass: Rgb
    braking: bool
    category: str = "car"

    @cached_property
    def footprint(self) -> Footprint:
        """Rectangle on the ground that the car covers."""
        corners = self._corners(self.shape.half_width, 0.0)
        low, high = corners.min(0), corners.max(0)
        return Footprint(float(low[0]), float(high[0]), float(low[2]), float(high[2]))

    def casters(self) -> list[Points]:
        """World points (N×3 each) of the body and the cabin, which cast shadows."""
        roof = self.shape.outline[self.shape.outline[:, 1] > self.shape.belt + 0.1, 0]
        cabin = np.array([[x, self.shape.roof, z] for z in (roof.min(), roof.max()) for x in (-0.65, 0.65)])
        body = self._corners(self.shape.half_width * 0.95, self.shape.belt)
        ground = self._corners(self.shape.half_width * 0.98, 0.0)
        return [np.concatenate([ground, body]), np.concatenate([ground, self._at(cabin)])]

    def draw(self, painter: Painter) -> None:
        """Draw the car."""
        away = painter.camera.place - self.place
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        eye = np.array([cos * away[0] - sin * away[2], away[1], sin * away[0] + cos * away[2]])
        fine = painter.scale(self.place) * 2 > 34
        body = CarBody(self.shape, (self.paint, self.rims, self.glass), self.braking, bool(painter.light.lamps), fine)
        faces = body.faces(eye)
        moved = self._at(np.concatenate([face.points for face in faces]))
        ends = np.cumsum([len(face.points) for face in faces])[:-1]
        painter.faces(
            [
                Face(points, face.color, face.gloss, face.glows)
                for face, points in zip(faces, np.split(moved, ends), strict=True)
            ]
        )

    def _at(self, points: Points) -> Points:
        """Convert N×3 (right, up, forward) meters from the car's center to N×3 world points."""
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        return np.asarray(self.place + points @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]))

    def _corners(self, half_width: float, height: float) -> Points:
        """4×3 world points of a horizontal rectangle as long as the car."""
        rear, front = self.shape.ends
        flat = [[-half_width, height, rear], [half_width, height, rear], [half_width, height, front]]
        return self._at(np.array([*flat, [-half_width, height, front]]))


def sample_car(rng: np.random.Generator, place: Points, heading: float) -> Car:
    """Sample a car at a world point (3), with a heading in radians."""
    shape = CAR_SHAPES[int(rng.choice(len(CAR_SHAPES), p=[0.24, 0.28, 0.18, 0.18, 0.12]))]
    return Car(
        place=place,
        heading=heading + float(rng.normal(0, 0.015)),
        shape=shape,
        paint=_sample_paint(rng),
        rims=np.array([1.0, 1.0, 1.02]) * rng.uniform(80, 185),
        glass=np.array([26.0, 31.0, 36.0]) * rng.uniform(0.7, 1.3),
        braking=bool(rng.uniform() < 0.3),
    )


def _sample_paint(rng: np.random.Generator) -> Rgb:
    """Sample an albedo: mostly grays as in real parking lots, sometimes a color."""
    if rng.uniform() < 0.6:
        return rng.uniform(35, 235) * np.array([1 + rng.normal(0, 0.015), 1.0, 1 + rng.normal(0.01, 0.02)])
    tints = [(168, 28, 30), (36, 62, 128), (94, 20, 28), (52, 92, 64), (196, 160, 60), (60, 120, 170), (150, 112, 84)]
    return np.array(tints[int(rng.integers(len(tints)))], np.float64) * rng.uniform(0.7, 1.25)
