"""People and crowds: poses, clothes and positions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Literal, TypeVar

import numpy as np

from seamseg.scenes.drawing.camera import Footprint, Plane, Points
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.painter import Face, Painter
from seamseg.scenes.objects.cars import Car
from seamseg.scenes.objects.figures import Clothes, Cut, Facing, Pose, figure
from seamseg.scenes.objects.items import Item, far_to_near


@dataclass(frozen=True, eq=False)
class Person(Item):
    """One person.

    Attributes:
        place: World point (3) between the feet.
        height: Body height in meters.
        pose: Pose of the body.
        clothes: Clothes, skin and hair.
        category: Name of the class.
    """

    place: Points
    height: float
    pose: Pose
    clothes: Clothes
    category: Literal["person"] = "person"

    @cached_property
    def footprint(self) -> Footprint:
        """Rectangle on the ground that the person covers."""
        return Footprint.around(self.place, 0.25, 0.2)

    def casters(self) -> list[Points]:
        """World points (N×3 each) of two crossed outlines that cast a shadow."""
        flat = np.array([[-0.12, 0], [0.12, 0], [0.15, 0.8], [0.07, 0.98], [-0.07, 0.98], [-0.15, 0.8]]) * self.height
        across, along = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
        return [Plane(self.place, direction).at(flat) for direction in (across, along)]

    def draw(self, painter: Painter) -> None:
        """Draw every limb dark, and its sunny side brighter if the person is large enough in the picture."""
        plane = Plane.facing(painter.camera, self.place)
        sun = float(plane.across @ painter.light.sun)
        dim = painter.light.ambient * 0.86 + painter.light.direct * (0.26 * painter.lit)
        bright = dim * 1.08 + painter.light.direct * ((0.20 + 0.35 * abs(sun)) * painter.lit)
        large = painter.scale(self.place) > 18
        faces: list[Face] = []
        for outline, color in figure(self.pose, self.clothes):
            flat = outline * self.height
            faces.append(Face(plane.at(flat), color * dim, glows=True))
            if large:
                faces.append(Face(plane.at(_toward_sun(flat, sun)), color * bright, glows=True))
        painter.faces(faces)


def _toward_sun(outline: Points, sun: float) -> Points:
    """Compute the sunny part (N×2) of a limb, which is narrower and shifted toward the sun."""
    middle, wide = outline.mean(0), float(np.ptp(outline[:, 0]))
    return np.asarray(middle + (outline - middle) * (0.62, 0.94) + (np.sign(sun) * 0.18 * wide, 0.0))


def sample_person(rng: np.random.Generator, place: Points) -> Person:
    """Sample a person at a world point (3)."""
    child = rng.uniform() < 0.1
    facing: tuple[Facing, ...] = ("left", "right", "toward", "away")
    walking = rng.uniform() < 0.75
    pose = Pose(
        build=float(rng.uniform(1.0, 1.35)),
        facing=facing[int(rng.choice(4, p=[0.2, 0.2, 0.32, 0.28]))],
        stride=float(rng.uniform(0.25, 0.5)) if walking else float(rng.uniform(0, 0.06)),
        arms=float(rng.uniform(0.2, 0.5)) if walking else 0.05,
    )
    height = float(rng.uniform(1.1, 1.4) if child else np.clip(rng.normal(1.75, 0.08), 1.5, 1.98))
    return Person(place, height, pose, _sample_clothes(rng))


def _sample_clothes(rng: np.random.Generator) -> Clothes:
    skins = [(224, 178, 148), (198, 150, 118), (150, 104, 76), (96, 66, 50), (232, 196, 172)]
    hairs = [(34, 26, 22), (70, 48, 32), (120, 86, 50), (180, 150, 96), (120, 118, 116)]
    cuts: tuple[Cut, ...] = ("trousers", "shorts", "skirt", "coat")
    dark_legs = rng.uniform() < 0.6
    return Clothes(
        skin=np.array(skins[int(rng.integers(len(skins)))], np.float64),
        hair=np.array(hairs[int(rng.integers(len(hairs)))], np.float64) * rng.uniform(0.8, 1.2),
        top=_sample_cloth(rng),
        legs=np.array([44.0, 52.0, 76.0]) * rng.uniform(0.5, 1.6) if dark_legs else _sample_cloth(rng),
        shoes=np.array([1.0, 0.95, 0.9]) * rng.uniform(25, 190),
        cut=cuts[int(rng.choice(4, p=[0.6, 0.13, 0.13, 0.14]))],
        bag=rng.uniform(20, 190, 3) if rng.uniform() < 0.3 else None,
        long_hair=bool(rng.uniform() < 0.4),
        hat=bool(rng.uniform() < 0.12),
    )


def _sample_cloth(rng: np.random.Generator) -> Rgb:
    """Sample an albedo; grays and muted colors are more likely than bright ones."""
    gray, tint = rng.uniform(25, 225), rng.uniform(15, 235, 3)
    return np.asarray(gray + (tint - gray) * rng.uniform(0.05, 0.9) ** 1.3)


Member = TypeVar("Member", Car, Person)


@dataclass(frozen=True, eq=False)
class Crowd(Generic[Member]):
    """Several things of one class that are not labeled individually."""

    members: tuple[Member, ...]
    crowd: bool = True

    @property
    def category(self) -> str:
        """Name of the class of the members."""
        return self.members[0].category

    @cached_property
    def footprint(self) -> Footprint:
        """Smallest rectangle that contains the footprints of all members."""
        parts = [member.footprint for member in self.members]
        return Footprint(
            min(part.left for part in parts),
            max(part.right for part in parts),
            min(part.near for part in parts),
            max(part.far for part in parts),
        )

    def feet(self) -> list[Footprint]:
        """Footprints of all members."""
        return [member.footprint for member in self.members]

    def casters(self) -> list[Points]:
        """World points (N×3 each) of all members' shadow casters."""
        return [caster for member in self.members for caster in member.casters()]

    def draw(self, painter: Painter) -> None:
        """Draw all members from far to near with one owner."""
        for member in far_to_near(self.members, painter.camera.x, painter.camera.z):
            member.draw(painter)


def spread(rng: np.random.Generator, center: Points, reach: tuple[float, float], count: int) -> list[Points]:
    """Sample world points (3) around a center, within ``reach`` meters (sideways, forward)."""
    around = rng.uniform(-1, 1, (count, 2)) * reach
    return list(center + np.insert(around, 1, 0.0, axis=1))
