"""Facades of buildings: styles and textures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.scenes.drawing.canvas import Picture
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.noise import fractal_noise, value_noise

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
    """Appearance of the walls of one building.

    Attributes:
        wall: Albedo of the wall.
        trim: Albedo of frames and ledges.
        glass: Albedo of the panes.
        surface: Material of the wall.
        floor: Height of the cell around one window in meters.
        bay: Width of the cell around one window in meters.
        window: Width and height of the window as fractions of its cell.
        balconies: Whether there are railings in front of the windows.
        shops: Whether the ground floor consists of shops.
        lamps: Fraction of lit windows.
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
    """Sample a facade style; ``lamps`` is the amount of artificial light, 0 … 1."""
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


Colors = npt.NDArray[np.float64]

_LAMPLIGHT = np.array([255.0, 205.0, 130.0])


@dataclass(frozen=True, eq=False)
class Tone:
    """Function that converts an albedo to the visible color.

    Attributes:
        shade: RGB factors of the light.
        sky: Color of the sky, which is also the color of panes' reflections and of haze.
        air: Fraction of a color that haze replaces.
    """

    shade: Rgb
    sky: Rgb
    air: float

    def __call__(self, albedo: Rgb) -> Rgb:
        """Return the visible color of a lit surface."""
        return self.glow(albedo * self.shade)

    def glow(self, color: Rgb) -> Rgb:
        """Return the visible color of a surface that shines itself."""
        return np.asarray(np.clip(color * (1 - self.air) + self.sky * self.air, 0, 255))


def paint_facade(
    rng: np.random.Generator, style: FacadeStyle, tone: Tone, size: tuple[float, float], scale: float
) -> Picture:
    """Paint the texture of one wall.

    Args:
        rng: Random generator for differences between windows.
        style: Style of the building.
        tone: Effect of light and haze.
        size: Height and width of the wall in meters.
        scale: Pixels per meter.

    Returns:
        The H×W×3 texture.
    """
    floors, bays = max(1, round(size[0] / style.floor)), max(1, round(size[1] / style.bay))
    tile = max(6, round(size[0] * scale / floors)), max(6, round(size[1] * scale / bays))
    wall = _wall(rng, style, tone, (floors * tile[0], bays * tile[1]), scale)
    _windows(rng, style, tone, wall, (floors, bays))
    if style.shops:
        _shops(rng, style, tone, wall[-tile[0] :])
    elif style.surface != "glass":
        _door(rng, tone, wall, tile)
    _ledges(style, tone, wall, tile[0])
    return wall


def _wall(rng: np.random.Generator, style: FacadeStyle, tone: Tone, size: tuple[int, int], scale: float) -> Picture:
    """Paint the bare wall, with vertical stains, and rows of bricks if it is a brick wall."""
    dirt = 1 + 0.10 * fractal_noise(rng, size, (size[0] / 2, max(size[1] / 6, 2)), 4)
    if style.surface == "bricks":
        rows = np.arange(size[0]) * 3 // max(int(scale * 0.5), 3)
        dirt *= 1 + 0.09 * rng.uniform(-1, 1, int(rows[-1]) + 1)[rows, None].astype(np.float32)
        dirt *= 1 + 0.10 * value_noise(rng, size, (1, 3))
    dirt *= np.linspace(1.04, 0.90, size[0], dtype=np.float32)[:, None]
    tint = np.stack([style.wall * tone.shade * (1 - tone.air), tone.sky * tone.air], axis=1)
    return np.asarray(cv2.convertScaleAbs(cv2.transform(dirt, tint)), dtype=np.uint8)


