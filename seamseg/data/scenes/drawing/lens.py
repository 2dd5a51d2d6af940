"""What a real camera adds: exposure, white balance, softness, darker corners and noise."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.data.scenes.drawing.canvas import Picture
from seamseg.data.scenes.drawing.noise import Field


def develop(rng: np.random.Generator, picture: Picture, size: tuple[int, int]) -> Picture:
    """Scales a large drawing down to ``size`` (height, width) and makes a photograph of it."""
    small = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    image = small.astype(np.float32) / np.float32(255)
    image = image * (_exposure(rng, float(image.mean())) * _vignette(size, rng.uniform(0.0, 0.28))[..., None])
    image = np.minimum(image, 1)
    contrast = np.float32(rng.uniform(-0.05, 0.3))
    image += contrast * (image * image * (3 - 2 * image) - image)
    if rng.uniform() < 0.5:
        sigma = rng.uniform(0.25, 0.55) * max(1.0, size[0] / 400)
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    return np.asarray(np.clip((image + _noise(rng, size)) * 255 + 0.5, 0, 255), dtype=np.uint8)


def _exposure(rng: np.random.Generator, brightness: float) -> npt.NDArray[np.float32]:
    """Factors (3): cameras lighten dark scenes, but not all the way, and guess the colour of the light."""
    wanted = rng.uniform(0.40, 0.52)
    gain = np.clip((wanted / max(brightness, 0.02)) ** 0.75, 0.7, 2.6)
    warmth, tint = rng.normal(0, 0.04), rng.normal(0, 0.012)
    return np.array([gain * (1 + warmth), gain * (1 + tint), gain * (1 - warmth)], np.float32)


def _vignette(size: tuple[int, int], strength: float) -> Field:
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
    return np.float32(1) - np.float32(strength * 0.5) * (x * x + y * y)


def _noise(rng: np.random.Generator, size: tuple[int, int]) -> Field:
    """size×3: grain, mostly in brightness; sums of random bytes are near enough to a bell curve."""
    grain = rng.integers(0, 256, (*size, 4), np.uint8).astype(np.float32)
    mixed = grain[..., :3] * np.float32(0.5) + (grain.sum(2, keepdims=True) * np.float32(0.5))
    return np.asarray((mixed - 2.5 * 127.5) * (rng.uniform(0.004, 0.016) / 90), dtype=np.float32)
