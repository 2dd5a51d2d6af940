"""Movement of cars, people and camera in a drive along a street."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from seamseg.scenes.drawing.camera import Camera
from seamseg.scenes.layout.filling import (
    Layout,
    add_clutter,
    add_crossing_cars,
    add_crossing_people,
    add_crowd,
    add_greenery,
    add_moving_cars,
    add_parked_cars,
    add_posts,
    add_walkers,
    sample_buildings,
)
from seamseg.scenes.layout.street import SIDES, Plan, Street
from seamseg.scenes.objects.cars import Car
from seamseg.scenes.objects.figures import Facing
from seamseg.scenes.objects.items import Item
from seamseg.scenes.objects.people import Person

_WAITING = 0.3
"""Fraction of drives in which the camera's car waits while others cross."""

_STEPS_PER_METER = 1.3


@dataclass(frozen=True, eq=False)
class Mover:
    """An item that moves at a constant speed.

    Attributes:
        item: Item at time 0, a car or a person.
        along: Speed along the street in m/s, positive away from the starting place of the camera.
        across: Speed to the right in m/s.
    """

    item: Car | Person
    along: float
    across: float

    def at(self, street: Street, seconds: float) -> Item:
        """Return the item at a time in seconds."""
        start, z = self.item.place, float(self.item.place[2]) + self.along * seconds
        offset = float(start[0] - street.middle(start[2])) + self.across * seconds
        place = street.at(offset, z)
        if isinstance(self.item, Car):
            turned = street.heading(z) - street.heading(float(start[2]))
            return replace(self.item, place=place, heading=self.item.heading + turned)
        walked = float(np.hypot(self.along, self.across)) * seconds
        phase = walked * _STEPS_PER_METER * np.pi + 7 * float(start[0])  # people do not walk in step
        stride = self.item.pose.stride * (0.15 + 0.85 * abs(np.cos(phase))) if walked else self.item.pose.stride
        return replace(self.item, place=place, pose=replace(self.item.pose, stride=float(stride)))


@dataclass(frozen=True)
class Ride:
    """Movement of the camera.

    Attributes:
        speed: Speed along the street in m/s; 0 if it waits.
        sway: Amplitude of its turns in radians.
        period: Duration of one turn to both sides in seconds.
        phase: Phase of the turns at time 0 in radians.
    """

    speed: float
    sway: float
    period: float
    phase: float

    def at(self, camera: Camera, street: Street, seconds: float) -> Camera:
        """Return the camera at a time in seconds, given the camera at time 0."""
        z = self.speed * seconds
        turn = self.sway * np.sin(self.phase + 2 * np.pi * seconds / self.period)
        x = camera.x + float(street.middle(np.array(z)))
        return replace(camera, x=x, z=z, yaw=camera.yaw + street.heading(z) + float(turn))


@dataclass(frozen=True, eq=False)
class Traffic:
    """Everything in and along a street during a drive.

    Attributes:
        still: Buildings, and the items that do not move.
        movers: Items that move.
        ride: Movement of the camera.
    """

    still: Layout
    movers: tuple[Mover, ...]
    ride: Ride

    def at(self, street: Street, seconds: float) -> Layout:
        """Return all buildings and items at a time in seconds; the items always have the same order."""
        moved = tuple(mover.at(street, seconds) for mover in self.movers)
        return Layout(self.still.buildings, moved + self.still.items)


