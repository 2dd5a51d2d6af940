"""Submissions of objects and class maps, read back from the archives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from support.predicted_folder import unpacked

from seamseg.cli import main
from seamseg.data.labels.cityscapes import CITYSCAPES

SIZE = (1024, 2048)
FRAMES = ("lindau_000000_000019", "munster_000001_000019")
CAR, PERSON = (next(one for one in CITYSCAPES.classes if one.name == name) for name in ("car", "person"))


def square(top: int, left: int) -> dict[str, Any]:
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[top : top + 100, left : left + 100] = 1
    found = coco_mask.encode(mask)
    return {"size": list(SIZE), "counts": found["counts"].decode()}


def write_results(folder: Path, names: tuple[str, ...] = FRAMES, with_masks: bool = True) -> Path:
    """Write what an instance model writes: three objects in the first image, two of which overlap, and a list."""
    places = [(CAR, 10, 10, 0.9), (PERSON, 60, 60, 0.8), (CAR, 500, 900, 0.25)]
    results = [
        {"image_id": 1, "file_name": f"val/{names[0]}_leftImg8bit.png", "category_id": one.original_id + 50,
         "bbox": [left, top, 100, 100], "score": score} | ({"segmentation": square(top, left)} if with_masks else {})
        for one, top, left, score in places
    ]  # fmt: skip
    folder.mkdir()
    (folder / "instances.json").write_text(json.dumps(results))
    # The ids of the model differ from those of the server, which are found by name.
    categories = [one | {"id": one["id"] + 50} for one in CITYSCAPES.to_list() if one["name"] in ("car", "person")]
    (folder / "categories.json").write_text(json.dumps(categories))
    images = [
        {"id": number, "file_name": f"{name}_leftImg8bit.png", "height": 1024, "width": 2048}
        for number, name in enumerate(names)
    ]
    (folder.parent / "list.json").write_text(json.dumps({"images": images}))
    return folder


def submit(track: str, folder: Path, out: Path, *options: object) -> int:
    words = ["submit", track, str(folder), str(out), "--workers", "1", *map(str, options)]
    return main(words)


def test_objects_become_masks_and_a_text_file_for_each_frame(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "out")
    archive = tmp_path / "results.zip"
    assert submit("cityscapes-instances", folder, archive, "--images", tmp_path / "list.json") == 0
    files = unpacked(archive, tmp_path / "unpacked")
    assert (files / f"{FRAMES[1]}.txt").read_text() == ""
    lines = [line.split() for line in (files / f"{FRAMES[0]}.txt").read_text().splitlines()]
    assert [(int(label), float(score)) for _, label, score in lines] == [(26, 0.9), (24, 0.8), (26, 0.25)]
    masks = [cv2.imread(str(files / name), cv2.IMREAD_UNCHANGED) for name, _, _ in lines]
    assert [np.count_nonzero(mask) for mask in masks] == [100 * 100] * 3
    assert masks[0].shape == SIZE
    assert np.count_nonzero(masks[0] & masks[1]) == 50 * 50  # they overlap


@pytest.mark.parametrize("with_masks", [True, False])
def test_coco_objects_are_one_json_file_with_the_ids_of_the_server(tmp_path: Path, with_masks: bool) -> None:
    folder = write_results(tmp_path / "out", ("000000000139", "000000000285"), with_masks)
    results = json.loads((folder / "instances.json").read_text())
    content = [one | {"file_name": "000000000139.jpg"} for one in results]
    (folder / "instances.json").write_text(json.dumps(content))
    archive = tmp_path / "detections_val2017_ours_results.zip"
    assert submit("coco-objects", folder, archive) == 0
    (file,) = unpacked(archive, tmp_path / "unpacked").iterdir()
    assert file.name == "detections_val2017_ours_results.json"
    found = json.loads(file.read_text())
    assert [(one["image_id"], one["category_id"], one["score"]) for one in found] == [
        (139, 3, 0.9), (139, 1, 0.8), (139, 3, 0.25),
    ]  # fmt: skip
    assert all(("segmentation" in one) == with_masks and "file_name" not in one for one in found)


def test_class_maps_of_a_semantic_model_get_label_ids(tmp_path: Path) -> None:
    classes = np.full(SIZE, 255, np.uint8)
    classes[:100], classes[100:200] = 0, CITYSCAPES.names.index("car")
    folder = tmp_path / "out"
    for name in FRAMES:
        path = folder / "semantic" / "val" / f"{name}_leftImg8bit.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), classes)
    (folder / "categories.json").write_text(json.dumps(CITYSCAPES.as_stuff().to_list()))
    assert submit("cityscapes-semantic", folder, tmp_path / "semantic.zip") == 0
    files = unpacked(tmp_path / "semantic.zip", tmp_path / "unpacked")
    assert sorted(path.name for path in files.iterdir()) == [f"{name}_labelIds.png" for name in FRAMES]
    labels = cv2.imread(str(files / f"{FRAMES[0]}_labelIds.png"), cv2.IMREAD_UNCHANGED)
    first = CITYSCAPES.classes[0].original_id
    assert [int(labels[row, 0]) for row in (50, 150, 500)] == [first, 26, 0]


@pytest.mark.parametrize(
    ("track", "name", "prepare", "fact"),
    [
        ("cityscapes-instances", "a.zip", lambda folder: None, "--images"),
        ("coco-objects", "a.zip", lambda folder: None, "detections_SET_NAME"),
        ("coco-objects", "detections_val2017_a_results.zip", lambda folder: None, "lindau"),
        ("cityscapes-panoptic", "a.zip", lambda folder: None, "panoptic.json"),
        ("cityscapes-semantic", "a.zip", lambda folder: None, "panoptic.json"),
        (
            "coco-objects",
            "detections_val2017_a_results.zip",
            lambda folder: (folder / "instances.json").unlink(),
            "--write instances",
        ),
    ],
)
def test_results_that_do_not_fit_the_benchmark_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    track: str,
    name: str,
    prepare: Callable[[Path], object],
    fact: str,
) -> None:
    folder = write_results(tmp_path / "out")
    prepare(folder)
    assert submit(track, folder, tmp_path / name) == 2
    assert fact in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_objects_without_masks_are_refused_where_masks_are_required(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_results(tmp_path / "out", with_masks=False)
    out = tmp_path / "a.zip"
    assert submit("cityscapes-instances", folder, out, "--images", tmp_path / "list.json") == 2
    assert "no mask" in capsys.readouterr().err
