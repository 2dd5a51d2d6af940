"""Output files of conversions to COCO panoptic."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seamseg.convert.panoptic_target import PanopticTarget, color_ids, number_segments
from seamseg.data.png import read_panoptic_png
from seamseg.errors import SettingsError
from seamseg.structures import VOID, PanopticSegmentation
from seamseg.structures.categories import Categories, Category

CATEGORIES = Categories((Category("road", False, (128, 64, 128), 7), Category("car", True, (0, 0, 142), 3)))


def test_panoptic_target_on_drawn_map_writes_png_and_entries(tmp_path: Path) -> None:
    """In the PNG, segment 1 has the id 9 and segment 2 the id 5; segment 3 has no pixels."""
    image_path = tmp_path / "a.jpg"
    assert cv2.imwrite(str(image_path), np.zeros((2, 3, 3), np.uint8))
    ids = torch.tensor([[0, 2, 2], [1, 1, 2]])
    classes, crowd = torch.tensor([VOID, 1, 0, 0]), torch.tensor([False, True, False, False])
    segmentation = PanopticSegmentation(ids, classes, crowd)
    target = PanopticTarget(tmp_path / "out", "val")
    written = target.write(4, image_path, "a.jpg", image_path, segmentation, CATEGORIES, png_ids=[9, 5, 6])
    assert written.entries["annotations"][0]["segments_info"] == [
        {"id": 9, "category_id": 3, "area": 2, "bbox": [0, 1, 2, 1], "iscrowd": 1},
        {"id": 5, "category_id": 7, "area": 3, "bbox": [1, 0, 2, 2], "iscrowd": 0},
    ]
    png = target.json_file.with_suffix("") / "a.png"
    assert read_panoptic_png(png).tolist() == [[0, 5, 5], [9, 9, 5]]


@pytest.mark.parametrize("split", ["", ".", "..", "../../x", "a/b", "a\\b", "a\0"])
def test_panoptic_target_refuses_splits_that_lead_out_of_its_folders(tmp_path: Path, split: str) -> None:
    with pytest.raises(SettingsError, match="split"):
        PanopticTarget(tmp_path, split)


def test_number_segments_keeps_zero_void() -> None:
    ids, values = number_segments(np.array([[0, 7, 7], [3, 0, 7]], np.int32))
    assert (ids.tolist(), values) == ([[0, 2, 2], [1, 0, 2]], [3, 7])
    ids, values = number_segments(np.array([[7, 3]], np.int32))
    assert (ids.tolist(), values) == ([[2, 1]], [3, 7])


def test_color_ids_start_with_the_class_color() -> None:
    road, car, other = color_ids(CATEGORIES, [0, 1, 1])
    assert road == 128 + 256 * 64 + 65536 * 128
    assert car == 65536 * 142
    assert other == 5 + 65536 * 142


def test_color_ids_of_many_segments_are_unique() -> None:
    ids = color_ids(CATEGORIES, [1] * 40_000 + [0] * 30_000)
    assert len(set(ids)) == 70_000
    assert min(ids) > 0
    assert max(ids) < 2**24
    assert ids == color_ids(CATEGORIES, [1] * 40_000 + [0] * 30_000)


def test_color_ids_of_black_class_avoid_void() -> None:
    black = Categories((Category("tar", False, (0, 0, 0), 1), Category("car", True, (0, 0, 0), 3)))
    assert 0 not in color_ids(black, [0, 1])
