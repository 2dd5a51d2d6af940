"""Pinhole camera of a scene, upright planes, and footprints on the ground."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""Rows of coordinates: N×3 in meters (right, up, forward; the ground is at height 0), or N×2."""

UP = np.array([0.0, 1.0, 0.0])
"""World vector (3) that points one meter up."""

NEAR = 0.4
"""Distance in meters from the lens below which everything is clipped."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along the street.

    Attributes:
        focal: Focal length in pixels.
        center: Column and row of the point straight ahead. Its row is the horizon.
        x: Meters to the right of the middle of the road.
        height: Meters above the ground.
        yaw: Radians to the right.
        roll: Radians, clockwise in the picture.
        z: Meters along the street; 0 for still scenes.
    """

    focal: float
    center: tuple[float, float]
    x: float
    height: float
    yaw: float
    roll: float
    z: float = 0.0

    @property
    def place(self) -> Points:
        """World point (3) of the lens."""
        return np.array([self.x, self.height, self.z])

    @cached_property
    def _matrix(self) -> Points:
        """3×3 matrix from world axes to (column·depth, row·depth, depth)."""
        turn = np.array([[np.cos(self.yaw), 0, -np.sin(self.yaw)], [0, -1, 0], [np.sin(self.yaw), 0, np.cos(self.yaw)]])
        cos, sin = self.focal * np.cos(self.roll), self.focal * np.sin(self.roll)
        return np.asarray(np.array([[cos, -sin, self.center[0]], [sin, cos, self.center[1]], [0, 0, 1]]) @ turn)

    @cached_property
    def _shift(self) -> Points:
        return np.asarray(-self._matrix @ (self.x, self.height, self.z))

    def homogeneous(self, points: Points) -> Points:
        """Project N×3 world points to N×3 (column·depth, row·depth, depth); depth is in meters along the view axis."""
        return np.asarray(points @ self._matrix.T + self._shift)

    def distance(self, points: Points) -> Points:
        """Compute the N depths of N×3 world points, in meters along the view axis."""
        return self.homogeneous(points)[:, 2]

    def project(self, points: Points) -> Points:
        """Project a polygon of N×3 world points to M×2 (column, row) pixels after near clipping; M may be 0."""
        seen = clip_near(self.homogeneous(points))
        return seen[:, :2] / seen[:, 2:]

    def ground_below(self, size: tuple[int, int], step: int) -> tuple[int, Points, Points]:
        """Compute the world coordinates of the visible ground below the horizon.

        Args:
            size: Height and width of the picture in pixels.
            step: Side of the blocks in pixels. One sample is taken in the middle of each block.

        Returns:
            The first row with only ground (a multiple of ``step``), and x and z in meters for each block from this row
            to the lower edge.
        """
        height, width = size
        tilt = abs(np.tan(self.roll)) * max(self.center[0], width - self.center[0])
        top = int(np.clip(np.ceil((self.center[1] + tilt + 1) / step), 0, height // step)) * step
        columns = np.arange(step / 2, width, step)[None] - self.center[0]
        rows = np.arange(top + step / 2, height, step)[:, None] - self.center[1]
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        forward = self.focal * self.height / np.maximum(cos * rows - sin * columns, 0.5)
        right = (cos * columns + sin * rows) / self.focal * forward
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return top, cos * right + sin * forward + self.x, cos * forward - sin * right + self.z


def clip_near(points: Points) -> Points:
    """Clip a polygon (N×3, homogeneous) to the part that is at least ``NEAR`` in front of the lens."""
    inside = points[:, 2] >= NEAR
    if inside.all():
        return points
    if not inside.any():
        return points[:0]
    kept: list[Points] = []
    for index, here in enumerate(points):
        after = points[(index + 1) % len(points)]
        if here[2] >= NEAR:
            kept.append(here)
        if (here[2] >= NEAR) != (after[2] >= NEAR):
            kept.append(here + (after - here) * ((NEAR - here[2]) / (after[2] - here[2])))
    return np.array(kept)


def sample_camera(rng: np.random.Generator, size: tuple[int, int], lane: float) -> Camera:
    """Sample a camera.

    Args:
        rng: Random generator.
        size: Height and width of the picture in pixels.
        lane: Offset of the camera's lane, in meters to the right of the middle of the road.
    """
    height, width = size
    focal = rng.uniform(1.0, 1.25) * float(np.sqrt(height * width))
    yaw = rng.normal(0, 0.045)
    horizon = rng.uniform(0.40, 0.52) * height
    return Camera(
        focal=focal,
        center=(width / 2, horizon),
        x=lane + rng.uniform(-0.5, 0.5),
        height=rng.uniform(1.45, 2.1),
        yaw=yaw,
        roll=rng.normal(0, 0.008),
    )


@dataclass(frozen=True, eq=False)
class Plane:
    """An upright plane in the world.

    Attributes:
        origin: World point (3) of the plane's (0, 0).
        across: World vector (3) of one meter to the right on the plane.
    """

    origin: Points
    across: Points

    @classmethod
    def facing(cls, camera: Camera, origin: Points, turn: float = 0.0) -> Plane:
        """Create a plane through a point that faces the camera, turned by ``turn`` radians."""
        angle = np.arctan2(origin[0] - camera.x, origin[2] - camera.z) + turn
        return cls(origin, np.array([np.cos(angle), 0.0, -np.sin(angle)]))

    def at(self, flat: Points) -> Points:
        """Convert N×2 (right, up) meters on the plane to N×3 world points."""
        points = self.origin + flat[:, :1] * self.across
        points[:, 1] += flat[:, 1]
        return points

    def box(self, left: float, right: float, low: float, high: float) -> Points:
        """Compute the 4×3 corners of a rectangle: top left, top right, bottom right, bottom left."""
        return self.at(np.array([[left, high], [right, high], [right, low], [left, low]]))


def circle(radius: float, count: int = 20, center: tuple[float, float] = (0.0, 0.0), turn: float = 0.0) -> Points:
    """Compute the ``count``×2 corners of a regular polygon."""
    angle = turn + np.arange(count) * (2 * np.pi / count)
    return np.stack([center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle)], axis=1)


@dataclass(frozen=True)
class Footprint:
    """Rectangle on the ground that an item covers, in meters right of the middle of the road and meters ahead."""

    left: float
    right: float
    near: float
    far: float

    @classmethod
    def around(cls, place: Points, across: float, along: float) -> Footprint:
        """Create the rectangle that extends ``across`` and ``along`` meters to both sides of a world point (3)."""
        x, z = float(place[0]), float(place[2])
        return cls(x - across, x + across, z - along, z + along)

    def touches(self, other: Footprint, gap: float = 0.0) -> bool:
        """Whether two footprints overlap or are closer than ``gap`` meters."""
        apart = max(self.left - other.right, other.left - self.right, self.near - other.far, other.near - self.far)
        return apart < gap

    @property
    def center(self) -> Points:
        """World point (3) at the center."""
        return np.array([(self.left + self.right) / 2, 0.0, (self.near + self.far) / 2])

    @property
    def space(self) -> Points:
        """4×3 corners of an upright rectangle at the far edge, large enough for any item on this footprint."""
        x, z, reach = self.center[0], self.far, 3.5 + (self.right - self.left) / 2
        return np.array([[x - reach, 0, z], [x + reach, 0, z], [x + reach, 14, z], [x - reach, 14, z]])

    @property
    def surroundings(self) -> Points:
        """4×3 points on the ground just outside, at least some of which are not in the item's own shadow."""
        x, z = self.center[[0, 2]]
        return np.array(
            [[self.left - 0.6, 0, z], [self.right + 0.6, 0, z], [x, 0, self.near - 0.6], [x, 0, self.far + 0.6]]
        )
