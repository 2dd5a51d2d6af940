"""Smooth random fields for clouds, leaves, dirt and plaster."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]


def value_noise(rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float]) -> Field:
    """Sample random values on a coarse grid, and interpolate them smoothly.

    Args:
        rng: Random generator.
        size: Height and width of the result.
        cell: Height and width of one grid cell in pixels of the result.

    Returns:
        A float32 field of the given size with values in about −1 … 1 and a mean of about 0.
    """
    return fractal_noise(rng, size, cell, 1)


def fractal_noise(rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float], octaves: int) -> Field:
    """Sample a sum of value noises, each twice as fine and half as strong as the previous one.

    Args:
        rng: Random generator.
        size: Height and width of the result.
        cell: Height and width of one grid cell of the coarsest noise, in pixels of the result.
        octaves: Number of noises.

    Returns:
        A float32 field of the given size with values in about −1 … 1 and a mean of about 0.
    """
    total = _grid(rng, size, cell, 1)
    for octave in range(1, octaves):
        finer = _grid(rng, size, cell, 2**octave)
        total = finer * np.float32(0.5**octave) + _resized(total, (finer.shape[0], finer.shape[1]))
    return _resized(total / np.float32(2 - 2.0 ** (1 - octaves)), size)


def _grid(rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float], finer: int) -> Field:
    rows = min(max(2, round(size[0] * finer / cell[0]) + 2), size[0])
    columns = min(max(2, round(size[1] * finer / cell[1]) + 2), size[1])
    return 2 * rng.random((rows, columns), np.float32) - 1


def _resized(field: Field, size: tuple[int, int]) -> Field:
    return np.asarray(cv2.resize(field, size[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)
