"""Drawing order of items, and the pixels that they own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from seamseg.scenes.drawing.camera import Camera, Footprint, Points
from seamseg.scenes.drawing.canvas import Canvas
from seamseg.scenes.drawing.light import sample_light
from seamseg.scenes.drawing.painter import Painter
from seamseg.scenes.objects.cars import sample_car
from seamseg.scenes.objects.items import far_to_near
from seamseg.scenes.objects.people import Crowd, sample_person


@dataclass(frozen=True)
class Block:
    name: str
    footprint: Footprint
    category: str = "void"
    crowd: bool = False

    def feet(self) -> list[Footprint]:
        return []

    def casters(self) -> list[Points]:
        return []

    def draw(self, painter: Painter) -> None:
        return None


# A car to the right of the camera at (0, 0), and people to the right of the car, in front of it and behind it.
CAR = Block("car", Footprint(2, 4, 10, 14.5))
TO_THE_RIGHT = Block("to the right", Footprint(4.5, 5, 11, 11.4))
IN_FRONT = Block("in front", Footprint(2.5, 3, 8, 8.4))
BEHIND = Block("behind", Footprint(2.5, 3, 15, 15.4))


@pytest.mark.parametrize("order", list(permutations([CAR, TO_THE_RIGHT, IN_FRONT, BEHIND])))
def test_far_to_near_given_any_order_sorts_by_visibility(order: tuple[Block, ...]) -> None:
    names = [block.name for block in far_to_near(order, 0.0)]
    assert names.index("behind") < names.index("car") < names.index("in front")
    assert names.index("to the right") < names.index("car")


def test_far_to_near_left_of_the_camera_is_mirrored() -> None:
    mirrored = [Block(b.name, Footprint(-b.footprint.right, -b.footprint.left, b.footprint.near, b.footprint.far))
                for b in (CAR, TO_THE_RIGHT)]  # fmt: skip
    assert [block.name for block in far_to_near(mirrored, 0.0)] == ["to the right", "car"]
    assert [block.name for block in far_to_near([CAR, TO_THE_RIGHT], 20.0)] == ["car", "to the right"]


def test_far_to_near_given_cyclic_order_terminates() -> None:
    same = [Block(str(number), Footprint(0, 1, 5, 6)) for number in range(4)]
    assert len(far_to_near(same, 0.0)) == 4


def test_footprint_touches_within_the_gap() -> None:
    one = Footprint(0, 1, 0, 1)
    assert one.touches(Footprint(0.5, 2, 0.5, 2))
    assert not one.touches(Footprint(1.1, 2, 0, 1))
    assert one.touches(Footprint(1.1, 2, 0, 1), gap=0.2)
    assert Footprint.around(np.array([3.0, 0.0, 8.0]), 1, 2) == Footprint(2, 4, 6, 10)


def painter() -> Painter:
    camera = Camera(focal=200.0, center=(150.0, 60.0), x=0.0, height=1.6, yaw=0.0, roll=0.0)
    return Painter(Canvas((150, 300)), camera, sample_light(np.random.default_rng(0)))


def test_nearer_item_owns_shared_pixels() -> None:
    rng, there = np.random.default_rng(0), painter()
    car, person = sample_car(rng, np.array([0.0, 0.0, 12.0]), 0.0), sample_person(rng, np.array([0.0, 0.0, 7.0]))
    items: list[Any] = [person, car]
    for number, item in enumerate(far_to_near(items, 0.0), start=1):
        there.owner = number
        item.draw(there)
    column, row = there.camera.project(np.array([[0.0, 1.0, 7.0]]))[0].astype(int)
    assert there.canvas.owners[row, column] == 2
    assert (there.canvas.owners == 1).sum() > 500


@pytest.mark.parametrize("heading", np.linspace(0, 2 * np.pi, 9))
def test_drawn_car_stays_within_its_footprint(heading: float) -> None:
    there = painter()
    car = sample_car(np.random.default_rng(5), np.array([1.0, 0.0, 11.0]), float(heading))
    there.owner = 1
    car.draw(there)
    rows, columns = np.nonzero(there.canvas.owners)
    foot = car.footprint
    corners = [[x, y, z] for x in (foot.left, foot.right) for y in (0, 2.2) for z in (foot.near, foot.far)]
    pixels = there.camera.project(np.array(corners, np.float64))
    slack = 6
    assert pixels[:, 0].min() - slack <= columns.min()
    assert columns.max() <= pixels[:, 0].max() + slack
    assert pixels[:, 1].min() - slack <= rows.min()
    assert rows.max() <= pixels[:, 1].max() + slack
    assert len(rows) > 600


def test_person_at_twice_the_distance_has_a_quarter_of_the_area() -> None:
    areas = []
    for z in (6.0, 12.0):
        there = painter()
        there.owner = 1
        sample_person(np.random.default_rng(2), np.array([0.0, 0.0, z])).draw(there)
        areas.append(int((there.canvas.owners == 1).sum()))
    assert areas[0] / areas[1] == pytest.approx(4, rel=0.25)


def test_crowd_has_one_owner_and_covers_its_members() -> None:
    rng, there = np.random.default_rng(1), painter()
    people = [sample_person(rng, np.array([x, 0.0, 9.0 + x])) for x in (-0.6, 0.0, 0.7)]
    crowd = Crowd(tuple(people))
    there.owner = 5
    crowd.draw(there)
    assert crowd.category == "person"
    assert crowd.crowd
    assert set(np.unique(there.canvas.owners)) == {0, 5}
    for person in people:
        assert crowd.footprint.left <= person.footprint.left <= person.footprint.right <= crowd.footprint.right
