"""Pictures of leaves, drawn once and used for every tree of that shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from seamseg.data.scenes.drawing.noise import Field, fractal_noise

Shape = Literal["round", "tall", "fir", "bush", "hedge"]

NUM_VARIANTS = 12
"""Crowns of each shape; mirrored and stretched they look like more."""

_SIZES = {"round": (1.0, 1.0), "tall": (1.6, 0.6), "fir": (1.5, 0.75), "bush": (0.8, 1.0), "hedge": (0.5, 1.4)}


@dataclass(frozen=True, eq=False)
class Crown:
    """A crown lit from above; all h×w.

    Attributes:
        brightness: float32, about 1, without sun from the side.
        sideways: float32, what sun from the right adds.
        mask: uint8, 0 … 255, one half at the outline.
    """

    brightness: Field
    sideways: Field
    mask: npt.NDArray[np.uint8]


@lru_cache(maxsize=256)
def crown(shape: Shape, variant: int, pixels: int) -> Crown:
    """The crown of one variant.

    Args:
        shape: of the plant.
        variant: 0 … ``NUM_VARIANTS`` − 1.
        pixels: about the side of the picture.
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
    """A box, or a cone in storeys: how far inside, how bright, how much brighter with sun from the right."""
    if shape == "hedge":
        return _float32(5 * np.minimum(1 - np.abs(x), y + 1) - 0.25, 1 - 0.25 * y, 0.15 * x)
    storey = (y * 3.5) % np.float32(1.0)
    inside = 5 * ((1 + y) * 0.52 - np.abs(x) - 0.10 * storey) - 0.25
    return _float32(inside, 0.85 + 0.3 * storey - 0.1 * y, 0.35 * x)


def _float32(*fields: npt.NDArray[np.float64] | Field) -> tuple[Field, Field, Field]:
    inside, light, side = (field.astype(np.float32) for field in fields)
    return inside, light, side


def _clumps(rng: np.random.Generator, shape: Shape, x: Field, y: Field) -> tuple[Field, Field, Field]:
    """A union of balls of leaves, as :func:`_trimmed`; every ball is bright above."""
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
