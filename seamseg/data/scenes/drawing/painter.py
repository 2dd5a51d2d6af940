"""Draws surfaces of the world: perspective, light and air between the world's metres and the canvas's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seamseg.data.scenes.drawing.camera import NEAR, Camera, Points
from seamseg.data.scenes.drawing.canvas import Canvas, Picture, fixed_point
from seamseg.data.scenes.drawing.light import Light, Rgb

NOBODY = 0
"""Owner of void pixels."""


@dataclass(frozen=True, eq=False, slots=True)
class Face:
    """A flat polygon of one colour.

    Attributes:
        points: N×3 corners in the world.
        color: albedo, or the final colour where ``glows``.
        gloss: 0 … 1, how much it mirrors of the sky.
        glows: whether light leaves it as it is, because it shines or is shaded already.
        normal: unit normal (3) if not that of its plane.
    """

    points: Points
    color: Rgb
    gloss: float = 0.0
    glows: bool = False
    normal: Points | None = None


@dataclass
class Painter:
    """What an object needs to draw itself.

    Attributes:
        canvas: where to.
        camera: seen from where.
        light: in which light.
        owner: to whom the pixels belong that are drawn next.
        lit: 0 … 1, how much of the sun reaches the place where is drawn next.
    """

    canvas: Canvas
    camera: Camera
    light: Light
    owner: int = NOBODY
    lit: float = 1.0

    def faces(self, faces: Sequence[Face]) -> None:
        """Draws faces, the first one at the back. All at once, because there are hundreds."""
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
        """F×3: albedo in this light, behind this much air."""
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
        """F×3 unit normals of planes through three points each, on the side that is seen."""
        one, two = second - first, third - first
        across = np.stack([_minor(one, two, axis) for axis in range(3)], axis=1)
        toward = np.array([self.camera.x, self.camera.height, 0.0]) - first
        length = np.linalg.norm(across, axis=1) * np.where((across * toward).sum(1) < 0, -1, 1)
        return across / np.where(np.abs(length) < 1e-9, 1.0, length)[:, None]

    def face(self, points: Points, color: Rgb, normal: Points | None = None) -> None:
        self.faces([Face(points, color, normal=normal)])

    def shade(self, corners: Points) -> Rgb:
        """Factors (3) for the light on a plane through three points."""
        return np.asarray(self.light.shade(self._normals(corners[:1], corners[1:2], corners[2:3]), self.lit)[0])

    def stroke(self, points: Points, albedo: Rgb) -> None:
        """A thin line through N×3 points; it owns nothing."""
        seen = self.camera.homogeneous(points)
        if (seen[:, 2] > NEAR).all():
            color = self.light.through_air(albedo[None], seen[:1, 2])[0]
            self.canvas.line(seen[:, :2] / seen[:, 2:], color)

    def texture(self, texture: Picture, corners: Points) -> None:
        """A texture (h×w×3, shaded already) on a quadrangle: 4×3, from its top left corner clockwise."""
        seen = self.camera.homogeneous(corners)
        if (seen[:, 2] >= NEAR).all():
            self.canvas.texture(texture, seen[:, :2] / seen[:, 2:], self.owner)

    def sprite(self, texture: Picture, mask: npt.NDArray[np.uint8], corners: Points) -> None:
        """The part of a texture (h×w×3, shaded already) that its mask (h×w) shows, on a quadrangle (4×3)."""
        seen = self.camera.homogeneous(corners)
        if (seen[:, 2] >= NEAR).all():
            self.canvas.sprite(texture, mask, seen[:, :2] / seen[:, 2:], self.owner)

    def scale(self, point: Points) -> float:
        """Pixels per metre at a world point (3)."""
        return self.camera.focal / max(float(self.camera.distance(point[None])[0]), NEAR)

    def shows(self, points: Points) -> bool:
        """Whether the picture can show something that lies within these world points (N×3)."""
        return self.canvas.window(self.camera.project(points)) is not None


def _minor(one: Points, two: Points, axis: int) -> Points:
    j, k = (axis + 1) % 3, (axis + 2) % 3
    return np.asarray(one[:, j] * two[:, k] - one[:, k] * two[:, j])
