"""Geometry of a street, and the plan of a scene while it is filled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from seamseg.scenes.drawing.camera import Points
from seamseg.scenes.objects.items import Item


@dataclass
class Plan:
    """A street with the items placed in it so far.

    Attributes:
        rng: Random generator.
        street: Street that is filled.
        items: Placed items in arbitrary order.
    """

    rng: np.random.Generator
    street: Street
    items: list[Item] = field(default_factory=list)

    def add(self, item: Item, gap: float = 0.25) -> bool:
        """Add an item if all other items are at least ``gap`` meters away; return whether it was added."""
        free = not any(item.footprint.touches(other.footprint, gap) for other in self.items)
        if free:
            self.items.append(item)
        return free

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return bool(self.rng.uniform() < probability)

    def between(self, low: float, high: float) -> float:
        """Sample a uniform number."""
        return float(self.rng.uniform(low, high))

    def in_junction(self, near: float, far: float) -> bool:
        """Whether a range of distances is less than 2 m from the junction."""
        junction = self.street.junction
        return junction is not None and near < junction.far + 2 and far > junction.near - 2

    def on_pavement(self, sign: int, z: float) -> Points:
        """Sample a world point (3) on the pavement, z meters ahead."""
        inner, outer = self.street.pavement(sign)
        return self.street.at(sign * self.between(inner + 0.4, outer - 0.4), z)


Setting = Literal["city", "houses", "offices", "park"]

SIDES = (-1, 1)
"""Signs of the left and the right side."""

FAR = 230.0
"""Distance in meters up to which the ground is drawn."""


@dataclass(frozen=True)
class Side:
    """One side of a street, from the road outward.

    Attributes:
        setting: Kind of surroundings.
        parking: Width of the parking lane in meters; it belongs to the road.
        verge: Width of the grass strip next to the road in meters.
        pavement: Width of the pavement in meters.
        garden: Distance from the pavement to the buildings in meters.
    """

    setting: Setting
    parking: float
    verge: float
    pavement: float
    garden: float


@dataclass(frozen=True)
class Junction:
    """A crossing road; distances of its near and far edge in meters."""

    near: float
    far: float


@dataclass(frozen=True)
class Street:
    """A street along which the camera looks; offsets are meters to the right of its centerline.

    Attributes:
        half_width: Half the total width of the lanes in meters.
        num_lanes: Number of lanes in both directions.
        left: Left side of the street.
        right: Right side of the street.
        bend: Curvature in 1/m, positive to the right.
        junction: Crossing road, or None.
        crosswalk: Distance of the crosswalk in meters, or None.
    """

    half_width: float
    num_lanes: int
    left: Side
    right: Side
    bend: float
    junction: Junction | None
    crosswalk: float | None

    def side(self, sign: int) -> Side:
        """Return the left (−1) or right (+1) side."""
        return self.right if sign > 0 else self.left

    def curb(self, sign: int) -> float:
        """Distance from the centerline to the edge of the road, including the parking lane."""
        return self.half_width + self.side(sign).parking

    def pavement(self, sign: int) -> tuple[float, float]:
        """Distances from the centerline to the inner and outer edge of the pavement."""
        inner = self.curb(sign) + self.side(sign).verge
        return inner, inner + self.side(sign).pavement

    def frontage(self, sign: int) -> float:
        """Distance from the centerline to the buildings."""
        return self.pavement(sign)[1] + self.side(sign).garden

    def middle(self, z: Points) -> Points:
        """Shift of the centerline to the right, in meters, z meters ahead; the street is straight beyond 90 m."""
        bent = np.clip(z, 0, 90)
        return np.asarray(self.bend * (bent**2 / 2 + bent * (np.maximum(z, 90) - 90)))

    def at(self, offset: float, z: float, height: float = 0.0) -> Points:
        """World point (3) at an offset, a distance and a height."""
        return np.array([float(self.middle(np.array(z))) + offset, height, z])

    def heading(self, z: float) -> float:
        """Direction of the street z meters ahead, in radians to the right."""
        return float(np.arctan(self.bend * min(max(z, 0.0), 90.0)))

    def band(self, start: float, end: float, near: float, far: float) -> Points:
        """N×3 outline of the strip of ground between two offsets and two distances."""
        count = 2 if self.bend == 0 else 24
        z = near + (far - near) * np.linspace(0, 1, count) ** 2
        middle, zero = self.middle(z), np.zeros(count)
        one = np.stack([middle + start, zero, z], axis=1)
        other = np.stack([middle + end, zero, z], axis=1)
        return np.concatenate([one, other[::-1]])


def sample_street(rng: np.random.Generator) -> Street:
    """Sample a street."""
    num_lanes = int(rng.choice([2, 2, 2, 3, 4]))
    bend = 0.0 if rng.uniform() < 0.45 else float(rng.normal(0, 0.0022))
    start = float(rng.uniform(16, 38))
    junction = Junction(start, start + float(rng.uniform(6.5, 9))) if rng.uniform() < 0.4 else None
    crosswalk = None
    if rng.uniform() < 0.45:
        crosswalk = junction.near - 4.5 if junction else float(rng.uniform(7, 24))
    left = _sample_side(rng, None)
    return Street(
        half_width=num_lanes * float(rng.uniform(2.9, 3.4)) / 2,
        num_lanes=num_lanes,
        left=left,
        right=_sample_side(rng, left.setting),
        bend=bend,
        junction=junction,
        crosswalk=crosswalk,
    )


def _sample_side(rng: np.random.Generator, opposite: Setting | None) -> Side:
    """Sample one side of a street; both sides often have the same setting."""
    settings: tuple[Setting, ...] = ("city", "houses", "offices", "park")
    setting = settings[int(rng.choice(4, p=[0.4, 0.28, 0.2, 0.12]))]
    if opposite is not None and rng.uniform() < 0.65:
        setting = opposite
    garden = {"city": 0.0, "houses": rng.uniform(2.5, 6), "offices": rng.uniform(0, 4), "park": rng.uniform(3, 8)}
    return Side(
        setting=setting,
        parking=2.3 if rng.uniform() < 0.6 else 0.0,
        verge=float(rng.uniform(1.2, 2.2)) if rng.uniform() < 0.3 else 0.0,
        pavement=float(rng.uniform(2.0, 4.2)),
        garden=float(garden[setting]),
    )
