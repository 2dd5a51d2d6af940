"""Shadows on the ground."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seamseg.scenes.drawing.camera import Camera, Footprint
from seamseg.scenes.drawing.light import Light, sample_light
from seamseg.scenes.drawing.painter import STEP, cast_shadows, share_of_sun

CAMERA = Camera(focal=100.0, center=(100.0, 40.0), x=0.0, height=2.0, yaw=0.0, roll=0.0)
POST = np.array([[x, y, z] for x in (-0.2, 0.2) for y in (0, 2) for z in (9.5, 10.5)])


def light_from(x: float) -> Light:
    sun = np.array([x, 1.0, 0.0]) / np.hypot(x, 1.0)
    light = sample_light(np.random.default_rng(0))
    return replace(light, sun=sun, direct=np.full(3, 0.7))


@pytest.mark.parametrize("x", [1.0, -1.0])
def test_cast_shadows_point_away_from_the_sun(x: float) -> None:
    shadow = cast_shadows((100, 200), CAMERA, light_from(x), [POST], [])
    assert shadow.shape == (100 // STEP, 200 // STEP)
    end, other = (CAMERA.project(np.array([[-1.5 * x, 0, 10], [1.5 * x, 0, 10]])) / STEP).astype(int)
    assert shadow[end[1], end[0]] > 0.2
    assert shadow[other[1], other[0]] == 0
    assert shadow[: 50 // STEP].max() == 0


def test_cast_shadows_without_sun_darken_only_the_feet() -> None:
    dull = replace(light_from(1.0), direct=np.full(3, 0.1))
    assert cast_shadows((100, 200), CAMERA, dull, [POST], []).max() == 0
    dark = cast_shadows((100, 200), CAMERA, dull, [POST], [Footprint(-0.5, 0.5, 9, 11)])
    column, row = (CAMERA.project(np.array([[0.0, 0.0, 10.0]]))[0] / STEP).astype(int)
    assert dark[row, column] > 0.3
    assert dark[row, column + 30 // STEP] == 0


def test_share_of_sun_is_one_minus_the_mean_shadow() -> None:
    shadow = np.zeros((100 // STEP, 200 // STEP), np.float32)
    shadow[:, 100 // STEP :] = 0.75
    left, right, behind = [-1.0, 0.0, 8.0], [1.0, 0.0, 8.0], [0.0, 0.0, -5.0]
    assert share_of_sun(shadow, CAMERA, np.array([left])) == 1
    assert share_of_sun(shadow, CAMERA, np.array([right])) == 0.25
    assert share_of_sun(shadow, CAMERA, np.array([left, right])) == 0.625
    assert share_of_sun(shadow, CAMERA, np.array([behind])) == 1
