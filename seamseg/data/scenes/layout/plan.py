"""A scene that is still being filled."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from seamseg.data.scenes.drawing.camera import Points
from seamseg.data.scenes.layout.street import Street
from seamseg.data.scenes.objects.items import Item


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
        """World point (3) somewhere across the pavement, z metres ahead."""
        inner, outer = self.street.pavement(sign)
        return self.street.at(sign * self.between(inner + 0.4, outer - 0.4), z)
