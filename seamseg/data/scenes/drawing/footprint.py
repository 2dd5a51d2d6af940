"""The ground that something covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seamseg.data.scenes.drawing.camera import Points


@dataclass(frozen=True)
class Footprint:
    """The ground that something covers: metres right of the road's middle, metres ahead."""

    left: float
    right: float
    near: float
    far: float

    @classmethod
    def around(cls, place: Points, across: float, along: float) -> Footprint:
        """The rectangle that reaches so far from a world point (3) to either side."""
        x, z = float(place[0]), float(place[2])
        return cls(x - across, x + across, z - along, z + along)

    def touches(self, other: Footprint, gap: float = 0.0) -> bool:
        """Whether two footprints overlap, or come closer than ``gap`` metres."""
        apart = max(self.left - other.right, other.left - self.right, self.near - other.far, other.near - self.far)
        return apart < gap

    @property
    def center(self) -> Points:
        return np.array([(self.left + self.right) / 2, 0.0, (self.near + self.far) / 2])

    @property
    def space(self) -> Points:
        """4×3 corners of an upright rectangle so large that everything that stands here is before it or beside it."""
        x, z, reach = self.center[0], self.far, 3.5 + (self.right - self.left) / 2
        return np.array([[x - reach, 0, z], [x + reach, 0, z], [x + reach, 14, z], [x - reach, 14, z]])

    @property
    def surroundings(self) -> Points:
        """4×3 points on the ground just outside, where only other things throw shadows if the sun stands there."""
        x, z = self.center[[0, 2]]
        return np.array(
            [[self.left - 0.6, 0, z], [self.right + 0.6, 0, z], [x, 0, self.near - 0.6], [x, 0, self.far + 0.6]]
        )
