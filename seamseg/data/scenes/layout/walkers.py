"""Where people walk, wait and cross."""

from __future__ import annotations

import numpy as np

from seamseg.data.scenes.layout.plan import Plan
from seamseg.data.scenes.objects.crowds import Crowd, spread
from seamseg.data.scenes.objects.people import Person, sample_person


def add_walkers(plan: Plan, sign: int) -> None:
    for _ in range(int(plan.rng.poisson(1.0))):
        place = plan.on_pavement(sign, plan.between(6 if sign > 0 else 7.5, 18))
        plan.add(sample_person(plan.rng, place), 0.15)
        if plan.chance(0.3):
            beside = place + np.array([plan.between(0.5, 0.7) * plan.rng.choice([-1, 1]), 0.0, plan.between(-0.4, 0.4)])
            plan.add(sample_person(plan.rng, beside), 0.02)


def add_crowd(plan: Plan, sign: int) -> None:
    if not plan.chance(0.08):
        return
    inner, outer = plan.street.pavement(sign)
    center = plan.street.at(sign * (inner + outer) / 2, plan.between(9, 17))
    places = spread(plan.rng, center, ((outer - inner) / 2 - 0.2, 2.2), int(plan.rng.integers(8, 16)))
    members: tuple[Person, ...] = tuple(sample_person(plan.rng, place) for place in places)
    plan.add(Crowd(members))


def add_crossing_people(plan: Plan) -> None:
    """People on the zebra, and now and then one who should not be there."""
    street = plan.street
    if street.zebra is not None:
        for _ in range(int(plan.rng.integers(0, 4))):
            offset = plan.between(-street.kerb(-1), street.kerb(1))
            plan.add(sample_person(plan.rng, street.at(offset, street.zebra + plan.between(0.3, 2.7))), 0.1)
    elif plan.chance(0.15):
        offset = plan.between(-street.half_width, street.half_width)
        plan.add(sample_person(plan.rng, street.at(offset, plan.between(9, 18))), 0.1)
