"""Where buildings stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seamseg.data.scenes.layout.plan import Plan
from seamseg.data.scenes.layout.street import SIDES
from seamseg.data.scenes.objects.buildings import Building, BuildingKind, sample_building

_DEPTH = 85.0
"""Metres to the end of the rows."""

_LENGTHS: dict[BuildingKind, tuple[float, float]] = {
    "city": (7.0, 18.0),
    "houses": (8.0, 13.0),
    "offices": (14.0, 32.0),
}
_GAPS: dict[BuildingKind, tuple[float, float]] = {"city": (0.0, 0.0), "houses": (2.0, 6.0), "offices": (0.0, 9.0)}


def sample_buildings(plan: Plan, lamps: float) -> list[Building]:
    """The rows on both sides and now and then one across the end of the street, far to near."""
    junction, buildings = plan.street.junction, []
    for sign in SIDES:
        start = plan.between(-4, 2)
        if junction is None:
            buildings += _row(plan, sign, start, _DEPTH, lamps)
        else:
            buildings += _row(plan, sign, start, junction.near - 2.8, lamps)
            buildings += _row(plan, sign, junction.far + 2.8, _DEPTH, lamps)
    if plan.chance(0.35):
        buildings += _closing_row(plan, lamps)
    return sorted(buildings, key=lambda building: -float(min(building.near[2], building.far[2])))


def _row(plan: Plan, sign: int, start: float, end: float, lamps: float) -> list[Building]:
    """The buildings on one side between two distances, near to far; a park has none."""
    kind, row, z = plan.street.side(sign).setting, list[Building](), start
    if kind == "park":
        return row
    while z < end - 4:
        stop = min(z + plan.between(*_LENGTHS[kind]), end)
        if plan.chance(0.94):
            one = _beside(plan, sign, kind, (z, stop), lamps)
            hidden = bool(row) and row[-1].far[2] == one.near[2] and row[-1].height >= one.height
            row.append(replace(one, detached=not hidden))
        z = stop + plan.between(*_GAPS[kind])
    return row


def _beside(plan: Plan, sign: int, kind: BuildingKind, ends: tuple[float, float], lamps: float) -> Building:
    """A building on one side of the street, between two distances."""
    offset = sign * (plan.street.frontage(sign) + (plan.between(0, 1.2) if kind == "houses" else 0.0))
    near, far = (plan.street.at(offset, end) for end in ends)
    along = (far - near) / np.linalg.norm(far - near)
    away = np.array([along[2], 0, -along[0]]) * sign
    return sample_building(plan.rng, kind, (near, far), away, lamps)


def _closing_row(plan: Plan, lamps: float) -> list[Building]:
    setting = plan.street.right.setting
    kind: BuildingKind = "city" if setting == "park" else setting
    row, x, z = [], -34.0, _DEPTH + 10
    shift = float(plan.street.middle(np.array(z)))
    while x < 34:
        length = plan.between(9, 20)
        ends = np.array([x + shift, 0, z]), np.array([x + length + shift, 0, z])
        row.append(sample_building(plan.rng, kind, ends, np.array([0.0, 0.0, 1.0]), lamps))
        x += length
    return row
