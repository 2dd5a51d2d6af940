"""What is in a scene and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seamseg.data.scenes.layout.frontage import sample_buildings
from seamseg.data.scenes.layout.plan import Plan
from seamseg.data.scenes.layout.roadside import add_clutter, add_greenery, add_posts
from seamseg.data.scenes.layout.street import SIDES, Street
from seamseg.data.scenes.layout.traffic import add_crossing_cars, add_moving_cars, add_parked_cars
from seamseg.data.scenes.layout.walkers import add_crossing_people, add_crowd, add_walkers
from seamseg.data.scenes.objects.buildings import Building
from seamseg.data.scenes.objects.items import Item


@dataclass(frozen=True, eq=False)
class Layout:
    """Everything that stands in a scene.

    Attributes:
        buildings: far to near.
        items: in no order.
    """

    buildings: tuple[Building, ...]
    items: tuple[Item, ...]


def sample_layout(rng: np.random.Generator, street: Street, lane: float, lamps: float) -> Layout:
    """Fills a street.

    Args:
        rng: decides.
        street: to be filled.
        lane: metres right of the road's middle where the camera drives.
        lamps: 0 … 1, how many windows are lit.
    """
    plan = Plan(rng, street)
    add_moving_cars(plan, lane)
    add_crossing_cars(plan, lane)
    for sign in SIDES:
        for add in (add_parked_cars, add_crowd, add_posts, add_greenery, add_walkers, add_clutter):
            add(plan, sign)
    add_crossing_people(plan)
    return Layout(tuple(sample_buildings(plan, lamps)), tuple(plan.items))
