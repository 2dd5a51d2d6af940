"""Files of one image in each submission format, decoded and compared with the predictions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.predicted_folder import edit_predictions, write_predictions

from seamseg.data.labels.cityscapes import CITYSCAPES as CLASSES
from seamseg.data.png import read_panoptic_png, write_panoptic_png
from seamseg.submit.benchmark import CITYSCAPES
from seamseg.submit.formats import FormatName, Packed, Packer
from seamseg.submit.predictions import category_ids, open_predictions
from seamseg.submit.selection import SubmittedImage, select_images

SIZE = (24, 40)
SMALL = dataclasses.replace(CITYSCAPES, size=SIZE)
FRAME = "ulm_000001_000019"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_predictions(tmp_path / "out", CLASSES, [f"{FRAME}_leftImg8bit.png"], SIZE)


def opened(folder: Path, form: FormatName) -> tuple[SubmittedImage, Packer]:
    predictions = open_predictions(folder)
    (image,) = select_images(predictions, SMALL)
    return image, Packer(
        form, "there", category_ids(predictions.categories, predictions.json_file, SMALL), CLASSES.num_stuff
    )


def packed(folder: Path, form: FormatName) -> Packed:
    image, packer = opened(folder, form)
    return packer(image)


def truth(folder: Path) -> tuple[NDArray[np.int32], dict[int, dict[str, float]]]:
    """Read the id map, and the JSON entry of each segment by its id."""
    (entry,) = json.loads((folder / "panoptic.json").read_text())["annotations"]
    return read_panoptic_png(folder / "panoptic" / entry["file_name"]), {s["id"]: s for s in entry["segments_info"]}


def decoded(content: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels.astype(np.uint8, copy=False)


def test_panoptic_format_copies_png_and_lists_its_segments(folder: Path) -> None:
    ids, segments = truth(folder)
    found = packed(folder, "panoptic")
    ((name, content),) = found.members
    assert name == f"there/{FRAME}.png"
    assert content == (folder / "panoptic" / f"{FRAME}_leftImg8bit.png").read_bytes()
    annotation = json.loads(found.annotation)
    assert (annotation["image_id"], annotation["file_name"]) == (FRAME, f"{FRAME}.png")
    labels = {one["id"]: one["category_id"] for one in annotation["segments_info"]}
    assert labels == {segment: one["category_id"] for segment, one in segments.items()}
    assert set(labels) == set(np.unique(ids[ids > 0]).tolist())
    assert found.num_segments == len(labels) >= 5


def test_instances_format_writes_one_mask_per_object(folder: Path) -> None:
    ids, segments = truth(folder)
    things = {key: one for key, one in segments.items() if one["category_id"] >= 24}
    found = packed(folder, "instances")
    files = {member.name: member.content for member in found.members}
    lines = files.pop(f"{FRAME}.txt").decode().splitlines()
    assert len(lines) == len(files) == len(things) == found.num_segments >= 3
    again = np.zeros_like(ids)
    for line in lines:
        name, label, score = line.split(" ")
        mask = decoded(files[name])
        assert mask.dtype == np.uint8
        assert set(np.unique(mask).tolist()) == {0, 255}
        (segment,) = np.unique(ids[mask > 0]).tolist()
        assert (int(label), float(score)) == (things[segment]["category_id"], things[segment]["score"])
        again[mask > 0] = segment
    assert (again == np.where(np.isin(ids, list(things)), ids, 0)).all()


def test_semantic_format_writes_label_ids(folder: Path) -> None:
    ids, segments = truth(folder)
    found = packed(folder, "semantic")
    ((name, content),) = found.members
    assert name == f"{FRAME}_labelIds.png"
    label_of = {segment: one["category_id"] for segment, one in segments.items()} | {0: 0}
    assert (decoded(content) == np.vectorize(label_of.get)(ids)).all()


def test_segments_without_pixels_are_left_out(folder: Path) -> None:
    with edit_predictions(folder) as content:
        content["annotations"][0]["segments_info"].insert(0, {"id": 77, "category_id": 26, "score": 0.5})
    assert "77" not in packed(folder, "panoptic").annotation
    # The segment without pixels and two stuff segments are left out, and the list is added.
    assert len(packed(folder, "instances").members) == len(truth(folder)[1]) - 1 - 2 + 1


def test_image_without_segments_gives_empty_files(folder: Path) -> None:
    with edit_predictions(folder) as content:
        content["annotations"][0]["segments_info"] = []
    write_panoptic_png(folder / "panoptic" / f"{FRAME}_leftImg8bit.png", np.zeros(SIZE, np.int64))
    assert packed(folder, "instances").members == ((f"{FRAME}.txt", b""),)
    assert json.loads(packed(folder, "panoptic").annotation)["segments_info"] == []
    assert not decoded(packed(folder, "semantic").members[0].content).any()


def test_instances_format_without_scores_raises(folder: Path) -> None:
    with edit_predictions(folder) as content:
        for segment in content["annotations"][0]["segments_info"]:
            segment.pop("score")
    with pytest.raises(ValueError, match=r"segment \d of .*\.png has no score"):
        packed(folder, "instances")
    assert packed(folder, "panoptic").num_segments > 0


@pytest.mark.parametrize("form", ["panoptic", "instances", "semantic"])
def test_packer_given_inconsistent_or_broken_png_raises(folder: Path, form: FormatName) -> None:
    png = folder / "panoptic" / f"{FRAME}_leftImg8bit.png"
    ids = truth(folder)[0]
    write_panoptic_png(png, np.where(ids == 0, 123456, ids))
    with pytest.raises(ValueError, match=r"leftImg8bit\.png .*segment id 123456\b"):
        packed(folder, form)
    write_panoptic_png(png, ids[:-1])
    with pytest.raises(ValueError, match=r"leftImg8bit\.png is 23×40 .*24×40"):
        packed(folder, form)
    png.write_bytes(png.read_bytes()[:99])
    with pytest.raises(ValueError, match=r"leftImg8bit\.png cannot be decoded"):
        packed(folder, form)
