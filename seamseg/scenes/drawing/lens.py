"""Effects of a real camera: exposure, white balance, blur, vignetting and noise."""

from __future__ import annotations

import cv2
import numpy as np

from seamseg.scenes.drawing.canvas import Picture
from seamseg.scenes.drawing.noise import Field


def develop(
    rng: np.random.Generator, picture: Picture, size: tuple[int, int], noise: np.random.Generator | None = None
) -> Picture:
    """Downscale a drawing and apply the effects of a real camera.

    Args:
        rng: Random generator of the camera's properties.
        picture: Drawing, H×W×3 uint8 RGB.
        size: Height and width of the result.
        noise: Random generator of the noise; None uses ``rng``.
    """
    small = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    image = cv2.LUT(small, _response(rng, float(small.mean()) / 255)).astype(np.float32)
    image *= _vignette(size, rng.uniform(0.0, 0.28))[..., None]
    if rng.uniform() < 0.5:
        sigma = rng.uniform(0.25, 0.55) * max(1.0, size[0] / 400)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)
    return np.asarray(np.clip(image + _noise(noise or rng, size), 0, 255), dtype=np.uint8)


def _response(rng: np.random.Generator, brightness: float) -> Field:
    """Sample a 1×256×3 response curve of sensor and software.

    Cameras brighten dark scenes, but not completely, estimate the color of the light and increase the contrast.
    """
    wanted = rng.uniform(0.40, 0.52)
    gain = np.clip((wanted / max(brightness, 0.02)) ** 0.75, 0.7, 2.6)
    warmth, tint, contrast = rng.normal(0, 0.04), rng.normal(0, 0.012), rng.uniform(-0.05, 0.3)
    exposed = np.linspace(0, 1, 256)[:, None] * gain * np.array([1 + warmth, 1 + tint, 1 - warmth])
    level = np.minimum(exposed, 1)
    curve = level + contrast * (level * level * (3 - 2 * level) - level)
    return np.asarray(255 * curve[None], dtype=np.float32)


def _vignette(size: tuple[int, int], strength: float) -> Field:
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
    return np.float32(1) - np.float32(strength * 0.5) * (x * x + y * y)


def _noise(rng: np.random.Generator, size: tuple[int, int]) -> Field:
    """Sample H×W×3 noise, mostly in brightness; sums of random bytes are close enough to a normal distribution."""
    grain = rng.integers(0, 256, (*size, 4), np.uint8).astype(np.float32)
    strength = rng.uniform(0.004, 0.016) * 255 / 90
    mix = np.full((3, 5), 0.5) + 0.5 * np.eye(3, 5)
    mix[:, 4] = -2.5 * 127.5
    return np.asarray(cv2.transform(grain, mix * strength), dtype=np.float32)
