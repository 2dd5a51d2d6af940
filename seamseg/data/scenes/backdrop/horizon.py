"""What stands at the horizon."""

from __future__ import annotations

import numpy as np

from seamseg.data.scenes.drawing.light import Rgb
from seamseg.data.scenes.drawing.noise import value_noise
from seamseg.data.scenes.drawing.painter import Painter
from seamseg.data.scenes.layout.street import FAR


def draw_horizon(painter: Painter, rng: np.random.Generator, albedo: Rgb, height: float, ragged: float) -> None:
    """A distant silhouette across the whole picture.

    Args:
        painter: whose owner gets the pixels.
        rng: for the outline.
        albedo: its colour.
        height: metres, on average.
        ragged: 0 for the steps of a skyline, 1 for the crowns of a wood.
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
