"""Where signs, lights, plants and clutter stand."""

from __future__ import annotations

import numpy as np

from seamseg.data.scenes.layout.plan import Plan
from seamseg.data.scenes.layout.street import Side
from seamseg.data.scenes.objects.clutter import sample_clutter
from seamseg.data.scenes.objects.crowns import Shape
from seamseg.data.scenes.objects.lights import sample_lantern, sample_traffic_light
from seamseg.data.scenes.objects.signs import sample_sign
from seamseg.data.scenes.objects.trees import sample_tree


def add_posts(plan: Plan, sign: int) -> None:
    """Signs, traffic lights and lanterns along the kerb."""
    street, nearest = plan.street, 7.0 if sign > 0 else 10.0
    offset = sign * (street.kerb(sign) + 0.55)
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
    """Street trees in rows, gardens and parks without order."""
    street, side = plan.street, plan.street.side(sign)
    shape: Shape = "round" if plan.chance(0.7) else "tall"
    planted = 0.9 if side.verge else {"city": 0.3, "houses": 0.35, "offices": 0.4, "park": 0.5}[side.setting]
    if plan.chance(planted):
        offset = sign * (street.kerb(sign) + (side.verge / 2 if side.verge else 0.8))
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
    if plan.chance(0.35):
        for _ in range(int(plan.rng.integers(1, 4))):
            plan.add(sample_clutter(plan.rng, plan.on_pavement(sign, plan.between(6, 20))))
