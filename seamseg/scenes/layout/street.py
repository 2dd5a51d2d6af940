"""The plan of a street, and the scene that is being filled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from seamseg.scenes.drawing.camera import Points
from seamseg.scenes.objects.items import Item


@dataclass
class Plan:
    """What stands in a street so far.

    Attributes:
        rng: decides.
        street: to be filled.
        items: in no order.
    """

    rng: np.random.Generator
    street: Street
    items: list[Item] = field(default_factory=list)

    def add(self, item: Item, gap: float = 0.25) -> bool:
        """Puts an item where it stands, if nothing else does."""
        free = not any(item.footprint.touches(other.footprint, gap) for other in self.items)
        if free:
            self.items.append(item)
        return free

    def chance(self, probability: float) -> bool:
        return bool(self.rng.uniform() < probability)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def in_junction(self, near: float, far: float) -> bool:
        junction = self.street.junction
        return junction is not None and near < junction.far + 2 and far > junction.near - 2

    def on_pavement(self, sign: int, z: float) -> Points:
        """World point (3) somewhere across the pavement, z meters ahead."""
        inner, outer = self.street.pavement(sign)
        return self.street.at(sign * self.between(inner + 0.4, outer - 0.4), z)


Setting = Literal["city", "houses", "offices", "park"]

SIDES = (-1, 1)
"""Left, right."""

FAR = 230.0
"""Meters to where the ground is drawn."""


@dataclass(frozen=True)
class Side:
    """What lies beside the road, from the road outwards, in meters.

    Attributes:
        setting: what stands there.
        parking: width of the parking strip (road).
        verge: width of the grass beside the road.
        pavement: width of the pavement.
        garden: distance from the pavement to the buildings.
    """

    setting: Setting
    parking: float
    verge: float
    pavement: float
    garden: float


@dataclass(frozen=True)
class Junction:
    """A road that crosses: meters ahead of its near and far edge."""

    near: float
    far: float


@dataclass(frozen=True)
class Street:
    """A street along which the camera looks; offsets are meters right of its middle.

    Attributes:
        half_width: half the width of the lanes together.
        num_lanes: lanes of both directions together.
        left, right: what lies beside.
        bend: curvature in 1/m, positive to the right.
        junction: the road that crosses, if any.
        zebra: meters ahead of a pedestrian crossing, if any.
    """

    half_width: float
    num_lanes: int
    left: Side
    right: Side
    bend: float
    junction: Junction | None
    zebra: float | None

    def side(self, sign: int) -> Side:
        return self.right if sign > 0 else self.left

    def kerb(self, sign: int) -> float:
        """Distance from the middle to the end of the road, parking included."""
        return self.half_width + self.side(sign).parking

    def pavement(self, sign: int) -> tuple[float, float]:
        """Distances from the middle to the inner and outer edge of the pavement."""
        inner = self.kerb(sign) + self.side(sign).verge
        return inner, inner + self.side(sign).pavement

    def frontage(self, sign: int) -> float:
        """Distance from the middle to the buildings."""
        return self.pavement(sign)[1] + self.side(sign).garden

    def middle(self, z: Points) -> Points:
        """Right shift of the street's middle at z meters ahead; straight again from 90 m on."""
        bent = np.clip(z, 0, 90)
        return np.asarray(self.bend * (bent**2 / 2 + bent * (np.maximum(z, 90) - 90)))

    def at(self, offset: float, z: float, height: float = 0.0) -> Points:
        """World point (3)."""
        return np.array([float(self.middle(np.array(z))) + offset, height, z])

    def heading(self, z: float) -> float:
        """Radians by which the street points to the right there."""
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
    num_lanes = int(rng.choice([2, 2, 2, 3, 4]))
    bend = 0.0 if rng.uniform() < 0.45 else float(rng.normal(0, 0.0022))
    start = float(rng.uniform(16, 38))
    junction = Junction(start, start + float(rng.uniform(6.5, 9))) if rng.uniform() < 0.4 else None
    zebra = None
    if rng.uniform() < 0.45:
        zebra = junction.near - 4.5 if junction else float(rng.uniform(7, 24))
    left = _sample_side(rng, None)
    return Street(
        half_width=num_lanes * float(rng.uniform(2.9, 3.4)) / 2,
        num_lanes=num_lanes,
        left=left,
        right=_sample_side(rng, left.setting),
        bend=bend,
        junction=junction,
        zebra=zebra,
    )


def _sample_side(rng: np.random.Generator, opposite: Setting | None) -> Side:
    """Both sides of a street mostly look alike."""
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
