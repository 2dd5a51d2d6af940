"""Areas, boxes and distinct values of id maps, compared with loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.data.formats.coco_writer import distinct_values, measure_segments


def measure_by_loops(ids: np.ndarray) -> dict[int, tuple[int, tuple[int, int, int, int]]]:
    found: dict[int, tuple[int, tuple[int, int, int, int]]] = {}
    for y, row in enumerate(ids.tolist()):
        for x, number in enumerate(row):
            area, (y0, x0, y1, x1) = found.get(number, (0, (y, x, y, x)))
            found[number] = area + 1, (min(y0, y), min(x0, x), max(y1, y + 1), max(x1, x + 1))
    return found


MAPS = [
    np.zeros((1, 1), np.int32),
    np.full((3, 5), 7, np.int32),
    np.array([[0, 1, 0, 1], [1, 0, 1, 0]]),
    np.array([[5, 5, 5], [5, 9, 5], [5, 5, 5]], np.uint16),
    np.arange(12).reshape(3, 4) * 1_000_000,
    np.array([[2**24 - 1], [0], [2**24 - 1]], np.int32),
    np.random.default_rng(0).integers(0, 4, (17, 23)),
    np.random.default_rng(1).integers(0, 2, (40, 3)).astype(np.int32),
]


@pytest.mark.parametrize("ids", MAPS)
def test_measure_segments_equals_pixel_loops(ids: np.ndarray) -> None:
    expected = measure_by_loops(ids)
    found = measure_segments(ids)
    assert found.ids.tolist() == sorted(expected)
    assert found.areas.tolist() == [expected[number][0] for number in sorted(expected)]
    assert [tuple(box) for box in found.boxes.tolist()] == [expected[number][1] for number in sorted(expected)]
    for box, (y0, x0, y1, x1) in zip(found.coco_boxes().tolist(), found.boxes.tolist(), strict=True):
        assert box == [x0, y0, x1 - x0, y1 - y0]
    assert found.without_void().ids.tolist() == [number for number in sorted(expected) if number]


@pytest.mark.parametrize("ids", MAPS)
def test_distinct_values_are_sorted_and_rebuild_the_map(ids: np.ndarray) -> None:
    values, positions = distinct_values(ids)
    assert values.tolist() == sorted(set(ids.ravel().tolist()))
    assert positions.shape == ids.shape
    assert (values[positions] == ids).all()
