"""Drawing of the sky and the horizon."""

from __future__ import annotations

import cv2
import numpy as np

from seamseg.scenes.drawing.camera import NEAR
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.noise import Field, fractal_noise, value_noise
from seamseg.scenes.drawing.painter import Painter
from seamseg.scenes.layout.street import FAR


def draw_horizon(painter: Painter, rng: np.random.Generator, albedo: Rgb, height: float, ragged: float) -> None:
    """Draw a distant silhouette across the whole picture.

    Args:
        painter: Painter to draw with; its owner gets the pixels.
        rng: Random generator for the outline.
        albedo: Color of the silhouette.
        height: Mean height in meters.
        ragged: 0 for the steps of a skyline, 1 for the crowns of woods.
    """
    count = 96
    x = np.linspace(-420, 420, count)
    heights = height * (1 + 0.5 * value_noise(rng, (1, count), (1, 8))[0])
    if ragged < 0.5:
        x, heights = np.repeat(x, 2)[1:], np.repeat(rng.uniform(0.4, 1.5, count) * height, 2)[:-1]
    else:
        heights = heights + 0.2 * height * value_noise(rng, (1, count), (1, 1.0))[0]
    top = np.stack([x, heights, np.full(len(x), FAR)], axis=1)
    foot = np.array([[420.0, -1.0, FAR], [-420.0, -1.0, FAR]])
    painter.face(np.concatenate([top, foot]), albedo, np.array([0.0, 0.3, -0.95]))


_COARSENESS = 4


def draw_sky(painter: Painter, rng: np.random.Generator) -> None:
    """Fill the whole canvas with sky."""
    height, width = painter.canvas.size
    size = (max(height // _COARSENESS, 8), max(width // _COARSENESS, 8))
    rise = _rise(painter, size)
    low, top = painter.light.sky_low.astype(np.float32), painter.light.sky_top.astype(np.float32)
    sky = low + (top - low) * (rise**0.7)[..., None]
    cover = _clouds(rng, size, rise, painter.light.clouds)
    white = np.float32(0.35) * low + np.float32(0.65) * np.minimum(low * np.float32(1.15), 250)
    shadowed = white * (0.80 + 0.20 * fractal_noise(rng, size, _cells(size), 3))[..., None]
    sky = sky + (shadowed - sky) * cover[..., None]
    sky = sky + _glow(painter, size)[..., None] * painter.light.direct.astype(np.float32) * 120
    coarse = np.clip(sky, 0, 255).astype(np.uint8)
    painter.canvas.picture[:] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    painter.canvas.owners[:] = painter.owner


def _rise(painter: Painter, size: tuple[int, int]) -> Field:
    """Height above the horizon: 0 at the horizon and below, 1 far above it."""
    rows = (np.arange(size[0]) + 0.5) * painter.canvas.size[0] / size[0]
    above = np.clip((painter.camera.center[1] - rows) / (0.75 * painter.camera.focal), 0, 1)
    return np.repeat(above[:, None], size[1], axis=1).astype(np.float32)


def _cells(size: tuple[int, int]) -> tuple[float, float]:
    """Height and width of a noise cell; clouds are wider than tall."""
    return size[0] / 5, max(size) / 4.5


def _clouds(rng: np.random.Generator, size: tuple[int, int], rise: Field, amount: float) -> Field:
    """Cloud cover of each pixel, 0 … 1."""
    field = fractal_noise(rng, size, _cells(size), 5)
    cover = np.clip((field + np.float32(1.5 * amount - 0.75)) * np.float32(2.2), 0, 1)
    return np.asarray(cover * (0.35 + 0.65 * rise), dtype=np.float32)


def _glow(painter: Painter, size: tuple[int, int]) -> Field:
    """Brightness around the sun, 0 … 1, if the sun is in front of the camera."""
    column, row, depth = painter.camera.homogeneous(painter.light.sun[None] * 1e4)[0]
    if depth < NEAR:
        return np.zeros(size, np.float32)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) * np.float32(painter.canvas.size[0] / size[0])
    distance = np.hypot(x - np.float32(column / depth), y - np.float32(row / depth)) / np.float32(painter.camera.focal)
    return np.asarray((1 - painter.light.clouds) * np.exp(-distance * 3.0) + 0.1 * np.exp(-distance), np.float32)
