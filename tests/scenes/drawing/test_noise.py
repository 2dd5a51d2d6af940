"""Noise that is smooth, centered and reproducible."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.scenes.drawing.noise import fractal_noise, value_noise


@pytest.mark.parametrize("size", [(40, 70), (1, 96), (200, 3)])
def test_fractal_noise_has_requested_size_and_range(size: tuple[int, int]) -> None:
    field = fractal_noise(np.random.default_rng(0), size, (10, 10), 4)
    assert field.shape == size
    assert field.dtype == np.float32
    assert np.abs(field).max() < 1.6


def test_fractal_noise_is_centered_and_reproducible() -> None:
    one, two = (fractal_noise(np.random.default_rng(3), (300, 300), (10, 10), 3) for _ in range(2))
    assert (one == two).all()
    assert abs(one.mean()) < 0.05
    assert one.std() > 0.1


def test_value_noise_is_smooth_within_a_cell() -> None:
    field = value_noise(np.random.default_rng(0), (100, 100), (20, 20))
    assert np.abs(np.diff(field, axis=0)).max() < 0.35
    assert np.ptp(field) > 0.8
