"""Fields of JSON files; flags have the same meaning in every subcommand that reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.legacy_folder import write_legacy
from support.tiny_dataset import TinyDataset, write_tiny_panoptic

from seamseg.check.check import check_data_set
from seamseg.convert.detection import segments_of_objects
from seamseg.convert.detection_source import detection_categories
from seamseg.data.formats.coco_json import open_annotation, read_index
from seamseg.data.formats.open import open_data_set
from seamseg.data.json_fields import field, flag_field
from seamseg.structures import Categories
from seamseg.submit.predictions import read_categories

FLAGS = [(0, False), (1, True), (False, False), (True, True), (0.0, False), (1.0, True)]
INVALID_FLAGS = ["0", "1", "true", "", None, 2, -1, 0.5, [], {}]

Reader = Callable[[TinyDataset], bool]


def first_segment(data: TinyDataset) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data.json_file.read_text())["annotations"][0]["segments_info"][0]
    return found


def read_for_training(data: TinyDataset) -> bool:
    return bool(read_index(data.json_file)[1][0].segments.crowd[1])


def read_for_scoring(data: TinyDataset) -> bool:
    return bool(open_annotation(data.json_file, None).images[100].crowd[1])


def read_by_check(data: TinyDataset) -> bool:
    report = check_data_set(data.folder, num_workers=1)
    for kind, _, descriptions in report.findings.by_kind():
        if kind.name == "malformed-entry":
            raise ValueError(descriptions[0])
    return report.findings.counts.get("crowd-on-stuff", 0) == 1


def read_for_conversion(data: TinyDataset) -> bool:
    entry = {"image_id": 1, "category_id": 10, "segmentation": [[0, 0, 8, 0, 8, 8, 0, 8]]}
    entry["iscrowd"] = first_segment(data)["iscrowd"]
    categories = open_annotation(data.json_file.with_name("sound.json"), data.png_folder).categories
    return bool(segments_of_objects([entry], (8, 8), categories, None)[0].crowd.any())


@pytest.fixture
def data(tmp_path: Path) -> TinyDataset:
    data = write_tiny_panoptic(tmp_path, num_images=1)
    data.json_file.with_name("sound.json").write_bytes(data.json_file.read_bytes())
    return data


READERS = [read_for_training, read_for_scoring, read_by_check, read_for_conversion]


def set_crowd(data: TinyDataset, value: Any) -> None:
    data.edit_json(lambda content: content["annotations"][0]["segments_info"][0].update(iscrowd=value))


@pytest.mark.parametrize("reader", READERS)
def test_crowd_flags_mean_the_same_in_every_subcommand(reader: Reader, data: TinyDataset) -> None:
    for value, meaning in FLAGS:
        set_crowd(data, value)
        assert reader(data) is meaning, value


@pytest.mark.parametrize("reader", READERS)
def test_invalid_crowd_flags_are_rejected_by_every_subcommand(reader: Reader, data: TinyDataset) -> None:
    for value in INVALID_FLAGS:
        set_crowd(data, value)
        with pytest.raises(ValueError, match="'iscrowd' is ") as caught:
            reader(data)
        assert repr(value) in str(caught.value)
        assert "0, 1, true or false" in str(caught.value)


def set_things(categories: list[dict[str, Any]], no: Any, yes: Any) -> None:
    for entry in categories:
        entry["isthing"] = yes if entry["isthing"] else no


def categories_of_training(path: Path) -> Categories:
    return read_index(path)[0]


def categories_of_scoring(path: Path) -> Categories:
    return open_annotation(path, None).categories


def categories_of_conversion(path: Path) -> Categories:
    return detection_categories(path, None)


@pytest.mark.parametrize("reader", [categories_of_training, categories_of_scoring, categories_of_conversion])
def test_thing_flags_mean_the_same_in_every_subcommand(reader: Callable[[Path], Categories], data: TinyDataset) -> None:
    expected = reader(data.json_file)
    for no, yes in ((False, True), (0.0, 1.0)):
        data.edit_json(lambda content, flags=(no, yes): set_things(content["categories"], *flags))
        assert reader(data.json_file) == expected
    data.edit_json(lambda content: content["categories"][3].update(isthing="0"))
    with pytest.raises(ValueError, match="category 3: 'isthing' is '0', expected 0, 1, true or false"):
        reader(data.json_file)


def test_thing_flags_of_server_categories_follow_the_same_rule(tmp_path: Path) -> None:
    path = tmp_path / "panoptic.json"
    path.write_text(json.dumps({"categories": [{"id": 1, "name": "sky", "isthing": False}]}))
    assert not read_categories(path)["sky"].is_thing
    path.write_text(json.dumps({"categories": [{"id": 1, "name": "sky", "isthing": "0"}]}))
    with pytest.raises(ValueError, match="category 0: 'isthing' is '0'"):
        read_categories(path)


def test_thing_flags_of_model_categories_follow_the_same_rule() -> None:
    with pytest.raises(ValueError, match="category 0: 'isthing' is '0'"):
        Categories.from_list([{"id": 1, "name": "sky", "isthing": "0"}])


@pytest.mark.parametrize("value", [2, "0", None])
def test_crowd_flags_of_a_legacy_data_set_follow_the_same_rule(tmp_path: Path, value: Any) -> None:
    write_legacy(tmp_path, change=lambda images: images[1].update(iscrowd=[0, value, 0, 0, 0, 1, 0]))
    with pytest.raises(ValueError, match=r"'iscrowd' contains .*, expected 0, 1, true or false"):
        open_data_set(tmp_path, "train")


def test_field_rejects_booleans_as_integers() -> None:
    with pytest.raises(ValueError, match="'height' is True, expected int"):
        field({"height": True}, "height", int, "image 3")
    assert flag_field({"iscrowd": True}, "iscrowd", "image 3") is True
