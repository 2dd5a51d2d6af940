"""Closed paths of Label Studio's vector tool, whose edges are lines or cubic Bézier curves."""

from __future__ import annotations

from typing import Any

from seamseg.convert.drawn import number_field
from seamseg.data.json_fields import field

_Point = tuple[float, float]

_CURVE_STEPS = 16
_FREE_END = 0.3
"""Distance of the control point of an end without one, as a fraction of the edge; the tool draws such curves so."""


def vector_outline(value: dict[str, Any], where: str) -> list[_Point] | None:
    """Return the corners of a closed path in percent, or None if it encloses nothing.

    Every vertex names the one before it under ``prevPointId``; without this key, that is the one before it in the
    list. Paths that are open or branch (those of skeletons) enclose nothing.

    Args:
        value: ``value`` of a result with the key ``vertices``.
        where: Description of the region, used in error messages.

    Raises:
        SeamsegError: A vertex is malformed.
    """
    vertices = field(value, "vertices", list, where)
    for vertex in vertices:
        _point(vertex, where)
    names = [str(vertex.get("id", number)) for number, vertex in enumerate(vertices)]
    ring = _ring(vertices, names) if value.get("closed") is True else None
    if ring is None:
        return None
    corners = []
    for start, end in zip(ring, [*ring[1:], ring[0]], strict=True):
        corners += _edge(start, end, where)
    return corners


def _ring(vertices: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]] | None:
    """Return the vertices in the order of the path, or None if it does not visit each one once."""
    if not vertices:
        return None
    following: dict[str, int] = {}
    for number, vertex in enumerate(vertices):
        before = str(vertex.get("prevPointId") or (names[number - 1] if number else ""))
        if before in following:
            return None
        following[before] = number
    order = [0]
    while (after := following.get(names[order[-1]], 0)) != 0 and len(order) < len(vertices):
        order.append(after)
    return [vertices[number] for number in order] if len(order) == len(vertices) else None


def _edge(start: dict[str, Any], end: dict[str, Any], where: str) -> list[_Point]:
    """Return the points of an edge, without its end."""
    first, last = _point(start, where), _point(end, where)
    leaving, arriving = _control(start, "controlPoint2", where), _control(end, "controlPoint1", where)
    if leaving is None and arriving is None:
        return [first]
    leaving = leaving or _between(first, last, _FREE_END)
    arriving = arriving or _between(last, first, _FREE_END)
    points = []
    for step in range(_CURVE_STEPS):
        t = step / _CURVE_STEPS
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
        corners = (first, leaving, arriving, last)
        x, y = (sum(weight * corner[axis] for weight, corner in zip(weights, corners, strict=True)) for axis in (0, 1))
        points.append((x, y))
    return points


def _point(vertex: Any, where: str) -> _Point:
    return number_field(vertex, "x", where), number_field(vertex, "y", where)


def _control(vertex: dict[str, Any], key: str, where: str) -> _Point | None:
    if not vertex.get("isBezier") or vertex.get(key) is None:
        return None
    return _point(field(vertex, key, dict, where), where)


def _between(start: _Point, end: _Point, fraction: float) -> _Point:
    return start[0] + fraction * (end[0] - start[0]), start[1] + fraction * (end[1] - start[1])
