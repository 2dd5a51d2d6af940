"""COCO entries of segmentations, compared with slow loops and the package's own reader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seamseg.data.formats.coco_writer import panoptic_segments
from seamseg.data.json_fields import load_object, write_json_list, write_json_lists
from seamseg.structures import VOID, Categories, Category, PanopticSegmentation

CATEGORIES = Categories(
    (
        Category("sky", False, (1, 2, 3), 30),
        Category("road", False, (4, 5, 6), 10),
        Category("car", True, (7, 8, 9), 20),
    )
)


def segmentation(
    ids: list[list[int]], classes: list[int], crowd: Sequence[int] = (), seed: int = 0
) -> PanopticSegmentation:
    scores = torch.rand(len(classes) + 1, generator=torch.Generator().manual_seed(seed))
    flags = torch.zeros(len(classes) + 1, dtype=torch.bool)
    flags[list(crowd)] = True
    return PanopticSegmentation(torch.tensor(ids), torch.tensor([VOID, *classes]), flags, scores)


# 1 is sky, 2 and 3 are cars, 4 is road, 5 is a leftover of cars, 6 has no pixel
SCENE = segmentation(
    [
        [1, 1, 1, 1, 1, 0],
        [1, 2, 2, 3, 1, 0],
        [4, 2, 2, 3, 3, 5],
        [4, 4, 4, 3, 4, 5],
    ],
    [0, 2, 2, 1, 2, 1],
    crowd=[5],
)


def test_panoptic_segments_describes_each_segment() -> None:
    _, segments = panoptic_segments(SCENE, CATEGORIES)
    scores = [round(float(score), 6) for score in SCENE.scores]
    assert segments == [
        {"id": 1, "category_id": 30, "area": 7, "bbox": [0, 0, 5, 2], "iscrowd": 0, "score": scores[1]},
        {"id": 2, "category_id": 20, "area": 4, "bbox": [1, 1, 2, 2], "iscrowd": 0, "score": scores[2]},
        {"id": 3, "category_id": 20, "area": 4, "bbox": [3, 1, 2, 3], "iscrowd": 0, "score": scores[3]},
        {"id": 4, "category_id": 10, "area": 5, "bbox": [0, 2, 5, 2], "iscrowd": 0, "score": scores[4]},
    ]
    assert json.loads(json.dumps(segments)) == segments


def test_panoptic_segments_turns_leftovers_into_void_in_a_copy() -> None:
    before = SCENE.ids.clone()
    ids, _ = panoptic_segments(SCENE, CATEGORIES)
    expected = SCENE.ids.numpy().copy()
    expected[expected == 5] = 0
    assert ids.dtype == np.int32
    assert (ids == expected).all()
    assert torch.equal(SCENE.ids, before)


@pytest.mark.parametrize("seed", range(4))
def test_panoptic_segments_equals_slow_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    height, width = torch.randint(1, 40, (2,), generator=generator).tolist()
    ids = torch.randint(0, 60, (height, width), generator=generator)
    classes = torch.randint(0, 3, (59,), generator=generator).tolist()
    crowd = [index for index in range(1, 60, 7) if classes[index - 1] == 2]
    found, segments = panoptic_segments(segmentation(ids.tolist(), classes, crowd), CATEGORIES)
    assert {segment["id"] for segment in segments} == set(found[found > 0].tolist())
    assert set(found[found > 0].tolist()) == set(ids.unique().tolist()) - {0, *crowd}
    for segment in segments:
        rows, columns = np.nonzero(ids.numpy() == segment["id"])
        x, y, w, h = segment["bbox"]
        assert segment["area"] == len(rows)
        assert (y, y + h, x, x + w) == (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
        assert CATEGORIES.class_of_original_id[segment["category_id"]] == classes[segment["id"] - 1]


def test_panoptic_segments_of_void_image_is_empty() -> None:
    ids, segments = panoptic_segments(segmentation([[0, 0]], []), CATEGORIES)
    assert (ids.tolist(), segments) == ([[0, 0]], [])


def test_panoptic_segments_handles_70000_segments() -> None:
    ids = torch.arange(1, 70001).reshape(700, 100)
    classes = torch.cat([torch.tensor([VOID]), torch.zeros(70000).long()])
    found = PanopticSegmentation(ids, classes, torch.zeros(70001).bool(), torch.ones(70001))
    segments = panoptic_segments(found, CATEGORIES)[1]
    assert [segment["id"] for segment in segments] == list(range(1, 70001))


@pytest.mark.parametrize("entries", [[], [{"a": 1}], [{"é": "ü"}, 2, [3]]])
def test_written_json_lists_read_back_equal(tmp_path: Path, entries: list[Any]) -> None:
    write_json_lists(tmp_path / "a.json", {"info": {"x": 1}}, {"one": iter(entries), "two": entries})
    assert load_object(tmp_path / "a.json") == {"info": {"x": 1}, "one": entries, "two": entries}
    write_json_list(tmp_path / "b.json", iter(entries))
    assert json.loads((tmp_path / "b.json").read_text()) == entries
