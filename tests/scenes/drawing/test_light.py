"""Light: surfaces facing the sun are the brightest, and distant colors approach the color of haze."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.scenes.drawing.light import sample_light


@pytest.mark.parametrize("seed", range(12))
def test_sampled_light_is_physically_plausible(seed: int) -> None:
    light = sample_light(np.random.default_rng(seed))
    assert np.linalg.norm(light.sun) == pytest.approx(1)
    assert light.sun[1] > 0
    facing, turned = light.shade(np.stack([light.sun, -light.sun]), 1.0)
    assert (facing > turned).all()
    assert (light.shade(light.sun[None], 0.0)[0] < facing).all()
    assert ((light.shadow_factor > 0) & (light.shadow_factor < 1)).all()
    color = np.array([[200.0, 10.0, 90.0]])
    assert light.through_air(color, np.array([0.0])) == pytest.approx(color)
    assert light.through_air(color, np.array([1e6]))[0] == pytest.approx(light.sky_low)
