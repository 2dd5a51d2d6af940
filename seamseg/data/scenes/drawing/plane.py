"""Upright planes in the world, on which flat things are drawn in metres to the right and up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seamseg.data.scenes.drawing.camera import Camera, Points


@dataclass(frozen=True, eq=False)
class Plane:
    """An upright plane in the world.

    Attributes:
        origin: world point (3) of the plane's (0, 0).
        across: world vector (3) of one metre to the right on the plane.
    """

    origin: Points
    across: Points

    @classmethod
    def facing(cls, camera: Camera, origin: Points, turn: float = 0.0) -> Plane:
        """The plane through a point that faces the camera, or is turned from that by radians."""
        angle = np.arctan2(origin[0] - camera.x, origin[2]) + turn
        return cls(origin, np.array([np.cos(angle), 0.0, -np.sin(angle)]))

    def at(self, flat: Points) -> Points:
        """N×3 world points of N×2 (right, up) metres on the plane."""
        points = self.origin + flat[:, :1] * self.across
        points[:, 1] += flat[:, 1]
        return points

    def box(self, left: float, right: float, low: float, high: float) -> Points:
        """4×3 corners: top left, top right, bottom right, bottom left."""
        return self.at(np.array([[left, high], [right, high], [right, low], [left, low]]))


def circle(radius: float, count: int = 20, center: tuple[float, float] = (0.0, 0.0), turn: float = 0.0) -> Points:
    """count×2 corners of a regular polygon."""
    angle = turn + np.arange(count) * (2 * np.pi / count)
    return np.stack([center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle)], axis=1)
