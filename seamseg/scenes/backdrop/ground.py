"""Drawing of the ground: grass, pavement, road, markings, shadows and grain."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seamseg.scenes.drawing.camera import Camera, Points
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.noise import Field, fractal_noise
from seamseg.scenes.drawing.painter import STEP, Painter
from seamseg.scenes.layout.street import FAR, Street

_CROSS = 90.0


@dataclass(frozen=True, eq=False)
class GroundColors:
    """Albedo of each surface, and the side length of the pavement's slabs in meters."""

    grass: Rgb
    paving: Rgb
    curb: Rgb
    asphalt: Rgb
    paint: Rgb
    slab: float


def sample_ground_colors(rng: np.random.Generator) -> GroundColors:
    """Sample colors; road and pavement share one range of grays, so that color does not distinguish them."""
    asphalt = rng.uniform(70, 150) * np.array([1 + rng.normal(0, 0.025), 1.0, 1 + rng.normal(0, 0.03)])
    if rng.uniform() < 0.25:
        paving = np.array([150.0, 105.0, 88.0]) * rng.uniform(0.7, 1.2) + rng.normal(0, 8)
    else:
        paving = rng.uniform(85, 180) * np.array([1 + rng.normal(0.02, 0.03), 1.0, 1 + rng.normal(-0.03, 0.04)])
    dry = rng.uniform(0, 1)
    grass = np.array([78.0, 108.0, 48.0]) * (1 - dry) + np.array([138.0, 128.0, 80.0]) * dry
    return GroundColors(
        grass=grass * rng.uniform(0.75, 1.15),
        paving=paving,
        curb=np.array([1.0, 1.0, 0.98]) * rng.uniform(120, 190),
        asphalt=asphalt,
        paint=np.array([225.0, 225.0, 218.0]) * rng.uniform(0.75, 1.05),
        slab=float(rng.choice([0.5, 0.8, 1.2, 2.0])),
    )


@dataclass(frozen=True, eq=False)
class GroundOwners:
    """Owner numbers of the surfaces."""

    road: int
    pavement: int
    vegetation: int


class GroundPainter:
    """Draws the ground of a street."""

    def __init__(self, painter: Painter, street: Street, colors: GroundColors, owners: GroundOwners) -> None:
        self.painter, self.street, self.colors, self.owners = painter, street, colors, owners

    def draw(self, rng: np.random.Generator) -> None:
        """Draw surfaces and markings; :func:`finish_ground` adds shadows and grain later."""
        self._base()
        for sign in (-1, 1):
            self._roadside(sign)
        if self.street.junction is not None:
            self._crossing_street()
        self._area(self.street.band(-self.street.curb(-1), self.street.curb(1), 0.2, FAR), self.colors.asphalt, "road")
        self._repairs(rng)
        self._lanes(rng)
        if self.street.crosswalk is not None:
            self._crosswalk(self.street.crosswalk)

    def _area(self, outline: Points, albedo: Rgb, surface: str) -> None:
        self.painter.owner = getattr(self.owners, surface)
        color = albedo * self.painter.light.on_ground
        self.painter.canvas.polygon(self.painter.camera.project(outline), color, self.painter.owner)

    def _base(self) -> None:
        """Draw the ground beyond the pavement: gardens and parks are green, city yards are paved."""
        for sign in (-1, 1):
            green = self.street.side(sign).setting in ("houses", "park")
            outline = self.street.band(0, sign * 400, 0.2, 900)
            self._area(outline, *((self.colors.grass, "vegetation") if green else (self.colors.paving, "pavement")))

    def _roadside(self, sign: int) -> None:
        curb, (inner, outer) = self.street.curb(sign), self.street.pavement(sign)
        if self.street.side(sign).verge:
            self._area(self.street.band(sign * curb, sign * inner, 0.2, FAR), self.colors.grass, "vegetation")
        self._area(self.street.band(sign * inner, sign * outer, 0.2, FAR), self.colors.paving, "pavement")
        self._slabs(sign, inner, outer)
        self._area(self.street.band(sign * curb, sign * (curb + 0.22), 0.2, FAR), self.colors.curb, "pavement")
        gutter = self.street.band(sign * (curb + 0.2), sign * (curb + 0.25), 0.2, 60 + self.painter.camera.z)
        self._area(gutter, self.colors.curb * 0.7, "pavement")

    def _slabs(self, sign: int, inner: float, outer: float) -> None:
        """Draw the joints between the slabs, up to the distance at which they are visible."""
        slab, joint = self.colors.slab, self.colors.paving * self.painter.light.on_ground * 0.82
        for z in np.arange(2.0, 14.0 + 6 * slab + self.painter.camera.z, slab):
            line = np.stack([self.street.at(sign * inner, z), self.street.at(sign * outer, z)])
            self.painter.stroke(line, joint)
        for offset in np.arange(inner + slab, outer, slab):
            z = np.linspace(1.5, 26 + self.painter.camera.z, 8)
            line = np.stack([self.street.at(sign * offset, float(at)) for at in z])
            self.painter.stroke(line[self.painter.camera.distance(line) > 0.5], joint)

    def _crossing_street(self) -> None:
        assert self.street.junction is not None
        near, far = self.street.junction.near, self.street.junction.far
        middle = float(self.street.middle(np.array((near + far) / 2)))
        for start, end, albedo, surface in (
            (near - 2.6, far + 2.6, self.colors.paving, "pavement"),
            (near - 0.2, far + 0.2, self.colors.curb, "pavement"),
            (near, far, self.colors.asphalt, "road"),
        ):
            corners = [
                [middle + x, 0, z] for x, z in ((-_CROSS, start), (_CROSS, start), (_CROSS, end), (-_CROSS, end))
            ]
            self._area(np.array(corners, np.float64), albedo, surface)

    def _repairs(self, rng: np.random.Generator) -> None:
        """Draw patches of newer asphalt and manhole covers."""
        for _ in range(int(rng.integers(0, 5))):
            offset, z = rng.uniform(-1, 1) * self.street.half_width, rng.uniform(4, 30)
            outline = self.street.band(offset, offset + rng.uniform(0.5, 2.2), z, z + rng.uniform(1, 9))
            self._area(outline, self.colors.asphalt * rng.uniform(0.78, 1.12), "road")
        for _ in range(int(rng.integers(0, 3))):
            center = self.street.at(rng.uniform(-0.8, 0.8) * self.street.half_width, rng.uniform(4, 18))
            angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            ring = np.stack([np.cos(angle), np.zeros(16), np.sin(angle)], axis=1) * 0.34
            self._area(center + ring, self.colors.asphalt * 0.6, "road")

    def _lanes(self, rng: np.random.Generator) -> None:
        width = 2 * self.street.half_width / self.street.num_lanes
        solid_middle = rng.uniform() < 0.3
        for line in range(1, self.street.num_lanes):
            offset = -self.street.half_width + line * width
            central = 2 * line == self.street.num_lanes
            self._line(offset, 0.0 if central and solid_middle else 4.0)
        for sign in (-1, 1):
            if self.street.side(sign).parking or rng.uniform() < 0.4:
                self._line(sign * (self.street.half_width - 0.05), 0.0)

    def _line(self, offset: float, dash: float) -> None:
        """Paint a lane line, interrupted at the junction; a dash length of 0 makes it solid."""
        junction = self.street.junction
        for start, end in ((0.5, 100.0),) if junction is None else ((0.5, junction.near), (junction.far, 100.0)):
            if dash == 0:
                self._paint(offset - 0.07, offset + 0.07, start, end)
            for z in np.arange(start, end - dash, 2.2 * dash) if dash else ():
                self._paint(offset - 0.07, offset + 0.07, z, z + dash)

    def _crosswalk(self, z: float) -> None:
        inner, outer = -self.street.curb(-1) + 0.3, self.street.curb(1) - 0.3
        for offset in np.arange(inner, outer - 0.4, 1.0):
            self._paint(offset, offset + 0.5, z, z + 3.0)

    def _paint(self, start: float, end: float, near: float, far: float) -> None:
        self._area(self.street.band(start, end, near, far), self.colors.paint, "road")


