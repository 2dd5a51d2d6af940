"""Trees, bushes and hedges, and the leaf textures of their crowns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.scenes.drawing.camera import UP, Footprint, Plane, Points
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.noise import Field, fractal_noise
from seamseg.scenes.drawing.painter import Face, Painter
from seamseg.scenes.objects.items import Item

Shape = Literal["round", "tall", "fir", "bush", "hedge"]

NUM_VARIANTS = 12
"""Number of crowns of each shape; mirroring and stretching add variety."""

_SIZES = {"round": (1.0, 1.0), "tall": (1.6, 0.6), "fir": (1.5, 0.75), "bush": (0.8, 1.0), "hedge": (0.5, 1.4)}


@dataclass(frozen=True, eq=False)
class Crown:
    """A crown lit from above; all fields are H×W.

    Attributes:
        brightness: Brightness without sun from the side, float32, about 1.
        sideways: Additional brightness with sun from the right, float32.
        mask: Shape, uint8, 0 … 255, one half at the outline.
    """

    brightness: Field
    sideways: Field
    mask: npt.NDArray[np.uint8]


@lru_cache(maxsize=256)
def crown(shape: Shape, variant: int, pixels: int) -> Crown:
    """Create the crown of one variant.

    Args:
        shape: Shape of the plant.
        variant: Number of the variant, 0 … ``NUM_VARIANTS`` − 1.
        pixels: Approximate side length of the texture in pixels.
    """
    rng = np.random.default_rng([*shape.encode(), variant])
    size = round(_SIZES[shape][0] * pixels), round(_SIZES[shape][1] * pixels)
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j].astype(np.float32)
    field, light, side = _trimmed(shape, x, y) if shape in ("hedge", "fir") else _clumps(rng, shape, x, y)
    leaf = pixels / 14
    leaves = fractal_noise(rng, size, (leaf, leaf), max(3, round(np.log2(leaf))))
    mask = np.clip((field + 0.45 * leaves) * 170 + 127, 0, 255).astype(np.uint8)
    gaps = np.clip(1 + 0.45 * leaves + 0.25 * fractal_noise(rng, size, (leaf * 2, leaf * 2), 2), 0.45, 1.7)
    return Crown((light * gaps).astype(np.float32), (side * gaps).astype(np.float32), mask)


def _trimmed(shape: Shape, x: Field, y: Field) -> tuple[Field, Field, Field]:
    """Compute a box or a cone in tiers: depth inside the shape, brightness, and extra brightness from the right."""
    if shape == "hedge":
        return _float32(5 * np.minimum(1 - np.abs(x), y + 1) - 0.25, 1 - 0.25 * y, 0.15 * x)
    tier = (y * 3.5) % np.float32(1.0)
    inside = 5 * ((1 + y) * 0.52 - np.abs(x) - 0.10 * tier) - 0.25
    return _float32(inside, 0.85 + 0.3 * tier - 0.1 * y, 0.35 * x)


def _float32(*fields: npt.NDArray[np.float64] | Field) -> tuple[Field, Field, Field]:
    inside, light, side = (field.astype(np.float32) for field in fields)
    return inside, light, side


def _clumps(rng: np.random.Generator, shape: Shape, x: Field, y: Field) -> tuple[Field, Field, Field]:
    """Sample a union of balls of leaves that are brighter at the top; returns the same as :func:`_trimmed`."""
    field = np.full(x.shape, -9.0, np.float32)
    light, side = np.ones(x.shape, np.float32), np.zeros(x.shape, np.float32)
    for _ in range(6 if shape == "bush" else 14):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1)) * 0.60
        radius = rng.uniform(0.25, 0.40)
        across, above = float(reach * np.cos(angle)), float(reach * np.sin(angle))
        right, down = (x - np.float32(across)) / radius, (y - np.float32(above)) / radius
        inside = 1 - right**2 - down**2
        front = inside > field
        light[front] = (0.88 - 0.25 * above - 0.32 * down)[front]
        side[front] = (0.28 * across + 0.32 * right)[front]
        field = np.maximum(field, inside)
    return field, light, side


_SIDES = np.linspace(0, 2 * np.pi, 12, endpoint=False)


@dataclass(frozen=True, eq=False)
class Tree(Item):
    """One plant.

    Attributes:
        place: World point (3) of its foot.
        shape: Shape of the crown.
        width: Width of the crown in meters.
        low: Height of the lower end of the crown in meters.
        high: Height of the upper end of the crown in meters.
        leaves: Albedo of the leaves.
        bark: Albedo of the bark.
        lean: Horizontal displacement of the top of the trunk in meters.
        variant: Number of the variant of the crown.
        mirrored: Whether left and right of the crown are swapped.
        category: Name of the class.
    """

    place: Points
    shape: Shape
    width: float
    low: float
    high: float
    leaves: Rgb
    bark: Rgb
    lean: float
    variant: int
    mirrored: bool
    category: str = "vegetation"

    @cached_property
    def footprint(self) -> Footprint:
        """Rectangle on the ground that the plant covers."""
        reach = min(self.width / 2, 0.8)
        return Footprint.around(self.place, reach, reach)

    def casters(self) -> list[Points]:
        """World points (N×3 each) of crown and trunk, which cast shadows."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2 * 0.9
        ring = np.stack([np.cos(_SIDES), np.zeros(12), np.sin(_SIDES)], axis=1) * (self.width * 0.45)
        crown = np.concatenate([ring + UP * middle, ring * 0.5 + UP * (middle + half), [UP * (middle - half)]])
        foot = 0.12 + 0.01 * self.high
        trunk = np.array([[-foot, 0, 0], [foot, 0, 0], [foot, middle, 0], [-foot, middle, 0]])
        return [self.place + crown, self.place + trunk]

    def draw(self, painter: Painter) -> None:
        """Draw trunk and crown."""
        plane = Plane.facing(painter.camera, self.place)
        sun = float(plane.across @ painter.light.sun) * painter.lit
        if self.low > 0.3:
            self._trunk(painter, plane, 1 if sun > 0 else -1)
        half = -self.width / 2 if self.mirrored else self.width / 2
        pixels = painter.scale(self.place) * max(self.width, self.high - self.low)
        leaves = crown(self.shape, self.variant, int(np.clip(2 ** np.rint(np.log2(pixels)), 32, 512)) // 2)
        shade = painter.light.ambient * 0.66 + painter.light.direct * (0.6 * painter.lit)
        share = painter.light.haze(painter.camera.distance(self.place[None]))
        tint = np.stack([self.leaves * shade * (1 - share), painter.light.sky_low * share], axis=1)
        brightness = cv2.addWeighted(leaves.brightness, 1, leaves.sideways, -sun if self.mirrored else sun, 0)
        color = np.asarray(cv2.convertScaleAbs(cv2.transform(brightness, tint)), dtype=np.uint8)
        painter.sprite(color, leaves.mask, plane.box(-half, half, self.low, self.high))

    def _trunk(self, painter: Painter, plane: Plane, sunny: int) -> None:
        top, foot, lean = self.low + 0.5 * (self.high - self.low), 0.10 + 0.014 * self.high, self.lean
        left, right = [-foot * 0.7 + lean / 2, self.low], [foot * 0.7 + lean / 2, self.low]
        outline = np.array([[-foot, 0], left, [lean, top], right, [foot, 0]])
        strip = np.array([[sunny * foot, 0], left if sunny < 0 else right, [lean / 2, self.low], [0, 0]])
        painter.faces([Face(plane.at(outline), self.bark), Face(plane.at(strip), self.bark * 1.3)])


def sample_tree(rng: np.random.Generator, place: Points, shape: Shape) -> Tree:
    """Sample a plant of a shape with its foot at a world point (3)."""
    low, high, width = {
        "round": (rng.uniform(1.7, 2.6), rng.uniform(5.5, 9), rng.uniform(3.6, 6.0)),
        "tall": (rng.uniform(1.0, 2.0), rng.uniform(8, 13), rng.uniform(2.2, 3.4)),
        "fir": (0.35, rng.uniform(6, 11), rng.uniform(2.8, 4.4)),
        "bush": (0.0, rng.uniform(0.9, 2.0), rng.uniform(1.2, 2.6)),
        "hedge": (0.0, rng.uniform(0.9, 1.7), rng.uniform(3.5, 6.0)),
    }[shape]
    greens = [(70, 104, 44), (92, 122, 52), (56, 86, 46), (110, 118, 56), (128, 132, 60)]
    autumn = [(176, 126, 48), (168, 88, 44), (134, 66, 50), (186, 150, 62)]
    tints = autumn if shape in ("round", "tall") and rng.uniform() < 0.12 else greens
    return Tree(
        place=place,
        shape=shape,
        width=float(width),
        low=float(low),
        high=float(high),
        leaves=np.array(tints[int(rng.integers(len(tints)))], np.float64) * rng.uniform(0.75, 1.15),
        bark=np.array([92.0, 78.0, 64.0]) * rng.uniform(0.6, 1.2),
        lean=float(rng.normal(0, 0.15)),
        variant=int(rng.integers(NUM_VARIANTS)),
        mirrored=bool(rng.uniform() < 0.5),
    )