def sample_traffic(rng: np.random.Generator, street: Street, lane: float, lamps: float, seconds: float) -> Traffic:
    """Fill a street, and let cars, people and the camera move.

    Args:
        rng: Random generator.
        street: Street to fill.
        lane: Offset of the camera's lane, in meters to the right of the centerline.
        lamps: Amount of lit windows, 0 … 1.
        seconds: Duration of the drive.
    """
    waits = rng.uniform() < _WAITING
    speed = 0.0 if waits else float(rng.uniform(4, 9))
    sway = float(rng.uniform(0.10, 0.22) if waits else rng.uniform(0.02, 0.07))
    ride = Ride(speed, sway, float(rng.uniform(3, 6)), float(rng.uniform(0, 2 * np.pi)))
    plan, movers = Plan(rng, street), dict[Item, Mover]()
    speeds = _lane_speeds(rng, street, lane, ride)
    _add(plan, movers, lambda: add_moving_cars(plan, lane), lambda car: _drive(car, street, speeds))
    if waits:
        _add(plan, movers, lambda: add_crossing_cars(plan, lane), lambda car: _cross(rng, car))
    for sign in SIDES:
        for add in (add_parked_cars, add_crowd, add_posts, add_greenery):
            add(plan, sign)
        for _ in range(3):
            _add(plan, movers, lambda: add_walkers(plan, sign), lambda one: _walk(rng, one, street, waits))  # noqa: B023
        add_clutter(plan, sign)
    _add(plan, movers, lambda: add_crossing_people(plan), lambda one: _walk(rng, one, street, True))
    reached = speed * seconds + 4
    kept = tuple(one for one in movers.values() if waits or not _in_the_way(one, street, lane, reached))
    still = tuple(item for item in plan.items if item not in movers)
    return Traffic(Layout(tuple(sample_buildings(plan, lamps)), still), kept, ride)


def _add(
    plan: Plan, movers: dict[Item, Mover], add: Callable[[], object], move: Callable[[Car | Person], Mover | None]
) -> None:
    """Let a function add items to a plan, and note which of them move in which way."""
    before = len(plan.items)
    add()
    for item in plan.items[before:]:
        if isinstance(item, Car | Person) and (mover := move(item)) is not None:
            movers[item] = mover


def _lane_speeds(rng: np.random.Generator, street: Street, lane: float, ride: Ride) -> dict[int, float]:
    """Sample the speed of the cars in each lane; cars in one lane do not overtake each other."""
    width, speeds = 2 * street.half_width / street.num_lanes, {}
    for number in range(street.num_lanes):
        offset = -street.half_width + (number + 0.5) * width
        oncoming = offset < -0.1 if street.num_lanes % 2 == 0 else number == 0
        if ride.speed == 0:  # the lanes wait, too
            speeds[number] = 0.0
        elif oncoming:
            speeds[number] = -float(rng.uniform(4, 9))
        else:
            speeds[number] = ride.speed + float(rng.uniform(0, 1.5) if abs(offset - lane) < 1 else rng.uniform(-2.5, 3))
    return speeds


def _drive(car: Car | Person, street: Street, speeds: dict[int, float]) -> Mover | None:
    assert isinstance(car, Car)
    offset = float(car.place[0] - street.middle(car.place[2]))
    number = int((offset + street.half_width) * street.num_lanes / (2 * street.half_width))
    speed = speeds[min(max(number, 0), street.num_lanes - 1)]
    return Mover(car, speed, 0.0) if speed else None


def _cross(rng: np.random.Generator, car: Car | Person) -> Mover:
    direction = 1 if car.heading > 0 else -1  # type: ignore[union-attr]
    return Mover(car, 0.0, direction * float(rng.uniform(3, 7)))


def _walk(rng: np.random.Generator, person: Car | Person, street: Street, may_cross: bool) -> Mover | None:
    """Let a person walk where it looks, but off the pavement only if it may cross the road."""
    assert isinstance(person, Person)
    if person.pose.stride < 0.1:
        return None
    speed, facing = float(rng.uniform(0.9, 1.6)), person.pose.facing
    offset = float(person.place[0] - street.middle(person.place[2]))
    toward_road: Facing = "right" if offset < 0 else "left"
    on_pavement = abs(offset) > street.half_width
    if facing in ("left", "right") and on_pavement and not (may_cross and facing == toward_road):
        facing = "away" if rng.uniform() < 0.5 else "toward"
    along, across = {"away": (1, 0), "toward": (-1, 0), "right": (0, 1), "left": (0, -1)}[facing]
    turned = replace(person, pose=replace(person.pose, facing=facing))
    return Mover(turned, along * speed, across * speed)


def _in_the_way(mover: Mover, street: Street, lane: float, reached: float) -> bool:
    """Whether the camera could run into a person."""
    if not isinstance(mover.item, Person) or mover.item.place[2] > reached + 3:
        return False
    offset = float(mover.item.place[0] - street.middle(mover.item.place[2]))
    return abs(offset - lane) < 2.5 or mover.across * (lane - offset) > 0