_TILE = 256


def finish_ground(painter: Painter, rng: np.random.Generator, shadow: Field, grass_owner: int) -> None:
    """Apply grain, shadows and haze to the ground.

    Args:
        painter: Painter with only sky and ground on its canvas.
        rng: Random generator for the grain.
        shadow: Fraction of sunlight removed, float32, 0 … 1, with one value per ``STEP`` × ``STEP`` pixels.
        grass_owner: Owner number of grass, which has more grain than other surfaces.
    """
    top, x, z = painter.camera.ground_below(painter.canvas.size, STEP)
    part = painter.canvas.picture[top:]
    if not part.size:
        return
    grass = painter.canvas.owners[top + STEP // 2 :: STEP, STEP // 2 :: STEP] == grass_owner
    rough = np.where(grass, np.float32(2.2), np.float32(1))
    factor = 1 + rough * _grain(rng, x.astype(np.float32), z.astype(np.float32), painter.camera)
    lost = shadow[top // STEP :, :, None] * (1 - painter.light.shadow_factor).astype(np.float32)
    air = painter.light.haze(z - painter.camera.z).astype(np.float32)[..., None]
    size = part.shape[1], part.shape[0]
    scale = cv2.resize(factor[..., None] * (1 - lost) * (1 - air), size)
    veil = cv2.resize((air * painter.light.sky_low).astype(np.uint8), size)
    part[:] = cv2.add(cv2.multiply(part, scale, dtype=cv2.CV_8U), veil)


def _grain(rng: np.random.Generator, x: Field, z: Field, camera: Camera) -> Field:
    """Sample coarse stains and fine grit on the ground; they fade where they would be finer than pixels."""
    stains = fractal_noise(rng, (_TILE, _TILE), (24, 24), 4)
    grit = 2 * rng.random((_TILE, _TILE), np.float32) - 1
    x, z = np.clip(x, -300, 300), np.clip(z, 0, 300)
    near = np.clip(1 - (z - np.float32(camera.z)) * np.float32(22 / camera.focal), 0, 1)
    coarse = cv2.remap(stains, x * 11, z * 6, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    fine = cv2.remap(grit, x * 45, z * 30, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(0.10 * coarse * (0.5 + 0.5 * near) + 0.10 * fine * near, dtype=np.float32)
