"""Smallest box loss over a fine grid of full boxes whose part inside the crop is the visible box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = Sequence[float]
Values = NDArray[np.float64]
_EXTENSIONS = np.concatenate([[0.0], np.geomspace(1e-3, 1e5, 800)])
"""Lengths beyond the edges of the crop, as multiples of the visible side."""


def crop_aware_loss(
    region: Numbers, visible: Numbers, cut: Sequence[bool], predicted: Numbers, weights: Numbers, sigma: float
) -> float:
    """Return the smallest loss of one region, as a sum over both axes.

    Args:
        region: Box (y0, x0, y1, x1) that the box_deltas refer to.
        visible: Visible box of the object.
        cut: Whether the object continues beyond y0, x0, y1 and x1.
        predicted: Weighted box_deltas (dy, dx, dh, dw).
        weights: Weights of the box_deltas.
        sigma: Parameter of the smooth L1 loss.
    """
    return sum(
        _axis(region[axis::2], visible[axis::2], cut[axis::2], predicted[axis::2], weights[axis::2], sigma)
        for axis in (0, 1)
    )


def _axis(
    region: Numbers, visible: Numbers, cut: Sequence[bool], predicted: Numbers, weights: Numbers, sigma: float
) -> float:
    def losses(extension: Values, before: Values) -> Values:
        """Return the losses of boxes that are longer than the visible one, partly before it and partly after it."""
        low, high = visible[0] - extension * before, visible[1] + extension * (1 - before)
        center = ((low + high) / 2 - sum(region) / 2) / (region[1] - region[0])
        length = np.log((high - low) / (region[1] - region[0]))
        return _smooth_l1(center * weights[0] - predicted[0], sigma) + _smooth_l1(
            length * weights[1] - predicted[1], sigma
        )

    def over_places(extensions: Values) -> Values:
        if not all(cut):
            return losses(extensions, np.full_like(extensions, cut[0]))
        low, high = np.zeros_like(extensions), np.ones_like(extensions)
        for _ in range(6):  # For one length, the loss is convex in the place of the box.
            places = np.linspace(low, high, 21, axis=1)
            values = losses(extensions[:, None], places)
            step, best = (high - low) / 20, np.take_along_axis(places, values.argmin(1)[:, None], 1)[:, 0]
            low, high = np.maximum(best - step, 0), np.minimum(best + step, 1)
        return values.min(axis=1)

    grid = _EXTENSIONS * (visible[1] - visible[0]) if any(cut) else np.zeros(1)
    values = over_places(grid)
    padded = np.pad(values, 1, constant_values=np.inf)
    minima = np.flatnonzero((values <= padded[:-2]) & (values <= padded[2:]))
    return min(_refined(grid, int(place), over_places) for place in minima[values[minima].argsort()[:5]])


def _refined(grid: Values, place: int, losses: Callable[[Values], Values]) -> float:
    """Return the smallest loss near a place of a grid."""
    for _ in range(5):
        grid = np.linspace(grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)], 31)
        values = losses(grid)
        place = int(values.argmin())
    return float(values.min())


def _smooth_l1(distance: Values, sigma: float) -> Values:
    distance = np.abs(distance)
    return np.where(distance < sigma**-2, sigma**2 * distance**2 / 2, distance - sigma**-2 / 2)
