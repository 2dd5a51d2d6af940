"""Proportions of human figures."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.scenes.objects.figures import figure
from seamseg.scenes.objects.people import sample_person


@pytest.mark.parametrize("seed", range(30))
def test_figure_spans_the_body_height_and_is_slim(seed: int) -> None:
    person = sample_person(np.random.default_rng(seed), np.zeros(3))
    points = np.concatenate([outline for outline, _ in figure(person.pose, person.clothes)])
    assert -0.05 < points[:, 1].min() < 0.05
    assert 0.97 < points[:, 1].max() < 1.03
    assert np.ptp(points[:, 0]) < 0.75
    assert abs(points[:, 0].mean()) < 0.05
