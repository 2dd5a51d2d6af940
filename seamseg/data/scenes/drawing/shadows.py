"""Shadows on the ground."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.data.scenes.drawing.camera import NEAR, Camera, Points
from seamseg.data.scenes.drawing.canvas import fixed_point
from seamseg.data.scenes.drawing.footprint import Footprint
from seamseg.data.scenes.drawing.light import Light
from seamseg.data.scenes.drawing.noise import Field

STEP = 2
"""Pixels of the drawing, in either direction, that share one value."""

_FRACTION_BITS = 4


def cast_shadows(
    size: tuple[int, int], camera: Camera, light: Light, casters: Iterable[Points], feet: Sequence[Footprint]
) -> Field:
    """How much of the light is taken from the ground.

    Args:
        size: height and width of the drawing.
        camera: that sees the ground.
        light: with the sun.
        casters: world points, N×3 each; the shadow of their convex hull falls on the ground.
        feet: where things stand: dark under them whether the sun shines or not.

    Returns:
        float32, 0 … 1, soft at the edges; one value for ``STEP`` × ``STEP`` pixels.
    """
    mask = np.zeros((-(-size[0] // STEP), -(-size[1] // STEP)), np.uint8)
    for foot in feet:
        _fill(mask, camera, _grown(foot, 0.15), 110)
    for foot in feet:
        _fill(mask, camera, _grown(foot, -0.1), 200)
    if float(light.direct.max()) > 0.2:
        for points in casters:
            _fill(mask, camera, _on_ground(points, light), 255)
    reach = max(3, round(size[0] / 160 / STEP)) | 1
    soft = cv2.blur(cv2.blur(mask, (reach, reach)), (reach, reach))
    return np.asarray(soft, dtype=np.float32) / np.float32(255)


def _grown(foot: Footprint, margin: float) -> Points:
    left, right = foot.left - margin, max(foot.right + margin, foot.left)
    near, far = foot.near - margin, max(foot.far + margin, foot.near)
    return np.array([[left, 0, near], [right, 0, near], [right, 0, far], [left, 0, far]])


def _on_ground(points: Points, light: Light) -> Points:
    """Outline (M×3) of the shadow of a body."""
    flat = points[:, [0, 2]] + points[:, 1:2] * light.shadow_per_metre
    hull = cv2.convexHull(flat.astype(np.float32))[:, 0].astype(np.float64)
    return np.insert(hull, 1, 0.0, axis=1)


def _fill(mask: npt.NDArray[np.uint8], camera: Camera, outline: Points, value: int) -> None:
    pixels = camera.project(outline)
    if len(pixels) >= 3:
        cv2.fillPoly(mask, [fixed_point(pixels / STEP)], (value,), cv2.LINE_8, _FRACTION_BITS)


def share_of_sun(shadow: Field, camera: Camera, places: Points) -> float:
    """How much sun reaches some places on the ground (N×3), where they are in the picture; 1 is all of it."""
    height, width = shadow.shape
    seen = camera.homogeneous(places)
    columns, rows = np.floor(seen[:, :2] / np.maximum(seen[:, 2:], NEAR) / STEP).astype(int).T
    inside = (seen[:, 2] > NEAR) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return 1 - float(shadow[rows[inside], columns[inside]].mean()) if inside.any() else 1.0
