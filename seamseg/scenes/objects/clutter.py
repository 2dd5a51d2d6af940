"""Unlabeled objects: bins, bollards, boxes, wires, birds and the hood of the camera's own car."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from seamseg.scenes.drawing.camera import Footprint, Plane, Points
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.painter import NOBODY, Face, Painter
from seamseg.scenes.objects.items import Item

ClutterKind = Literal["bin", "bollard", "box"]


@dataclass(frozen=True, eq=False)
class Clutter(Item):
    """A small object on the pavement without a class.

    Attributes:
        place: World point (3) of its foot.
        kind: Kind of object.
        size: Width and height in meters.
        color: Albedo.
        category: Always ``"void"``.
    """

    place: Points
    kind: ClutterKind
    size: tuple[float, float]
    color: Rgb
    category: str = "void"

    @cached_property
    def footprint(self) -> Footprint:
        """Rectangle on the ground that the object covers."""
        return Footprint.around(self.place, self.size[0] / 2, self.size[0] / 2)

    def casters(self) -> list[Points]:
        """World points (N×3) of the box that casts a shadow."""
        half, high = self.size[0] / 2, self.size[1]
        corners = [[x, y, z] for x in (-half, half) for y in (0.0, high) for z in (-half, half)]
        return [self.place + np.array(corners)]

    def draw(self, painter: Painter) -> None:
        """Draw the object."""
        plane = Plane.facing(painter.camera, self.place)
        half, high = self.size[0] / 2, self.size[1]
        top = {"bin": 0.86, "bollard": 0.8, "box": 0.95}[self.kind]
        lid = self.color * (0.55 if self.kind == "bin" else 1.3)
        boxes = (
            (-half, half, 0.0, high, self.color),
            (half * 0.35, half, 0.0, high, self.color * 0.72),
            (-half * 0.75, -half * 0.45, 0.0, high, self.color * 1.18),
            (-half * 1.06, half * 1.06, high * top, high, lid),
        )
        painter.faces([Face(plane.box(*box), color) for *box, color in boxes])


def sample_clutter(rng: np.random.Generator, place: Points) -> Clutter:
    """Sample an object with its foot at a world point (3)."""
    kinds: tuple[ClutterKind, ...] = ("bin", "bollard", "box")
    kind = kinds[int(rng.integers(3))]
    sizes = {"bin": (0.6, 1.05), "bollard": (0.18, 0.95), "box": (0.9, 1.4)}
    width, height = sizes[kind]
    return Clutter(
        place=place,
        kind=kind,
        size=(width * rng.uniform(0.8, 1.2), height * rng.uniform(0.85, 1.15)),
        color=rng.uniform(40, 160) + rng.uniform(-30, 30, 3),
    )


def draw_wires(painter: Painter, rng: np.random.Generator, reach: float) -> None:
    """Draw wires across the street, which extend ``reach`` meters to both sides; they are too thin to be labeled."""
    for z in rng.uniform(8, 45, int(rng.integers(1, 4))):
        span = np.linspace(-1, 1, 14)
        height = rng.uniform(6.5, 9)
        sag = height - 0.7 * (1 - span**2)
        painter.stroke(np.stack([span * reach, sag, np.full(14, z)], axis=1), np.array([38.0, 38.0, 42.0]))


def draw_birds(painter: Painter, rng: np.random.Generator) -> None:
    """Draw a few birds in the sky; they are void."""
    painter.owner = NOBODY
    for _ in range(int(rng.integers(2, 6))):
        place = np.array([rng.uniform(-14, 14), rng.uniform(9, 15), rng.uniform(22, 34)])
        span, lift = rng.uniform(0.35, 0.6), rng.uniform(-0.12, 0.3)
        wings = np.array(
            [[-span, lift], [-0.1, 0.07], [0, 0.0], [0.1, 0.07], [span, lift], [0.12, -0.07], [-0.12, -0.07]]
        )
        painter.face(Plane.facing(painter.camera, place).at(wings), np.array([52.0, 52.0, 58.0]))


def draw_hood(painter: Painter, rng: np.random.Generator) -> None:
    """Draw the hood of the camera's own car along the lower edge; it is void."""
    height, width = painter.canvas.size
    painter.owner = NOBODY
    paint = rng.uniform(30, 200) * np.array([1 + rng.normal(0, 0.05), 1.0, 1 + rng.normal(0, 0.05)])
    rise, middle = rng.uniform(0.05, 0.11) * height, width / 2 + rng.normal(0, 0.02) * width
    t = np.linspace(-1, 1, 40)
    columns = middle + t * width * rng.uniform(0.50, 0.62)
    for share, tone in ((1.0, 0.55), (0.90, 1.0), (0.62, 0.86), (0.32, 0.72)):
        rows = height - rise * share * (1 - 0.75 * np.abs(t) ** 3.2)
        outline = np.concatenate([np.stack([columns, rows], axis=1), [[columns[-1], height], [columns[0], height]]])
        color = paint * painter.light.on_ground * tone * 0.75 + painter.light.sky_low * 0.12
        painter.canvas.polygon(outline, color, NOBODY)
