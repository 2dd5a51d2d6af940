"""Perspective projection of the camera."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.scenes.drawing.camera import NEAR, Camera, clip_near

LEVEL = Camera(focal=100.0, center=(64.0, 40.0), x=1.0, height=2.0, yaw=0.0, roll=0.0)
TILTED = Camera(focal=120.0, center=(70.0, 33.0), x=-0.5, height=1.6, yaw=0.1, roll=0.03)


def test_project_maps_known_points_to_pixels() -> None:
    points = np.array([[1.0, 2.0, 10.0], [1.0, 0.0, 10.0], [1.0, 0.0, 20.0], [3.0, 3.0, 10.0]])
    assert LEVEL.project(points) == pytest.approx(np.array([[64, 40], [64, 60], [64, 50], [84, 30]]))


def test_yaw_to_the_right_moves_points_to_the_left() -> None:
    turned = Camera(focal=100.0, center=(64.0, 40.0), x=0.0, height=2.0, yaw=0.1, roll=0.0)
    column, row = turned.project(np.array([[0.0, 2.0, 10.0]]))[0]
    assert column == pytest.approx(64 - 100 * np.tan(0.1))
    assert row == pytest.approx(40)


@pytest.mark.parametrize("camera", [LEVEL, TILTED])
@pytest.mark.parametrize("step", [1, 2])
def test_ground_below_projects_back_to_its_pixels(camera: Camera, step: int) -> None:
    top, x, z = camera.ground_below((80, 128), step)
    assert x.shape == z.shape == ((80 - top) // step, 128 // step)
    assert top % step == 0
    assert (z > 0).all()
    ground = np.stack([x, np.zeros_like(x), z], axis=-1).reshape(-1, 3)
    columns, rows = np.meshgrid(np.arange(step / 2, 128, step), np.arange(top + step / 2, 80, step))
    near = z.reshape(-1) < 500
    expected = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    seen = camera.homogeneous(ground)
    assert (seen[:, :2] / seen[:, 2:])[near] == pytest.approx(expected[near], abs=1e-6)


def test_ground_below_with_horizon_outside_the_picture_is_empty() -> None:
    high = Camera(focal=100.0, center=(64.0, 300.0), x=0.0, height=2.0, yaw=0.0, roll=0.0)
    assert high.ground_below((80, 128), 2)[1].size == 0


def test_clip_near_removes_the_part_behind_the_lens() -> None:
    square = np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 3.0], [1.0, 0.0, 3.0], [1.0, 0.0, -1.0]])
    clipped = clip_near(square)
    assert clipped[:, 2].min() == pytest.approx(NEAR)
    assert clipped[:, 2].max() == 3.0
    assert len(clipped) == 4
    assert len(clip_near(square - np.array([0, 0, 5]))) == 0
    ahead = square + np.array([0, 0, 5])
    assert (clip_near(ahead) == ahead).all()
