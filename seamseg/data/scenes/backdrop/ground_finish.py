"""What lies over the whole ground: grain, shadows and air."""

from __future__ import annotations

import cv2
import numpy as np

from seamseg.data.scenes.drawing.noise import Field, fractal_noise
from seamseg.data.scenes.drawing.painter import Painter
from seamseg.data.scenes.drawing.shadows import STEP

_TILE = 256


def finish_ground(painter: Painter, rng: np.random.Generator, shadow: Field, grass_owner: int) -> None:
    """Puts grain, shadows and air over the ground.

    Args:
        painter: with the sky and the ground on its canvas and nothing else yet.
        rng: for the grain.
        shadow: float32, 0 … 1, the share of the sun that is taken away, one value per ``STEP`` × ``STEP`` pixels.
        grass_owner: who owns the grass, which is rougher than the rest.
    """
    top, x, z = painter.camera.ground_below(painter.canvas.size, STEP)
    part = painter.canvas.picture[top:]
    if not part.size:
        return
    grass = painter.canvas.owners[top + STEP // 2 :: STEP, STEP // 2 :: STEP] == grass_owner
    rough = np.where(grass, np.float32(2.2), np.float32(1))
    factor = 1 + rough * _grain(rng, x.astype(np.float32), z.astype(np.float32), painter.camera.focal)
    lost = shadow[top // STEP :, :, None] * (1 - painter.light.shadow_factor).astype(np.float32)
    air = painter.light.haze(z).astype(np.float32)[..., None]
    size = part.shape[1], part.shape[0]
    scale = cv2.resize(factor[..., None] * (1 - lost) * (1 - air), size)
    veil = cv2.resize((air * painter.light.sky_low).astype(np.uint8), size)
    part[:] = cv2.add(cv2.multiply(part, scale, dtype=cv2.CV_8U), veil)


def _grain(rng: np.random.Generator, x: Field, z: Field, focal: float) -> Field:
    """Coarse stains and fine grit, both fixed to the ground, fading where they would be finer than pixels."""
    stains = fractal_noise(rng, (_TILE, _TILE), (24, 24), 4)
    grit = 2 * rng.random((_TILE, _TILE), np.float32) - 1
    x, z = np.clip(x, -300, 300), np.clip(z, 0, 300)
    near = np.clip(1 - z * np.float32(22 / focal), 0, 1)
    coarse = cv2.remap(stains, x * 11, z * 6, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    fine = cv2.remap(grit, x * 45, z * 30, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(0.10 * coarse * (0.5 + 0.5 * near) + 0.10 * fine * near, dtype=np.float32)
