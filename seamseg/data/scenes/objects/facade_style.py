"""What a building's walls look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from seamseg.data.scenes.drawing.light import Rgb

Wall = Literal["plaster", "bricks", "glass"]

_TINTS: dict[Wall, tuple[tuple[int, int, int], ...]] = {
    "plaster": (
        (214, 200, 172),
        (188, 176, 160),
        (150, 152, 156),
        (206, 178, 130),
        (176, 190, 170),
        (158, 176, 196),
        (204, 160, 140),
        (228, 226, 220),
        (112, 116, 122),
        (126, 132, 96),
    ),
    "bricks": ((150, 88, 66), (172, 112, 84), (122, 78, 64), (176, 150, 116), (104, 92, 88), (138, 120, 104)),
    "glass": ((120, 128, 136), (86, 92, 100), (160, 160, 156), (96, 110, 104), (104, 84, 66)),
}
"""Albedo of walls."""


@dataclass(frozen=True, eq=False)
class FacadeStyle:
    """What one building's walls look like; lengths in metres, shares of a window's cell.

    Attributes:
        wall, trim, glass: colours (albedo) of the wall, the frames and ledges, and the panes.
        surface: what the wall is made of.
        floor, bay: height and width of one window's cell.
        window: width and height of the window, as shares of its cell.
        balconies: whether rails run before the windows.
        shops: whether the ground floor is one of shops.
        lamps: share of the windows that are lit.
    """

    wall: Rgb
    trim: Rgb
    glass: Rgb
    surface: Wall
    floor: float
    bay: float
    window: tuple[float, float]
    balconies: bool
    shops: bool
    lamps: float


def sample_style(rng: np.random.Generator, surface: Wall, shops: bool, lamps: float) -> FacadeStyle:
    wall = _sample_wall(rng, surface)
    light_trim = rng.uniform() < 0.7
    return FacadeStyle(
        wall=wall,
        trim=np.clip(wall * rng.uniform(1.15, 1.5) + 12, 0, 245) if light_trim else wall * rng.uniform(0.5, 0.8),
        glass=np.array([62.0, 74.0, 86.0]) * rng.uniform(0.5, 1.4) + rng.normal(0, 5, 3),
        surface=surface,
        floor=float(rng.uniform(2.9, 3.7)),
        bay=float(rng.uniform(1.5, 3.2)),
        window=(0.9, 0.74) if surface == "glass" else (float(rng.uniform(0.36, 0.62)), float(rng.uniform(0.44, 0.66))),
        balconies=bool(surface != "glass" and rng.uniform() < 0.22),
        shops=shops,
        lamps=lamps * float(rng.uniform(0.15, 0.5)),
    )


def _sample_wall(rng: np.random.Generator, surface: Wall) -> Rgb:
    tint = np.array(_TINTS[surface][int(rng.integers(len(_TINTS[surface])))], np.float64)
    return np.clip(tint * rng.uniform(0.75, 1.1) + rng.normal(0, 3, 3), 20, 245)
