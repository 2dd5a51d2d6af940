"""Drawing of surfaces and of shadows on the ground."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.scenes.drawing.camera import NEAR, Camera, Footprint, Points
from seamseg.scenes.drawing.canvas import Canvas, Picture, fixed_point
from seamseg.scenes.drawing.light import Light, Rgb
from seamseg.scenes.drawing.noise import Field

STEP = 2
"""Side of the blocks of pixels in the drawing that share one shadow value."""

_FRACTION_BITS = 4


def cast_shadows(
    size: tuple[int, int], camera: Camera, light: Light, casters: Iterable[Points], feet: Sequence[Footprint]
) -> Field:
    """Compute the fraction of light removed from the ground.

    Args:
        size: Height and width of the drawing.
        camera: Camera that sees the ground.
        light: Light with the sun.
        casters: World points, N×3 each. The convex hull of each set casts a shadow on the ground.
        feet: Footprints that are dark even without sun.

    Returns:
        A float32 field, 0 … 1, with soft edges and one value per ``STEP`` × ``STEP`` pixels.
    """
    mask = np.zeros((-(-size[0] // STEP), -(-size[1] // STEP)), np.uint8)
    for foot in feet:
        _fill(mask, camera, _enlarged(foot, 0.15), 110)
    for foot in feet:
        _fill(mask, camera, _enlarged(foot, -0.1), 200)
    if float(light.direct.max()) > 0.2:
        for points in casters:
            _fill(mask, camera, _on_ground(points, light), 255)
    reach = max(3, round(size[0] / 160 / STEP)) | 1
    soft = cv2.blur(cv2.blur(mask, (reach, reach)), (reach, reach))
    return np.asarray(soft, dtype=np.float32) / np.float32(255)


def _enlarged(foot: Footprint, margin: float) -> Points:
    left, right = foot.left - margin, max(foot.right + margin, foot.left)
    near, far = foot.near - margin, max(foot.far + margin, foot.near)
    return np.array([[left, 0, near], [right, 0, near], [right, 0, far], [left, 0, far]])


def _on_ground(points: Points, light: Light) -> Points:
    """Outline (M×3) of the shadow that a body casts on the ground."""
    flat = points[:, [0, 2]] + points[:, 1:2] * light.shadow_per_meter
    hull = cv2.convexHull(flat.astype(np.float32))[:, 0].astype(np.float64)
    return np.insert(hull, 1, 0.0, axis=1)


def _fill(mask: npt.NDArray[np.uint8], camera: Camera, outline: Points, value: int) -> None:
    pixels = camera.project(outline)
    if len(pixels) >= 3:
        cv2.fillPoly(mask, [fixed_point(pixels / STEP)], (value,), cv2.LINE_8, _FRACTION_BITS)


def share_of_sun(shadow: Field, camera: Camera, places: Points) -> float:
    """Compute the mean fraction of sunlight at N×3 points on the ground; points outside the picture are ignored."""
    height, width = shadow.shape
    seen = camera.homogeneous(places)
    columns, rows = np.floor(seen[:, :2] / np.maximum(seen[:, 2:], NEAR) / STEP).astype(int).T
    inside = (seen[:, 2] > NEAR) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return 1 - float(shadow[rows[inside], columns[inside]].mean()) if inside.any() else 1.0


NOBODY = 0
"""Owner of void pixels."""


@dataclass(frozen=True, eq=False, slots=True)
class Face:
    """A flat polygon of one color.

    Attributes:
        points: N×3 corners in the world.
        color: Albedo, or the final color if ``glows``.
        gloss: Reflectivity of the sky, 0 … 1.
        glows: Whether the color is independent of the light, because the face shines or is already shaded.
        normal: Unit normal (3). None uses the normal of the face's plane.
    """

    points: Points
    color: Rgb
    gloss: float = 0.0
    glows: bool = False
    normal: Points | None = None


@dataclass
class Painter:
    """Drawing context of the objects.

    Attributes:
        canvas: Canvas to draw on.
        camera: Camera of the scene.
        light: Light of the scene.
        owner: Owner number of the pixels that are drawn next.
        lit: Fraction of sunlight at the place that is drawn next, 0 … 1.
    """

    canvas: Canvas
    camera: Camera
    light: Light
    owner: int = NOBODY
    lit: float = 1.0

    def faces(self, faces: Sequence[Face]) -> None:
        """Draw faces in order, from back to front; one call for hundreds of faces is faster than single calls."""
        if not faces:
            return
        counts = np.array([len(face.points) for face in faces])
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        points = np.concatenate([face.points for face in faces])
        seen = self.camera.homogeneous(points)
        distance = np.add.reduceat(seen[:, 2], starts) / counts
        colors = self._colors(faces, points, starts, distance)
        if seen[:, 2].min() >= NEAR:
            corners = fixed_point(seen[:, :2] / seen[:, 2:])
            for start, count, color in zip(starts.tolist(), counts.tolist(), colors, strict=True):
                self.canvas.fill(corners[start : start + count], color, self.owner)
        else:
            for face, color in zip(faces, colors, strict=True):
                self.canvas.polygon(self.camera.project(face.points), color, self.owner)

    def _colors(self, faces: Sequence[Face], points: Points, starts: npt.NDArray[np.int64], distance: Points) -> Points:
        """F×3 colors of faces after applying light and haze to their albedo."""
        albedo = np.array([face.color for face in faces])
        normals = self._normals(points[starts], points[starts + 1], points[starts + 2])
        for index, face in enumerate(faces):
            if face.normal is not None:
                normals[index] = face.normal
        gloss = np.array([face.gloss for face in faces])[:, None]
        shaded = albedo * self.light.shade(normals, self.lit) + gloss * self.light.sky_low
        glows = np.array([face.glows for face in faces])[:, None]
        return self.light.through_air(np.where(glows, albedo, shaded), distance)

    def _normals(self, first: Points, second: Points, third: Points) -> Points:
        """F×3 unit normals of planes through three points each, on the visible side."""
        one, two = second - first, third - first
        across = np.stack([_minor(one, two, axis) for axis in range(3)], axis=1)
        toward = self.camera.place - first
        length = np.linalg.norm(across, axis=1) * np.where((across * toward).sum(1) < 0, -1, 1)
        return across / np.where(np.abs(length) < 1e-9, 1.0, length)[:, None]

    def face(self, points: Points, color: Rgb, normal: Points | None = None) -> None:
        """Draw one face without gloss."""
        self.faces([Face(points, color, normal=normal)])

    def shade(self, corners: Points) -> Rgb:
        """Compute the RGB factors of the light on a plane through three points."""
        return np.asarray(self.light.shade(self._normals(corners[:1], corners[1:2], corners[2:3]), self.lit)[0])

    def stroke(self, points: Points, albedo: Rgb) -> None:
        """Draw a thin line through N×3 points without changing the owners."""
        seen = self.camera.homogeneous(points)
        if (seen[:, 2] > NEAR).all():
            color = self.light.through_air(albedo[None], seen[:1, 2])[0]
            self.canvas.line(seen[:, :2] / seen[:, 2:], color)

    def texture(self, texture: Picture, corners: Points) -> None:
        """Draw a shaded H×W×3 texture on a quadrangle with 4×3 corners, clockwise from the top left."""
        seen = self.camera.homogeneous(corners)
        if (seen[:, 2] >= NEAR).all():
            self.canvas.texture(texture, seen[:, :2] / seen[:, 2:], self.owner)

    def sprite(self, texture: Picture, mask: npt.NDArray[np.uint8], corners: Points) -> None:
        """Draw the masked part (H×W) of a shaded H×W×3 texture on a quadrangle with 4×3 corners."""
        seen = self.camera.homogeneous(corners)
        if (seen[:, 2] >= NEAR).all():
            self.canvas.sprite(texture, mask, seen[:, :2] / seen[:, 2:], self.owner)

    def scale(self, point: Points) -> float:
        """Compute the pixels per meter at a world point (3)."""
        return self.camera.focal / max(float(self.camera.distance(point[None])[0]), NEAR)

    def shows(self, points: Points) -> bool:
        """Whether anything within a polygon of N×3 world points can be visible in the picture."""
        return self.canvas.window(self.camera.project(points)) is not None


def _minor(one: Points, two: Points, axis: int) -> Points:
    j, k = (axis + 1) % 3, (axis + 2) % 3
    return np.asarray(one[:, j] * two[:, k] - one[:, k] * two[:, j])
