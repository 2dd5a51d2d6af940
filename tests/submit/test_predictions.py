"""Category ids on the server, which are matched by class name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from seamseg.structures import Categories
from seamseg.submit.benchmark import CITYSCAPES, VISTAS, Benchmark
from seamseg.submit.predictions import SubmittedPredictions, category_ids, read_categories


def predictions(*classes: tuple[str, int]) -> SubmittedPredictions:
    """Make predictions with category ids that have no meaning on the server."""
    entries = [{"id": 70 + i, "name": name, "isthing": isthing} for i, (name, isthing) in enumerate(classes)]
    return SubmittedPredictions(Path("panoptic.json"), Categories.from_list(entries), [])


def ids_of(one: SubmittedPredictions, benchmark: Benchmark) -> NDArray[np.int64]:
    return category_ids(one.categories, one.json_file, benchmark)


def test_category_ids_are_matched_by_name() -> None:
    ids = ids_of(predictions(("car", 1), ("sky", 0), ("road", 0)), CITYSCAPES)
    assert ids[:4].tolist() == [23, 7, 26, 0]
    assert ids.shape == (256,)
    assert not ids[3:].any()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([("sky", 0), ("cars", 1)], r"Cityscapes .*'cars' .*'car'.* 19 categories"),
        ([("a1", 0), ("b2", 0), ("c3", 0), ("d4", 0), ("e5", 0), ("f6", 0)], "'d4', 'e5', …;"),
        ([("car", 0)], "'car' is stuff, .*a thing in Cityscapes"),
        ([("road", 1)], "'road' is a thing, .*stuff in Cityscapes"),
    ],
)
def test_category_ids_given_unknown_or_mismatched_class_raises(classes: list[tuple[str, int]], message: str) -> None:
    with pytest.raises(ValueError, match=f"panoptic.json: .*{message}"):
        ids_of(predictions(*classes), CITYSCAPES)


def test_read_categories_includes_names_and_supercategories(tmp_path: Path) -> None:
    entries = [
        {"id": 9, "name": "Bird", "supercategory": "animal--bird", "isthing": 1},
        {"id": 4, "name": "nature--sky", "supercategory": "nature", "isthing": 0},
    ]
    (tmp_path / "panoptic_2020.json").write_text(json.dumps({"categories": entries}))
    found = read_categories(tmp_path / "panoptic_2020.json")
    assert {name: tuple(one) for name, one in found.items()} == {
        "Bird": (9, True),
        "animal--bird": (9, True),
        "nature--sky": (4, False),
    }
    benchmark = dataclasses.replace(VISTAS, categories=found)
    ids = ids_of(predictions(("animal--bird", 1), ("nature--sky", 0)), benchmark)
    assert ids[:2].tolist() == [4, 9]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "the key 'categories' is missing"),
        ({"categories": []}, "contains no categories"),
        ({"categories": [{"id": 1, "name": "a"}]}, "category 0: the key 'isthing' is missing"),
        ({"categories": [{"id": 1, "isthing": 0}]}, "category 0: the key 'name' is missing"),
    ],
)
def test_read_categories_given_invalid_file_raises(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "categories.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_categories(path)
