"""Classes find a server's ids by their names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from seamseg.structures import Categories
from seamseg.submit.benchmark import CITYSCAPES, VISTAS
from seamseg.submit.predictions import Predictions, category_ids, read_categories


def predictions(*classes: tuple[str, int]) -> Predictions:
    """Of a model whose own ids mean nothing."""
    entries = [{"id": 70 + i, "name": name, "isthing": isthing} for i, (name, isthing) in enumerate(classes)]
    return Predictions(Path("panoptic.json"), Categories.from_list(entries), [])


def test_names_count_and_the_own_ids_do_not() -> None:
    ids = category_ids(predictions(("car", 1), ("sky", 0), ("road", 0)), CITYSCAPES)
    assert ids[:4].tolist() == [23, 7, 26, 0]
    assert ids.shape == (256,)
    assert not ids[3:].any()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([("sky", 0), ("cars", 1)], r"Cityscapes has no category 'cars' \(it has 'car'\); .* its 19 categories"),
        ([("a1", 0), ("b2", 0), ("c3", 0), ("d4", 0), ("e5", 0), ("f6", 0)], "'d4', 'e5', …;"),
        ([("car", 0)], "'car' is stuff there, but a thing on Cityscapes"),
        ([("road", 1)], "'road' is a thing there, but stuff on Cityscapes"),
    ],
)
def test_other_classes_are_refused(classes: list[tuple[str, int]], message: str) -> None:
    with pytest.raises(ValueError, match=f"panoptic.json: .*{message}"):
        category_ids(predictions(*classes), CITYSCAPES)


def test_an_annotation_names_categories_of_another_version(tmp_path: Path) -> None:
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
    ids = category_ids(predictions(("animal--bird", 1), ("nature--sky", 0)), benchmark)
    assert ids[:2].tolist() == [4, 9]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "the key 'categories' is missing"),
        ({"categories": []}, "holds no categories"),
        ({"categories": [{"id": 1, "name": "a"}]}, "category 0: the key 'isthing' is missing"),
        ({"categories": [{"id": 1, "isthing": 0}]}, "category 0: the key 'name' is missing"),
    ],
)
def test_wrong_annotations_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "categories.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_categories(path)
