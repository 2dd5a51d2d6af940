"""Surfaces of a car: a side view extruded to a body, with glass, wheels and lights."""

from __future__ import annotations

import numpy as np

from seamseg.scenes.drawing.camera import Points, circle
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.painter import Face
from seamseg.scenes.objects.car_shapes import CarShape

_TIRE = np.array([24.0, 24.0, 26.0])
_RUBBER = np.array([36.0, 36.0, 38.0])
_PLATE = np.array([226.0, 224.0, 208.0])


class CarBody:
    """A car in its own frame: meters right, up and forward of its center on the ground.

    Args:
        shape: Shape of the car.
        colors: Albedo of the paint, the rims and the glass.
        braking: Whether the brake lights are on.
        lamps: Whether the headlights and rear lights are on.
        fine: Whether details are large enough to be visible.
    """

    def __init__(self, shape: CarShape, colors: tuple[Rgb, Rgb, Rgb], braking: bool, lamps: bool, fine: bool) -> None:
        self.shape, self.braking, self.lamps, self.fine = shape, braking, lamps, fine
        self.paint, self.rims, self.glass = colors
        self._outline = shape.rounded if fine else shape.outline

    def faces(self, eye: Points) -> list[Face]:
        """List the faces visible from a point (3) in the car's frame, from far to near."""
        faces = [*self._underside(), *self._shell(eye)]
        rear, front = self.shape.ends
        if eye[2] < rear:
            faces += self._pane(self.shape.rear_glass) + self._rear()
        if eye[2] > front:
            faces += self._pane(self.shape.front_glass) + self._front()
        elif eye[2] > self.shape.front_glass[1, 0]:
            faces += self._pane(self.shape.front_glass)
        for side in (-1.0, 1.0):
            if side * eye[0] > self.shape.half_width:
                faces += self._flank(side)
        return faces

    def _underside(self) -> list[Face]:
        """Wheels seen from the rear or front, and the dark area below the body."""
        half, faces = self.shape.half_width, []
        for z in self.shape.wheels:
            for x in (-half * 0.92, half * 0.68):
                faces.append(Face(_across(x, x + half * 0.24, 0.0, self.shape.wheel * 1.2, z), _TIRE))
        for z in self.shape.ends:
            low = self.shape.sill
            faces.append(Face(_across(-half * 0.86, half * 0.86, low - 0.07, low + 0.1, z * 0.96), _RUBBER * 0.6))
        return faces

    def _shell(self, eye: Points) -> list[Face]:
        """List the strips between the two sides that face the eye, from far to near."""
        outline = self._outline
        start, end = outline[:-1], outline[1:]
        middle, along = (start + end) / 2, end - start
        outward = np.stack([-along[:, 1], along[:, 0]], axis=1)
        away = np.array([eye[2], eye[1]]) - middle
        seen = np.flatnonzero((outward * away).sum(1) > 0)
        half = self.shape.half_at(outline)
        strips = []
        for edge in seen[np.argsort(-np.abs(away[seen, 0]))]:
            (z0, y0), (z1, y1), wide, narrow = *outline[edge : edge + 2], half[edge], half[edge + 1]
            strip = np.array([[-wide, y0, z0], [wide, y0, z0], [narrow, y1, z1], [-narrow, y1, z1]])
            flat = abs(z1 - z0) / max(abs(z1 - z0) + abs(y1 - y0), 1e-6)
            below = max(y0, y1) < self.shape.sill + 0.22
            strips.append(Face(strip, self.paint * (0.5 if below else 1.0), 0.04 + 0.16 * flat))
        return strips

    def _pane(self, glass: Points) -> list[Face]:
        """Rear window or windshield; the upper part reflects the sky."""
        strip = self._strip(glass[0], glass[1])
        faces = [Face(_part(strip, 0.05, 0.95, 0.02, 0.96), self.glass * 0.7)]
        return [
            *faces,
            Face(_part(strip, 0.08, 0.92, 0.07, 0.92), self.glass, 0.14),
            Face(_part(strip, 0.08, 0.92, 0.55, 0.92), self.glass, 0.32),
        ]

    def _strip(self, low: Points, high: Points) -> Points:
        """4×3 corners of the strip from side to side between two (forward, up) points of the outline."""
        half = self.shape.half_at(np.array([low, high]))
        return np.array(
            [
                [-half[0], low[1], low[0]],
                [half[0], low[1], low[0]],
                [half[1], high[1], high[0]],
                [-half[1], high[1], high[0]],
            ]
        )

    def _rear(self) -> list[Face]:
        strip = self._strip(self.shape.outline[1], self.shape.outline[2])
        red = np.array([250.0, 46.0, 34.0]) if self.braking else np.array([168.0, 24.0, 24.0])
        shines = self.braking or self.lamps
        faces = [Face(_part(strip, 0.02, 0.98, -0.35, 0.10), self.paint * 0.55)]
        for left, right in ((0.015, 0.17), (0.83, 0.985)):
            faces.append(Face(_part(strip, left, right, 0.45, 0.95), red, 0.05, shines))
            if self.fine:
                faces.append(Face(_part(strip, left, right, 0.62, 0.72), red * 0.5 + 90, 0.05))
        faces.append(Face(_part(strip, 0.36, 0.64, 0.38, 0.66), _PLATE))
        return faces

    def _front(self) -> list[Face]:
        outline = self.shape.outline
        strip = self._strip(outline[-2], outline[-3])
        bright = np.array([255.0, 250.0, 228.0]) if self.lamps else np.array([214.0, 218.0, 220.0])
        faces = [
            Face(_part(strip, 0.10, 0.90, -0.05, 0.26), _RUBBER),
            Face(_part(strip, 0.27, 0.73, 0.50, 0.92), _RUBBER * 0.9),
            Face(_part(strip, 0.37, 0.63, 0.24, 0.46), _PLATE),
        ]
        for left, right in ((0.02, 0.24), (0.76, 0.98)):
            faces.append(Face(_part(strip, left, right, 0.62, 1.0), bright, 0.1, self.lamps))
        return faces

    def _flank(self, side: float) -> list[Face]:
        outline, shape = self._outline, self.shape
        faces = [Face(self._on_flank(outline, side), self.paint, 0.05)]
        shoulder = shape.belt * 0.86
        lower = np.stack([outline[:, 0], np.minimum(outline[:, 1], shoulder)], axis=1)
        faces.append(Face(self._on_flank(lower, side), self.paint * 0.86, 0.02))
        waist = np.stack([outline[:, 0], np.minimum(outline[:, 1], shape.belt * 0.56)], axis=1)
        faces.append(Face(self._on_flank(waist, side), self.paint * 0.72))
        sill = np.stack([outline[:, 0], np.minimum(outline[:, 1], shape.sill + 0.09)], axis=1)
        faces.append(Face(self._on_flank(sill, side), self.paint * 0.4))
        for window in shape.windows:
            faces += self._side_window(window, side)
        if self.fine:
            faces += self._seams(side)
        for z in shape.wheels:
            faces += self._wheel(side, z)
        return faces

    def _side_window(self, window: Points, side: float) -> list[Face]:
        middle = window.mean(0)
        grown = middle + (window - middle) * 1.10
        shiny = middle + (window - middle) * (0.92, 0.42) + (0, 0.11)
        faces = [Face(self._on_flank(grown, side), _RUBBER * 0.7)] if self.fine else []
        faces.append(Face(self._on_flank(window, side), self.glass, 0.16))
        return [*faces, Face(self._on_flank(shiny, side), self.glass, 0.30)] if self.fine else faces

    def _seams(self, side: float) -> list[Face]:
        """Gaps around the doors, door handles and a mirror."""
        faces = []
        for window in self.shape.windows[-2:]:
            for z in (window[0, 0] - 0.03, window[-1, 0] + 0.02):
                gap = np.array([[z, self.shape.belt], [z + 0.02, self.shape.belt], [z + 0.02, 0.4], [z, 0.4]])
                faces.append(Face(self._on_flank(gap, side), self.paint * 0.45))
            z, y = window[0, 0] + 0.08, self.shape.belt * 0.88
            handle = np.array([[z, y], [z + 0.18, y], [z + 0.18, y - 0.035], [z, y - 0.035]])
            faces.append(Face(self._on_flank(handle, side), self.paint * 0.5, 0.1))
        front, y = float(self.shape.windows[-1][:, 0].max()) - 0.12, self.shape.belt
        edges = sorted((side * (self.shape.half_width - 0.04), side * (self.shape.half_width + 0.17)))
        faces.append(Face(_across(edges[0], edges[1], y - 0.02, y + 0.13, front), self.paint * 0.8, 0.05))
        return faces

    def _wheel(self, side: float, z: float) -> list[Face]:
        radius = self.shape.wheel
        arch = circle(radius * 1.2, 18, (z, radius))
        arch[:, 1] = np.maximum(arch[:, 1], self.shape.sill)
        parts = [(arch, _RUBBER * 0.5), (circle(radius, 18, (z, radius)), _TIRE)]
        parts.append((circle(radius * 0.66, 14, (z, radius)), self.rims))
        if self.fine:
            parts.append((circle(radius * 0.52, 5, (z, radius)), self.rims * 0.45))
            parts.append((circle(radius * 0.22, 8, (z, radius)), self.rims * 0.9))
        return [Face(self._on_flank(flat, side), color) for flat, color in parts]

    def _on_flank(self, flat: Points, side: float) -> Points:
        """Convert N×2 (forward, up) points on one side of the body to N×3 points."""
        return np.stack([side * self.shape.half_at(flat), flat[:, 1], flat[:, 0]], axis=1)


def _across(left: float, right: float, low: float, high: float, z: float) -> Points:
    """4×3 corners of an upright rectangle across the car."""
    return np.array([[left, low, z], [right, low, z], [right, high, z], [left, high, z]])


def _part(strip: Points, left: float, right: float, low: float, high: float) -> Points:
    """4×3 corners of a part of a quadrangle, given as fractions of its width and of its height from the first edge."""
    start, end = strip[[0, 1]], strip[[3, 2]]
    rows = [start + (end - start) * share for share in (low, high)]
    (a, b), (d, c) = [(row[0] + (row[1] - row[0]) * left, row[0] + (row[1] - row[0]) * right) for row in rows]
    return np.array([a, b, c, d])
