"""Side views of cars as (forward, up) points in meters, with the center of the car at 0."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seamseg.scenes.drawing.camera import Points


@dataclass(frozen=True, eq=False)
class CarShape:
    """Shape of one kind of car; all lengths are in meters.

    Attributes:
        outline: N×2 points from the foot of the rear bumper over the roof to the foot of the front bumper.
        rear_glass: 2×2 ends of the rear window, the lower one first.
        front_glass: 2×2 ends of the windshield, the lower one first.
        windows: M×2 outlines of the side windows, the foremost one last.
        belt: Height of the lower edge of the windows. The body narrows above it.
        half_width: Half the width at the belt.
        half_roof: Half the width at the roof.
        wheels: Forward positions of the axles.
        wheel: Radius of the wheels.
    """

    outline: Points
    rear_glass: Points
    front_glass: Points
    windows: tuple[Points, ...]
    belt: float
    half_width: float
    half_roof: float
    wheels: tuple[float, float]
    wheel: float

    @cached_property
    def rounded(self) -> Points:
        """Outline with beveled corners; each corner becomes two."""
        start, end = self.outline[:-1], self.outline[1:]
        cut = np.stack([0.78 * start + 0.22 * end, 0.22 * start + 0.78 * end], axis=1).reshape(-1, 2)
        return np.concatenate([self.outline[:1], cut[1:-1], self.outline[-1:]])

    @cached_property
    def roof(self) -> float:
        """Height of the roof."""
        return float(self.outline[:, 1].max())

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Forward positions of the rear end and the front end."""
        return float(self.outline[:, 0].min()), float(self.outline[:, 0].max())

    @property
    def sill(self) -> float:
        """Height of the body's lower edge."""
        return float(self.outline[0, 1])

    def half_at(self, flat: Points) -> Points:
        """Compute half the width at M×2 (forward, up) points; seen from above, the corners are rounded, too."""
        heights = [0.0, 0.45, self.belt, self.roof]
        widths = [self.half_width * 0.94, self.half_width, self.half_width * 0.97, self.half_roof]
        length = max(-self.ends[0], self.ends[1])
        beyond = np.maximum(np.abs(flat[:, 0]) / length - 0.75, 0) / 0.25
        return np.asarray(np.interp(flat[:, 1], heights, widths) * (1 - 0.13 * beyond**2))


def _points(*pairs: tuple[float, float]) -> Points:
    return np.array(pairs, np.float64)


SEDAN = CarShape(
    outline=_points(
        (-2.2, 0.24), (-2.3, 0.58), (-2.22, 0.96), (-1.55, 1.03), (-0.95, 1.38), (-0.45, 1.46), (0.25, 1.43),
        (1.05, 1.0), (1.95, 0.84), (2.25, 0.66), (2.28, 0.3), (2.2, 0.22),
    ),
    rear_glass=_points((-1.55, 1.03), (-0.95, 1.38)),
    front_glass=_points((1.05, 1.0), (0.25, 1.43)),
    windows=(
        _points((-1.28, 1.04), (-0.86, 1.33), (-0.40, 1.39), (-0.32, 1.0)),
        _points((-0.24, 1.0), (-0.30, 1.39), (0.22, 1.37), (0.80, 1.0)),
    ),
    belt=1.0,
    half_width=0.89,
    half_roof=0.64,
    wheels=(-1.36, 1.40),
    wheel=0.33,
)  # fmt: skip

HATCHBACK = CarShape(
    outline=_points(
        (-1.85, 0.24), (-1.95, 0.55), (-1.92, 0.98), (-1.62, 1.42), (-0.9, 1.53), (0.15, 1.48),
        (0.98, 1.0), (1.72, 0.86), (1.96, 0.66), (1.98, 0.3), (1.9, 0.22),
    ),
    rear_glass=_points((-1.92, 0.98), (-1.62, 1.42)),
    front_glass=_points((0.98, 1.0), (0.15, 1.48)),
    windows=(
        _points((-1.62, 1.06), (-1.38, 1.38), (-0.86, 1.45), (-0.46, 1.45), (-0.40, 1.0)),
        _points((-0.32, 1.0), (-0.36, 1.45), (0.12, 1.41), (0.74, 1.0)),
    ),
    belt=1.0,
    half_width=0.87,
    half_roof=0.66,
    wheels=(-1.22, 1.25),
    wheel=0.32,
)  # fmt: skip

STATION_WAGON = CarShape(
    outline=_points(
        (-2.25, 0.26), (-2.34, 0.6), (-2.3, 1.02), (-1.98, 1.46), (-1.2, 1.58), (0.1, 1.55), (0.95, 1.06),
        (1.95, 0.92), (2.26, 0.72), (2.28, 0.32), (2.2, 0.24),
    ),
    rear_glass=_points((-2.3, 1.02), (-1.98, 1.46)),
    front_glass=_points((0.95, 1.06), (0.1, 1.55)),
    windows=(
        _points((-2.0, 1.12), (-1.78, 1.42), (-1.28, 1.49), (-1.22, 1.06)),
        _points((-1.14, 1.06), (-1.18, 1.50), (-0.42, 1.50), (-0.36, 1.05)),
        _points((-0.28, 1.05), (-0.33, 1.50), (0.06, 1.48), (0.70, 1.05)),
    ),
    belt=1.05,
    half_width=0.91,
    half_roof=0.70,
    wheels=(-1.38, 1.42),
    wheel=0.34,
)  # fmt: skip

OFF_ROADER = CarShape(
    outline=_points(
        (-2.1, 0.36), (-2.22, 0.7), (-2.2, 1.12), (-1.98, 1.66), (-1.2, 1.78), (0.15, 1.74), (0.85, 1.2),
        (1.92, 1.08), (2.2, 0.86), (2.22, 0.42), (2.1, 0.34),
    ),
    rear_glass=_points((-2.2, 1.12), (-1.98, 1.66)),
    front_glass=_points((0.85, 1.2), (0.15, 1.74)),
    windows=(
        _points((-1.92, 1.26), (-1.76, 1.62), (-1.12, 1.67), (-1.06, 1.2)),
        _points((-0.98, 1.2), (-1.02, 1.68), (-0.38, 1.67), (-0.32, 1.2)),
        _points((-0.24, 1.2), (-0.29, 1.67), (0.10, 1.65), (0.64, 1.2)),
    ),
    belt=1.18,
    half_width=0.95,
    half_roof=0.76,
    wheels=(-1.34, 1.36),
    wheel=0.39,
)  # fmt: skip

VAN = CarShape(
    outline=_points(
        (-2.5, 0.30), (-2.58, 0.6), (-2.56, 1.25), (-2.5, 2.0), (-2.35, 2.15), (0.9, 2.15), (1.25, 2.02),
        (1.95, 1.22), (2.42, 1.0), (2.55, 0.72), (2.52, 0.34), (2.4, 0.26),
    ),
    rear_glass=_points((-2.56, 1.25), (-2.5, 2.0)),
    front_glass=_points((1.95, 1.22), (1.25, 2.02)),
    windows=(_points((0.42, 1.24), (0.42, 1.92), (1.1, 1.92), (1.66, 1.22)),),
    belt=1.22,
    half_width=0.98,
    half_roof=0.86,
    wheels=(-1.55, 1.62),
    wheel=0.36,
)  # fmt: skip

CAR_SHAPES = (SEDAN, HATCHBACK, STATION_WAGON, OFF_ROADER, VAN)
