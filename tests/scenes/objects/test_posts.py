"""Labels of signs and lights: the board or housing has an owner, and the post is void."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.scenes.drawing.camera import Camera
from seamseg.scenes.drawing.canvas import Canvas
from seamseg.scenes.drawing.light import sample_light
from seamseg.scenes.drawing.painter import NOBODY, Painter
from seamseg.scenes.objects.lights import Lantern, TrafficLight, sample_lantern, sample_traffic_light
from seamseg.scenes.objects.signs import Sign, sample_sign

FOOT = np.array([0.0, 0.0, 8.0])


def drawn(item: Sign | TrafficLight | Lantern) -> Painter:
    camera = Camera(focal=300.0, center=(150.0, 150.0), x=0.0, height=1.6, yaw=0.0, roll=0.0)
    painter = Painter(Canvas((300, 300)), camera, sample_light(np.random.default_rng(3)))
    painter.canvas.owners[:] = 1
    painter.owner = 9
    item.draw(painter)
    assert painter.owner == 9
    return painter


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("sample", [sample_sign, sample_traffic_light, sample_lantern])
def test_drawn_sign_or_light_labels_the_head_but_not_the_post(sample: object, seed: int) -> None:
    assert callable(sample)
    painter = drawn(sample(np.random.default_rng(seed), FOOT))
    owners = painter.canvas.owners
    rows, columns = np.nonzero(owners == 9)
    horizon = 150
    assert rows.max() < horizon + 5
    assert 100 < len(rows) < 300 * 100
    below = owners[horizon + 10 :]
    assert set(np.unique(below)) == {NOBODY, 1}
    assert abs(columns.mean() - 150) < 5


def test_traffic_light_has_expected_height_and_width_in_pixels() -> None:
    light = TrafficLight(FOOT, 3.0, 0.4, 3, 0, np.full(3, 40.0), shield=False)
    rows, columns = np.nonzero(drawn(light).canvas.owners == 9)
    scale = 300 / 8
    assert rows.min() == pytest.approx(150 - (4.2 - 1.6) * scale, abs=1.5)
    assert rows.max() == pytest.approx(150 - (3.0 - 1.6) * scale, abs=1.5)
    assert np.ptp(columns) == pytest.approx(0.96 * 0.4 * scale, abs=1.5)