def _windows(rng: np.random.Generator, style: FacadeStyle, tone: Tone, wall: Picture, grid: tuple[int, int]) -> None:
    """Paint a window into every cell of the grid (floors, bays)."""
    floors, bays = grid
    height, width = wall.shape[0] // floors, wall.shape[1] // bays
    cells = wall.reshape(floors, height, bays, width, 3)
    top, left = round(height * (1 - style.window[1]) * 0.45), round(width * (1 - style.window[0]) / 2)
    bottom, right = top + max(2, round(height * style.window[1])), left + max(2, round(width * style.window[0]))
    trim = tone(style.trim)
    cells[:, max(top - 1, 0) : bottom + 1, :, max(left - 1, 0) : right + 1] = trim
    cells[:, top:bottom, :, left:right] = _panes(rng, style, tone, grid, bottom - top)[:, :, :, None, :]
    if right - left >= 8:
        cells[:, top:bottom, :, (left + right) // 2] = trim
        cells[:, top + (bottom - top) // 3, :, left:right] = trim
    if style.balconies and bottom - top >= 8:
        rail = slice(bottom - (bottom - top) // 3, min(bottom + 2, height))
        cells[:-1, rail, :, max(left - 2, 0) : right + 2 : 2] = trim * 0.6
    cells[:, min(bottom + 1, height - 1), :, max(left - 2, 0) : right + 2] = trim * 0.7


def _panes(rng: np.random.Generator, style: FacadeStyle, tone: Tone, grid: tuple[int, int], rows: int) -> Colors:
    """Sample floors×rows×bays×3 pane colors with random sky reflections; some have blinds, some are lit from inside."""
    per_window = (grid[0], 1, grid[1], 1)
    down = np.linspace(0, 1, rows)[None, :, None, None]
    mirror = rng.uniform(0.05, 0.42, per_window) * (1.3 - 0.8 * down)
    panes = tone.glow(style.glass * (0.3 + 0.5 * tone.shade) + mirror * tone.sky)
    drawn = rng.uniform(-1.2, 0.8, per_window) > down
    panes = np.where(drawn, tone(style.trim * 0.8), panes)
    lit = rng.uniform(0, 1, per_window) < style.lamps
    return np.where(lit, tone.glow(_LAMPLIGHT * rng.uniform(0.55, 1.0, per_window)), panes)


def _shops(rng: np.random.Generator, style: FacadeStyle, tone: Tone, floor: Picture) -> None:
    """Paint shop windows along the ground floor; each shop has its own sign board, and some have an awning."""
    height, left = floor.shape[0], 0
    while left < floor.shape[1]:
        width = int(height * rng.uniform(1.1, 2.2))
        shop = floor[:, left : left + width]
        shop[:] = tone(style.trim * 0.8)
        board = _sample_board(rng)
        shop[height // 10 : height // 4] = tone(board)
        edge = max(1, width // 14)
        pane = shop[height // 3 : -max(1, height // 10), edge:-edge]
        down = np.linspace(0, 1, pane.shape[0])[:, None, None]
        inside = _LAMPLIGHT * 0.75 if rng.uniform() < 2 * style.lamps else style.glass
        pane[:] = tone.glow(inside * (1 - 0.4 * down) + 0.15 * tone.sky)
        if rng.uniform() < 0.4:
            shop[height // 4 : height // 4 + max(2, height // 7)] = tone(board * 0.8)
        left += width


def _sample_board(rng: np.random.Generator) -> Rgb:
    gray, tint = rng.uniform(30, 210), rng.uniform(20, 220, 3)
    return np.asarray(gray + (tint - gray) * rng.uniform(0.1, 0.8))


def _door(rng: np.random.Generator, tone: Tone, wall: Picture, tile: tuple[int, int]) -> None:
    height, width = round(tile[0] * 0.72), max(3, round(tile[0] * 0.34))
    left = int(rng.integers(0, max(wall.shape[1] - width, 1)))
    color = rng.uniform(30, 150) * rng.uniform(0.6, 1.0, 3)
    wall[-height:, max(left - 2, 0) : left + width + 2] = tone(color * 0.6)
    wall[-height + max(1, height // 12) :, left : left + width] = tone(color)


def _ledges(style: FacadeStyle, tone: Tone, wall: Picture, floor: int) -> None:
    """Paint the cornice at the top and a ledge above the ground floor."""
    thickness = max(1, floor // 9)
    wall[:thickness] = tone(style.trim * 1.05)
    wall[thickness : thickness + max(1, thickness // 2)] = tone(style.wall * 0.65)
    if wall.shape[0] > 2 * floor:
        wall[-floor - thickness : -floor] = tone(style.trim)
