"""Positions of items and buildings: on the right part of the street, without overlap."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from seamseg.scenes.layout.filling import Layout, sample_layout
from seamseg.scenes.layout.street import Street, sample_street
from seamseg.scenes.objects.cars import Car
from seamseg.scenes.objects.lights import Lantern, TrafficLight
from seamseg.scenes.objects.signs import Sign


@pytest.fixture(scope="module", params=range(12))
def filled(request: pytest.FixtureRequest) -> tuple[Street, Layout]:
    rng = np.random.default_rng(request.param)
    street = sample_street(rng)
    return street, sample_layout(rng, street, street.half_width - street.half_width / street.num_lanes, 0.0)


def offset(street: Street, place: np.ndarray) -> float:
    return float(place[0] - street.middle(place[2]))


def test_items_do_not_overlap(filled: tuple[Street, Layout]) -> None:
    for one, two in combinations(filled[1].items, 2):
        assert not one.footprint.touches(two.footprint, -1e-6)


def test_cars_stand_on_the_road(filled: tuple[Street, Layout]) -> None:
    street, layout = filled
    for car in (item for item in layout.items if isinstance(item, Car)):
        across = street.junction is not None and street.junction.near < car.place[2] < street.junction.far
        assert across or -street.curb(-1) < offset(street, car.place) < street.curb(1)


def test_posts_stand_next_to_the_road(filled: tuple[Street, Layout]) -> None:
    street, layout = filled
    for post in (item for item in layout.items if isinstance(item, Sign | Lantern | TrafficLight)):
        x = offset(street, post.place)
        assert street.curb(int(np.sign(x))) < abs(x) < street.frontage(int(np.sign(x))) + 0.1


def test_buildings_stand_beyond_the_pavement_from_far_to_near(filled: tuple[Street, Layout]) -> None:
    street, layout = filled
    depths = [min(building.near[2], building.far[2]) for building in layout.buildings]
    assert depths == sorted(depths, reverse=True)
    for building in layout.buildings:
        if building.far[2] - building.near[2] > 1:
            x = offset(street, building.near)
            assert abs(x) >= street.pavement(int(np.sign(x)))[1] - 1e-6
