"""Segments as sets of pixels."""

from __future__ import annotations

from torch import Tensor

Pixels = set[tuple[int, int]]
Segments = tuple[Tensor, list[int], list[bool]]
"""Map of ids (H×W), and the class (255 is void) and crowd flag of each id, starting at 0."""


def pixels_of(ids: Tensor) -> dict[int, Pixels]:
    """Return the (y, x) pixels of each id of a map."""
    found: dict[int, Pixels] = {}
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            found.setdefault(int(ids[y, x]), set()).add((y, x))
    return found
