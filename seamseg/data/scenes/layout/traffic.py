"""Where cars drive and park."""

from __future__ import annotations

import numpy as np

from seamseg.data.scenes.layout.plan import Plan
from seamseg.data.scenes.objects.cars import Car, sample_car
from seamseg.data.scenes.objects.crowds import Crowd


def _car(plan: Plan, offset: float, z: float, oncoming: bool) -> Car:
    return sample_car(plan.rng, plan.street.at(offset, z), plan.street.heading(z) + (np.pi if oncoming else 0.0))


def add_moving_cars(plan: Plan, lane: float) -> None:
    """Traffic ahead and oncoming."""
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
    """Traffic on the road that crosses, seen from the side."""
    junction = plan.street.junction
    if junction is None:
        return
    middle = (junction.near + junction.far) / 2
    for direction, z in ((1, (junction.near + middle) / 2), (-1, (junction.far + middle) / 2)):
        if plan.chance(0.5):
            place = plan.street.at(lane + plan.between(-9, 9), z)
            plan.add(sample_car(plan.rng, place, direction * np.pi / 2), 0.4)


def add_parked_cars(plan: Plan, sign: int) -> None:
    street = plan.street
    if not street.side(sign).parking:
        return
    offset, oncoming = sign * (street.half_width + 1.1), sign < 0
    crowd_from = plan.between(20, 27) if plan.chance(0.4) else 60.0
    z, density, row = plan.between(3.5, 9), plan.between(0.25, 0.8), []
    while z < 46:
        car = _car(plan, offset + plan.between(-0.1, 0.1), z, oncoming)
        taken = plan.in_junction(z - 3, z + 3) or (street.zebra is not None and abs(z - street.zebra - 1.5) < 4)
        if z > crowd_from and not taken:
            row.append(car)
        elif plan.chance(density) and not taken and z < 34:
            plan.add(car)
        z += plan.between(5.1, 5.8)
    if len(row) >= 3:
        plan.add(Crowd(tuple(row)))
