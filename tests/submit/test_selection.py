"""Selection of the predictions for a submission."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support.predicted_folder import edit_predictions, write_predictions

from seamseg.data.labels.cityscapes import CITYSCAPES as CLASSES
from seamseg.submit.benchmark import CITYSCAPES, COCO
from seamseg.submit.predictions import open_predictions
from seamseg.submit.selection import expected_images, select_images

SIZE = (24, 40)
SMALL = dataclasses.replace(CITYSCAPES, size=SIZE)
FRAMES = [f"ulm/ulm_{i:06}_000019_leftImg8bit.png" for i in (2, 1, 0)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_predictions(tmp_path / "out", CLASSES, FRAMES, SIZE)


def test_select_images_sorts_by_image_id(folder: Path) -> None:
    images = select_images(open_predictions(folder), SMALL)
    assert [image.image_id for image in images] == [f"ulm_{i:06}_000019" for i in range(3)]
    assert [image.stem for image in images] == [image.image_id for image in images]
    assert images[0].segments.png == folder / "panoptic" / "ulm" / "ulm_000000_000019_leftImg8bit.png"


def test_select_images_sorts_numeric_ids_by_value(tmp_path: Path) -> None:
    names = ["10.jpg", "000000000009.jpg"]
    images = select_images(open_predictions(write_predictions(tmp_path, CLASSES, names, SIZE)), COCO)
    assert [(image.image_id, image.stem) for image in images] == [(9, "000000000009"), (10, "10")]


@pytest.mark.parametrize("kind", ["json", "folder", "list"])
def test_expected_images_from_json_folder_or_list_limit_the_selection(tmp_path: Path, folder: Path, kind: str) -> None:
    path, names = tmp_path / "expected", FRAMES[:2]
    if kind == "folder":
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(b"")
    elif kind == "list":
        path = path.with_suffix(".txt")
        path.write_text("\n".join(names))
    else:
        path = path.with_suffix(".json")
        images = [{"id": i, "file_name": name, "height": 24, "width": 40} for i, name in enumerate(names)]
        path.write_text(json.dumps({"images": images}))
    expected = expected_images(path, SMALL)
    assert set(expected) == {"ulm_000001_000019", "ulm_000002_000019"}
    assert set(expected.values()) == {SIZE if kind == "json" else None}
    assert len(select_images(open_predictions(folder), SMALL, expected)) == 2
    with pytest.raises(ValueError, match=r"no prediction for 2 of the 4 .*bonn_000000_000000"):
        select_images(
            open_predictions(folder), SMALL, {**expected, "ulm_000009_000009": None, "bonn_000000_000000": None}
        )


def test_select_images_given_wrong_size_raises(folder: Path) -> None:
    predictions = open_predictions(folder)
    with pytest.raises(ValueError, match=r"leftImg8bit\.png is 24×40 .*Cityscapes .*1024×2048"):
        select_images(predictions, CITYSCAPES)
    with pytest.raises(ValueError, match=r"ulm_000001.* is 24×40 .*list of images .*24×41"):
        select_images(predictions, SMALL, {"ulm_000001_000019": (24, 41)})


def test_select_images_given_duplicate_image_id_raises(tmp_path: Path) -> None:
    names = [FRAMES[0], "copy/ulm_000002_000019_gtFine_color.png"]
    predictions = open_predictions(write_predictions(tmp_path, CLASSES, names, SIZE))
    with pytest.raises(ValueError, match=r"color\.png .*ulm_000002_000019.* Cityscapes"):
        select_images(predictions, SMALL)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.json", {"annotations": []}, "the key 'images' is missing"),
        ("a.json", {"images": []}, "lists no images"),
        (
            "a.json",
            {"images": [{"id": 1, "file_name": "x.png", "height": 1, "width": 1}]},
            "x.png, but Cityscapes images",
        ),
        ("a.txt", "", r"a\.txt"),
        ("none", None, "does not exist"),
    ],
)
def test_expected_images_given_invalid_list_raises(tmp_path: Path, file: str, content: Any, message: str) -> None:
    if content is not None:
        (tmp_path / file).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        expected_images(tmp_path / file, SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "the key 'images' is missing"),
        (lambda c: c.pop("categories"), "the key 'categories' is missing"),
        (lambda c: c["images"].pop(), "its image 3 is not among the images"),
        (lambda c: c["annotations"].clear(), "contains no annotations"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(category_id=99), "category_id 99 is not among"),
    ],
)
def test_open_predictions_given_invalid_json_raises(folder: Path, change: Any, message: str) -> None:
    with edit_predictions(folder) as content:
        change(content)
    with pytest.raises(ValueError, match=message):
        open_predictions(folder)


def test_open_predictions_given_empty_folder_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"panoptic\.json does not exist.*`seamseg predict`"):
        open_predictions(tmp_path)


def test_expected_images_skip_hidden_files_with_a_remark(tmp_path: Path) -> None:
    for name in (FRAMES[0], "ulm/._ulm_000001_000019_leftImg8bit.png", ".ipynb_checkpoints/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    remarks: list[str] = []
    assert set(expected_images(tmp_path, SMALL, remarks.append)) == {"ulm_000002_000019"}
    assert "2 hidden" in remarks[0]
