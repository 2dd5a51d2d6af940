"""Detection of data set formats."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image
from support.detection_folder import write_detection
from support.legacy_folder import write_legacy
from support.tiny_dataset import write_tiny_panoptic
from support.vistas_folder import write_vistas

from seamseg.config.data import DataFormat
from seamseg.data.formats.annotated_dataset import NEEDED_CONTENT
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.formats.open import FORMATS, choose_format, open_data_set, split_names
from seamseg.errors import DataError


def test_data_format_setting_lists_every_format() -> None:
    assert get_args(DataFormat) == tuple(FORMATS)


def test_choose_format_recognizes_each_format(tmp_path: Path) -> None:
    write_tiny_panoptic(tmp_path / "coco")
    write_vistas(tmp_path / "old", older=True)
    write_vistas(tmp_path / "new", versions=["v2.0"])
    write_legacy(tmp_path / "legacy")
    write_detection(tmp_path / "objects")
    formats = {
        "coco": "coco",
        "old": "vistas_v1.2",
        "new": "vistas_v2.0",
        "legacy": "seamseg",
        "objects": "coco_detection",
    }
    for folder, name in formats.items():
        assert choose_format(tmp_path / folder) == name
        assert choose_format(tmp_path / folder, wanted=name) == name
        assert choose_format(tmp_path / folder, preferred="coco") == name
    assert isinstance(open_data_set(tmp_path / "coco", "train"), CocoPanoptic)
    assert split_names(tmp_path / "coco", "coco") == ["train"]
    assert split_names(tmp_path / "old", "vistas_v1.2") == ["training", "validation"]
    assert split_names(tmp_path / "old", "vistas_v2.0") == []
    assert split_names(tmp_path / "legacy", "seamseg") == ["train", "val"]


def test_choose_format_with_several_formats_requires_a_choice(tmp_path: Path) -> None:
    write_vistas(tmp_path, versions=["v1.2", "v2.0"])
    message = rejection(tmp_path)
    assert "contains Mapillary Vistas v1.2 and Mapillary Vistas v2.0" in message
    assert message.endswith("data.format=vistas_v1.2 or data.format=vistas_v2.0")
    assert choose_format(tmp_path, "vistas_v2.0") == "vistas_v2.0"
    assert choose_format(tmp_path, preferred="vistas_v1.2") == "vistas_v1.2"
    assert "contains Mapillary" in rejection(tmp_path, preferred="coco")


def test_choose_format_without_match_lists_the_expected_files(tmp_path: Path) -> None:
    message = rejection(tmp_path)
    assert "is not a data set in a supported format" in message
    assert "looked for COCO panoptic: annotations/panoptic_SPLIT.json; " in message
    assert all(kind.looked_for in message for kind in FORMATS.values())
    (tmp_path / "gtFine").mkdir()
    assert "(it looks like Cityscapes, which `seamseg convert cityscapes` converts)" in rejection(tmp_path)
    assert "Cityscapes" in rejection(tmp_path, wanted="coco")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        choose_format(tmp_path / "nowhere")


def test_choose_format_with_wrong_requested_format_names_the_found_one(tmp_path: Path) -> None:
    write_legacy(tmp_path)
    message = rejection(tmp_path, wanted="vistas_v1.2")
    assert "is not Mapillary Vistas v1.2 (data.format=vistas_v1.2): looked for config_v1.2.json with " in message
    assert message.endswith("; it looks like seamseg of 2019, data.format=seamseg")
    assert "there is no format 'voc'; known formats are coco, " in rejection(tmp_path, wanted="voc")


@pytest.mark.parametrize("missing", ["config_v1.2.json", "training/v1.2", "training/images"])
def test_choose_format_rejects_an_incomplete_data_set(missing: str, tmp_path: Path) -> None:
    write_vistas(tmp_path, splits=["training"])
    path = tmp_path / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "is not a data set" in rejection(tmp_path)


def test_task_chooses_between_panoptic_and_detection_data_of_the_same_images(tmp_path: Path) -> None:
    write_tiny_panoptic(tmp_path)
    write_detection(tmp_path)
    assert choose_format(tmp_path) == "coco"
    formats = {task: choose_format(tmp_path, task=task) for task in NEEDED_CONTENT}
    assert formats == {
        "panoptic": "coco",
        "semantic": "coco",
        "instance": "coco_detection",
        "detection": "coco_detection",
    }
    assert choose_format(tmp_path, wanted="coco", task="detection") == "coco"
    assert choose_format(tmp_path, preferred="coco", task="detection") == "coco"


def test_data_without_what_a_task_needs_are_refused_in_one_sentence(tmp_path: Path) -> None:
    panoptic = write_tiny_panoptic(tmp_path / "panoptic").folder
    things = write_tiny_panoptic(tmp_path / "things", stuff=[]).folder
    stuff = write_tiny_panoptic(tmp_path / "stuff", things=[], num_objects=0).folder
    objects = write_detection(tmp_path / "objects")
    boxes = write_detection(tmp_path / "boxes", change=lambda content: content["annotations"][0].pop("segmentation"))
    maps = tmp_path / "maps"
    for folder in ("images", "annotations"):
        (maps / folder / "train").mkdir(parents=True)
        Image.new("L", (3, 2)).save(maps / folder / "train" / "a.png")
    assert "is not a data set" in rejection(maps), "the numbers of its classes can mean anything"
    (maps / "classes.txt").write_text("road")
    suffices = {
        panoptic: {"panoptic", "instance", "detection", "semantic"},
        things: {"panoptic", "instance", "detection", "semantic"},
        stuff: {"panoptic", "semantic"},
        objects: {"instance", "detection"},
        boxes: {"detection"},
        maps: {"semantic"},
    }
    for root, tasks in suffices.items():
        for task in NEEDED_CONTENT:
            if task in tasks:
                open_data_set(root, "train", task=task)
                continue
            with pytest.raises(DataError) as caught:
                open_data_set(root, "train", task=task)
            sentence = str(caught.value)
            assert str(root) in sentence
            assert f"task={task}" in sentence
            assert "\n" not in sentence
            assert any(f"task={other}" in sentence for other in tasks)


def rejection(root: Path, wanted: str | None = None, preferred: str | None = None) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        choose_format(root, wanted, preferred)
    assert "\n" not in str(caught.value)
    return str(caught.value)
