"""Segments on their way into a panoptic data set."""

from __future__ import annotations

import numpy as np

from seamseg.convert.segmentation import Segmentation, color_ids
from seamseg.structures.categories import Categories, Category

CATEGORIES = Categories((Category("road", False, (128, 64, 128), 7), Category("car", True, (0, 0, 142), 3)))


def test_entries_of_a_drawn_map() -> None:
    ids = np.array([[0, 5, 5], [9, 9, 5]], np.int32)
    found = Segmentation(ids, {9: 3, 5: 7, 6: 7}, frozenset({9})).segments_info()
    assert found == [
        {"id": 9, "category_id": 3, "area": 2, "bbox": [0, 1, 2, 1], "iscrowd": 1},
        {"id": 5, "category_id": 7, "area": 3, "bbox": [1, 0, 2, 2], "iscrowd": 0},
    ]


def test_the_first_segment_of_a_class_has_its_colour() -> None:
    road, car, other = color_ids(CATEGORIES, [0, 1, 1])
    assert road == 128 + 256 * 64 + 65536 * 128
    assert car == 65536 * 142
    assert other == 5 + 65536 * 142


def test_many_segments_all_differ() -> None:
    ids = color_ids(CATEGORIES, [1] * 40_000 + [0] * 30_000)
    assert len(set(ids)) == 70_000
    assert min(ids) > 0
    assert max(ids) < 2**24
    assert ids == color_ids(CATEGORIES, [1] * 40_000 + [0] * 30_000)


def test_black_is_void() -> None:
    black = Categories((Category("tar", False, (0, 0, 0), 1), Category("car", True, (0, 0, 0), 3)))
    assert 0 not in color_ids(black, [0, 1])
