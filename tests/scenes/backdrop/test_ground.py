"""Positions of the ground surfaces; shadows and grain do not change the labels."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.scenes.backdrop.ground import GroundOwners, GroundPainter, finish_ground, sample_ground_colors
from seamseg.scenes.drawing.camera import Camera
from seamseg.scenes.drawing.canvas import Canvas
from seamseg.scenes.drawing.light import sample_light
from seamseg.scenes.drawing.painter import STEP, Painter
from seamseg.scenes.layout.street import Junction, Side, Street

OWNERS = GroundOwners(road=3, pavement=4, vegetation=5)
SIZE = (200, 400)


def street(bend: float, junction: Junction | None) -> Street:
    left = Side("houses", parking=0.0, verge=1.5, pavement=2.0, garden=3.0)
    right = Side("city", parking=2.0, verge=0.0, pavement=3.0, garden=0.0)
    return Street(3.0, 2, left, right, bend, junction, crosswalk=8.0)


def painter() -> Painter:
    camera = Camera(focal=250.0, center=(200.0, 90.0), x=1.0, height=1.6, yaw=0.03, roll=0.01)
    return Painter(Canvas(SIZE), camera, sample_light(np.random.default_rng(1)))


@pytest.mark.parametrize("bend", [0.0, 0.004])
def test_ground_surfaces_match_the_street(bend: float) -> None:
    there, place = painter(), street(bend, Junction(20.0, 28.0))
    GroundPainter(there, place, sample_ground_colors(np.random.default_rng(0)), OWNERS).draw(np.random.default_rng(0))
    expected = {
        (-2.0, 12.0): OWNERS.road,
        (0.0, 9.0): OWNERS.road,
        (4.0, 12.0): OWNERS.road,
        (-3.8, 12.0): OWNERS.vegetation,
        (-5.5, 12.0): OWNERS.pavement,
        (-9.0, 16.0): OWNERS.vegetation,
        (6.5, 12.0): OWNERS.pavement,
        (9.0, 24.0): OWNERS.road,
        (-9.0, 24.0): OWNERS.road,
        (-9.0, 29.5): OWNERS.pavement,
    }
    for (offset, z), owner in expected.items():
        column, row = there.camera.project(place.at(offset, z)[None])[0].astype(int)
        assert there.canvas.owners[row, column] == owner, (offset, z)


def test_finish_ground_changes_the_picture_but_not_the_labels() -> None:
    there = painter()
    colors = sample_ground_colors(np.random.default_rng(0))
    GroundPainter(there, street(0.0, None), colors, OWNERS).draw(np.random.default_rng(0))
    picture, owners = there.canvas.picture.copy(), there.canvas.owners.copy()
    shadow = np.zeros((SIZE[0] // STEP, SIZE[1] // STEP), np.float32)
    shadow[:, : SIZE[1] // STEP // 2] = 1
    finish_ground(there, np.random.default_rng(0), shadow, OWNERS.vegetation)
    assert (there.canvas.owners == owners).all()
    change = there.canvas.picture[150:].astype(float) / np.maximum(picture[150:], 1)
    assert change[:, :190].mean() < change[:, 210:].mean() - 0.02
    assert (there.canvas.picture[:80] == picture[:80]).all()
