"""Placement of buildings, roadside objects, traffic and people along a street."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from seamseg.scenes.layout.street import SIDES, Plan, Side, Street
from seamseg.scenes.objects.buildings import Building, BuildingKind, sample_building
from seamseg.scenes.objects.cars import Car, sample_car
from seamseg.scenes.objects.clutter import sample_clutter
from seamseg.scenes.objects.items import Item
from seamseg.scenes.objects.lights import sample_lantern, sample_traffic_light
from seamseg.scenes.objects.people import Crowd, Person, sample_person, spread
from seamseg.scenes.objects.signs import sample_sign
from seamseg.scenes.objects.trees import Shape, sample_tree

_DEPTH = 85.0
"""Distance in meters to the end of the rows of buildings."""

_LENGTHS: dict[BuildingKind, tuple[float, float]] = {
    "city": (7.0, 18.0),
    "houses": (8.0, 13.0),
    "offices": (14.0, 32.0),
}
_GAPS: dict[BuildingKind, tuple[float, float]] = {"city": (0.0, 0.0), "houses": (2.0, 6.0), "offices": (0.0, 9.0)}


def sample_buildings(plan: Plan, lamps: float) -> list[Building]:
    """Sample rows of buildings on both sides, and sometimes across the end of the street, sorted from far to near."""
    junction, buildings = plan.street.junction, []
    for sign in SIDES:
        start = plan.between(-4, 2)
        if junction is None:
            buildings += _row(plan, sign, start, _DEPTH, lamps)
        else:
            buildings += _row(plan, sign, start, junction.near - 2.8, lamps)
            buildings += _row(plan, sign, junction.far + 2.8, _DEPTH, lamps)
    if plan.chance(0.35):
        buildings += _closing_row(plan, lamps)
    return sorted(buildings, key=lambda building: -float(min(building.near[2], building.far[2])))


def _row(plan: Plan, sign: int, start: float, end: float, lamps: float) -> list[Building]:
    """Sample the buildings on one side between two distances, from near to far; a park has none."""
    kind, row, z = plan.street.side(sign).setting, list[Building](), start
    if kind == "park":
        return row
    while z < end - 4:
        stop = min(z + plan.between(*_LENGTHS[kind]), end)
        if plan.chance(0.94):
            one = _roadside_building(plan, sign, kind, (z, stop), lamps)
            hidden = bool(row) and row[-1].far[2] == one.near[2] and row[-1].height >= one.height
            row.append(replace(one, detached=not hidden))
        z = stop + plan.between(*_GAPS[kind])
    return row


def _roadside_building(plan: Plan, sign: int, kind: BuildingKind, ends: tuple[float, float], lamps: float) -> Building:
    """Sample a building on one side of the street, between two distances."""
    offset = sign * (plan.street.frontage(sign) + (plan.between(0, 1.2) if kind == "houses" else 0.0))
    near, far = (plan.street.at(offset, end) for end in ends)
    along = (far - near) / np.linalg.norm(far - near)
    away = np.array([along[2], 0, -along[0]]) * sign
    return sample_building(plan.rng, kind, (near, far), away, lamps)


def _closing_row(plan: Plan, lamps: float) -> list[Building]:
    setting = plan.street.right.setting
    kind: BuildingKind = "city" if setting == "park" else setting
    row, x, z = [], -34.0, _DEPTH + 10
    shift = float(plan.street.middle(np.array(z)))
    while x < 34:
        length = plan.between(9, 20)
        ends = np.array([x + shift, 0, z]), np.array([x + length + shift, 0, z])
        row.append(sample_building(plan.rng, kind, ends, np.array([0.0, 0.0, 1.0]), lamps))
        x += length
    return row


def add_posts(plan: Plan, sign: int) -> None:
    """Add signs, traffic lights and lanterns along the curb."""
    street, nearest = plan.street, 7.0 if sign > 0 else 10.0
    offset = sign * (street.curb(sign) + 0.55)
    if street.junction is not None and plan.chance(0.75):
        before = plan.between(0.8, 2.0)
        plan.add(sample_traffic_light(plan.rng, street.at(offset, street.junction.near - before)))
    elif plan.chance(0.22):
        plan.add(sample_traffic_light(plan.rng, street.at(offset, nearest + plan.between(0, 10))))
    for _ in range(int(plan.rng.choice(3, p=[0.38, 0.47, 0.15]))):
        z = nearest + plan.between(0, 10)
        if not plan.in_junction(z, z):
            plan.add(sample_sign(plan.rng, street.at(offset + sign * plan.between(0, 0.4), z)), 1.0)
    if plan.chance(0.45):
        one = sample_lantern(plan.rng, street.at(offset, 0.0))
        for z in np.arange(plan.between(9.5, 15), 25, plan.between(11, 15)):
            if not plan.in_junction(z, z):
                plan.add(one.moved(street.at(offset, z)), 0.6)


def add_greenery(plan: Plan, sign: int) -> None:
    """Add street trees in rows, and scattered plants in gardens and parks."""
    street, side = plan.street, plan.street.side(sign)
    shape: Shape = "round" if plan.chance(0.7) else "tall"
    planted = 0.9 if side.verge else {"city": 0.3, "houses": 0.35, "offices": 0.4, "park": 0.5}[side.setting]
    if plan.chance(planted):
        offset = sign * (street.curb(sign) + (side.verge / 2 if side.verge else 0.8))
        for z in np.arange(plan.between(7, 16), 70, plan.between(8, 14)):
            if not plan.in_junction(z, z):
                plan.add(sample_tree(plan.rng, street.at(offset, z + plan.between(-1, 1)), shape), 0.1)
    if side.setting in ("houses", "park"):
        _garden(plan, sign, side)


def _garden(plan: Plan, sign: int, side: Side) -> None:
    street, outer = plan.street, plan.street.pavement(sign)[1]
    deep = 16.0 if side.setting == "park" else max(side.garden - 1.2, 0.8)
    shapes: tuple[Shape, ...] = ("round", "tall", "fir", "bush", "hedge")
    likely = [0.4, 0.1, 0.15, 0.25, 0.1] if side.setting == "park" else [0.15, 0.08, 0.1, 0.37, 0.3]
    for _ in range(46 if side.setting == "park" else 16):
        z = plan.between(4, 75) if side.setting == "park" else plan.between(4, 50)
        if not plan.in_junction(z - 2, z + 2):
            shape = shapes[int(plan.rng.choice(5, p=likely))]
            offset = sign * (outer + 0.9 + plan.between(0, deep))
            plan.add(sample_tree(plan.rng, street.at(offset, z), shape), 0.1)


def add_clutter(plan: Plan, sign: int) -> None:
    """Add clutter on the pavement."""
    if plan.chance(0.35):
        for _ in range(int(plan.rng.integers(1, 4))):
            plan.add(sample_clutter(plan.rng, plan.on_pavement(sign, plan.between(6, 20))))


def _car(plan: Plan, offset: float, z: float, oncoming: bool) -> Car:
    return sample_car(plan.rng, plan.street.at(offset, z), plan.street.heading(z) + (np.pi if oncoming else 0.0))


def add_moving_cars(plan: Plan, lane: float) -> None:
    """Add traffic in both directions."""
    street = plan.street
    width = 2 * street.half_width / street.num_lanes
    for number in range(street.num_lanes):
        offset = -street.half_width + (number + 0.5) * width
        oncoming = offset < -0.1 if street.num_lanes % 2 == 0 else number == 0
        z = plan.between(9, 26) if abs(offset - lane) < 1 else plan.between(6, 26)
        while z < 40:
            if plan.chance(0.4):
                plan.add(_car(plan, offset + plan.between(-0.3, 0.3), z, oncoming), 0.4)
            z += plan.between(9, 24)


def add_crossing_cars(plan: Plan, lane: float) -> None:
    """Add traffic on the crossing road, seen from the side."""
    junction = plan.street.junction
    if junction is None:
        return
    middle = (junction.near + junction.far) / 2
    for direction, z in ((1, (junction.near + middle) / 2), (-1, (junction.far + middle) / 2)):
        if plan.chance(0.5):
            place = plan.street.at(lane + plan.between(-9, 9), z)
            plan.add(sample_car(plan.rng, place, direction * np.pi / 2), 0.4)


def add_parked_cars(plan: Plan, sign: int) -> None:
    """Add cars in the parking lane; distant ones may form a crowd."""
    street = plan.street
    if not street.side(sign).parking:
        return
    offset, oncoming = sign * (street.half_width + 1.1), sign < 0
    crowd_from = plan.between(20, 27) if plan.chance(0.4) else 60.0
    z, density, row = plan.between(3.5, 9), plan.between(0.25, 0.8), []
    while z < 46:
        car = _car(plan, offset + plan.between(-0.1, 0.1), z, oncoming)
        taken = plan.in_junction(z - 3, z + 3) or (street.crosswalk is not None and abs(z - street.crosswalk - 1.5) < 4)
        if z > crowd_from and not taken:
            row.append(car)
        elif plan.chance(density) and not taken and z < 34:
            plan.add(car)
        z += plan.between(5.1, 5.8)
    if len(row) >= 3:
        plan.add(Crowd(tuple(row)))


def add_walkers(plan: Plan, sign: int) -> None:
    """Add single people and pairs on the pavement."""
    for _ in range(int(plan.rng.poisson(1.0))):
        place = plan.on_pavement(sign, plan.between(6 if sign > 0 else 7.5, 18))
        plan.add(sample_person(plan.rng, place), 0.15)
        if plan.chance(0.3):
            neighbor = place + np.array(
                [plan.between(0.5, 0.7) * plan.rng.choice([-1, 1]), 0.0, plan.between(-0.4, 0.4)]
            )
            plan.add(sample_person(plan.rng, neighbor), 0.02)


def add_crowd(plan: Plan, sign: int) -> None:
    """Sometimes add a crowd of people on the pavement."""
    if not plan.chance(0.08):
        return
    inner, outer = plan.street.pavement(sign)
    center = plan.street.at(sign * (inner + outer) / 2, plan.between(9, 17))
    places = spread(plan.rng, center, ((outer - inner) / 2 - 0.2, 2.2), int(plan.rng.integers(8, 16)))
    members: tuple[Person, ...] = tuple(sample_person(plan.rng, place) for place in places)
    plan.add(Crowd(members))


def add_crossing_people(plan: Plan) -> None:
    """Add people on the crosswalk, or sometimes one person on a road without a crosswalk."""
    street = plan.street
    if street.crosswalk is not None:
        for _ in range(int(plan.rng.integers(0, 4))):
            offset = plan.between(-street.curb(-1), street.curb(1))
            plan.add(sample_person(plan.rng, street.at(offset, street.crosswalk + plan.between(0.3, 2.7))), 0.1)
    elif plan.chance(0.15):
        offset = plan.between(-street.half_width, street.half_width)
        plan.add(sample_person(plan.rng, street.at(offset, plan.between(9, 18))), 0.1)


@dataclass(frozen=True, eq=False)
class Layout:
    """All buildings and items of a scene.

    Attributes:
        buildings: Buildings from far to near.
        items: Items in arbitrary order.
    """

    buildings: tuple[Building, ...]
    items: tuple[Item, ...]


def sample_layout(rng: np.random.Generator, street: Street, lane: float, lamps: float) -> Layout:
    """Fill a street.

    Args:
        rng: Random generator.
        street: Street to fill.
        lane: Offset of the camera's lane, in meters to the right of the centerline.
        lamps: Amount of lit windows, 0 … 1.
    """
    plan = Plan(rng, street)
    add_moving_cars(plan, lane)
    add_crossing_cars(plan, lane)
    for sign in SIDES:
        for add in (add_parked_cars, add_crowd, add_posts, add_greenery, add_walkers, add_clutter):
            add(plan, sign)
    add_crossing_people(plan)
    return Layout(tuple(sample_buildings(plan, lamps)), tuple(plan.items))
