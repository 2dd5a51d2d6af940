"""Trees, bushes and hedges: noisy crowns on tapered trunks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from seamseg.data.scenes.drawing.camera import UP, Points
from seamseg.data.scenes.drawing.footprint import Footprint
from seamseg.data.scenes.drawing.light import Rgb
from seamseg.data.scenes.drawing.painter import Face, Painter
from seamseg.data.scenes.drawing.plane import Plane
from seamseg.data.scenes.objects.crowns import NUM_VARIANTS, Shape, crown

_SIDES = np.linspace(0, 2 * np.pi, 12, endpoint=False)


@dataclass(frozen=True, eq=False)
class Tree:
    """One plant.

    Attributes:
        place: world point (3) of its foot.
        shape: of the crown.
        width, low, high: metres: width of the crown, height of its lower and upper end.
        leaves, bark: colours (albedo).
        lean: metres by which the trunk is askew.
        variant, mirrored: which of the crowns of its shape, and whether left and right are exchanged.
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
    crowd: bool = False

    @cached_property
    def footprint(self) -> Footprint:
        reach = min(self.width / 2, 0.8)
        return Footprint.around(self.place, reach, reach)

    def feet(self) -> list[Footprint]:
        return [self.footprint]

    def casters(self) -> list[Points]:
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2 * 0.9
        ring = np.stack([np.cos(_SIDES), np.zeros(12), np.sin(_SIDES)], axis=1) * (self.width * 0.45)
        crown = np.concatenate([ring + UP * middle, ring * 0.5 + UP * (middle + half), [UP * (middle - half)]])
        foot = 0.12 + 0.01 * self.high
        trunk = np.array([[-foot, 0, 0], [foot, 0, 0], [foot, middle, 0], [-foot, middle, 0]])
        return [self.place + crown, self.place + trunk]

    def draw(self, painter: Painter) -> None:
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
