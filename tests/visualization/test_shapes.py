"""Rectangles and pictures with round corners."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.visualization.shapes import fill_rounded, paste_rounded, rounded_mask


def _slow_mask(height: int, width: int, radius: int, points: int = 20) -> np.ndarray:
    """Return the coverage of each pixel, by counting points of a fine grid inside the shape."""
    ys, xs = ((np.arange(length * points) + 0.5) / points for length in (height, width))
    dy = np.maximum(np.maximum(radius - ys, ys - (height - radius)), 0)
    dx = np.maximum(np.maximum(radius - xs, xs - (width - radius)), 0)
    inside = np.hypot.outer(dy, dx) <= radius
    return inside.reshape(height, points, width, points).mean(axis=(1, 3))


@pytest.mark.parametrize(("height", "width", "radius"), [(12, 30, 4), (9, 9, 4), (20, 5, 2), (7, 7, 0)])
def test_rounded_mask_equals_the_slow_coverage(height: int, width: int, radius: int) -> None:
    slow = np.ones((height, width)) if radius == 0 else _slow_mask(height, width, radius)
    assert np.abs(rounded_mask(height, width, radius) - slow).max() < 0.13


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (3, 2)])
def test_rounded_mask_with_a_too_large_radius_limits_it(height: int, width: int) -> None:
    assert rounded_mask(height, width, 50).shape == (height, width)


def test_fill_rounded_changes_only_its_rectangle_and_is_opaque_inside() -> None:
    canvas = np.full((20, 30, 3), 100, np.uint8)
    fill_rounded(canvas, (5, 5, 15, 25), 4, (200, 50, 0))
    assert canvas[10, 15].tolist() == [200, 50, 0]
    assert canvas[5, 5].tolist() == [100, 100, 100]
    canvas[5:15, 5:25] = 100
    assert (canvas == 100).all()


def test_fill_rounded_with_opacity_mixes_colors() -> None:
    canvas = np.full((9, 9, 3), 100, np.uint8)
    fill_rounded(canvas, (0, 0, 9, 9), 2, (200, 100, 0), 0.25)
    assert canvas[4, 4].tolist() == [125, 100, 75]


def test_paste_rounded_keeps_the_picture_except_its_corners() -> None:
    canvas = np.full((30, 30, 3), 255, np.uint8)
    picture = np.random.default_rng(0).integers(0, 200, (10, 12, 3), dtype=np.uint8)
    paste_rounded(canvas, picture, 7, 8, 3)
    assert np.array_equal(canvas[10:14, 8:20], picture[3:7])
    assert canvas[7, 8].tolist() == [255, 255, 255]
