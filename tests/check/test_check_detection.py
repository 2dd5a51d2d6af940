"""Checks of COCO detection data and of class maps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.detection_folder import SIZE, Content, write_detection

from seamseg.check.check import check_data_set
from seamseg.check.repair import write_repaired
from seamseg.check.report import CheckReport, draw_sheet
from seamseg.data.formats.coco_detection import CocoDetection


def checked(folder: Path) -> CheckReport:
    return check_data_set(folder, num_workers=1)


def test_check_of_valid_detection_data_counts_its_objects(tmp_path: Path) -> None:
    report = checked(write_detection(tmp_path))
    assert dict(report.findings.counts) == {"image-without-things": 2}
    assert report.format_title == "COCO detection"
    rows = {row["name"]: (row["segments"], row["crowd"], row["images"]) for row in report.statistics.class_rows()}
    assert rows == {"car": (4, 0, 2), "person": (6, 2, 4)}
    (train, _) = (split.to_dict() for split in report.statistics.splits)
    assert (train["images"], train["annotated"], train["segments"], train["objects"]) == (3, 2, 5, 4)
    data = CocoDetection(tmp_path, "train")
    labeled = sum(int((data.read_annotation(index).ids > 0).any(dim=0).sum()) for index in range(3))
    assert train["labeled"] == labeled / (3 * SIZE[0] * SIZE[1])
    assert draw_sheet(report, width=400).shape[1] == 400
    with pytest.raises(ValueError, match=r"COCO detection.* only areas and boxes of COCO panoptic"):
        write_repaired(report, tmp_path / "out")


def first(**change: Any) -> Callable[[Path], object]:
    """Return a function that changes the first annotation of the training split."""

    def change_content(content: Content) -> None:
        content["annotations"][0].update(change)

    return changed(change_content)


def changed(change: Callable[[Content], object]) -> Callable[[Path], object]:
    def damage(root: Path) -> None:
        path = root / "annotations" / "instances_train.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def without(key: str) -> Callable[[Path], object]:
    return changed(lambda content: content["annotations"][0].pop(key))


FAR = [[4, 3, 24, 3, 24, 35]]
FAULTS: list[tuple[Callable[[Path], object], str, str]] = [
    (lambda root: (root / "images/train/1.png").unlink(), "missing-image", "1.png"),
    (lambda root: (root / "images/train/1.png").write_bytes(b"no image"), "broken-image", "1.png"),
    (lambda root: cv2.imwrite(str(root / "images/train/1.png"), np.zeros((24, 35, 3))), "image-size", "24×35"),
    (first(segmentation=[[1, 2, 3]]), "invalid-outline", "annotation 50 of image 1.*three corners"),
    (first(segmentation={"size": [24, 36], "counts": "5"}), "invalid-outline", "do not cover exactly"),
    (first(segmentation={"size": [36, 24], "counts": [864]}), "invalid-outline", "36×24.*24×36"),
    (first(segmentation=[[4, 3, 1e8, 3, 24, 15]]), "invalid-outline", "far outside"),
    (first(segmentation=FAR, bbox=[4, 3, 20, 21]), "outline-outside", "annotation 50.*by 11 pixels"),
    (first(segmentation=[[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]]), "outline-without-pixels", "annotation 50"),
    (without("segmentation"), "outline-missing", "annotation 50 of image 1"),
    (first(segmentation=[], bbox=[4, 3, 0, 12]), "invalid-box", r"annotation 50.*\[4, 3, 0, 12\]"),
    (first(bbox=[4, 3, 24, 15]), "box-differs", r"\[4, 3, 20, 12\], not \[4, 3, 24, 15\]"),
    (first(bbox="all"), "box-differs", "not 'all'"),
    (first(iscrowd="no"), "malformed-entry", "'iscrowd' is 'no'"),
    (first(category_id=7), "unknown-category", "there is no category 7"),
    (without("category_id"), "malformed-entry", "'category_id' is missing"),
    (changed(lambda content: content["annotations"].append(5)), "malformed-entry", "annotation 5.*JSON object"),
    (first(image_id=9), "annotation-without-image", "annotation 0: image 9"),
    (changed(lambda content: content["images"][0].update(height=0)), "malformed-entry", "0×36"),
    (changed(lambda content: content["images"].append(content["images"][0])), "duplicate-image", "id 1"),
    (changed(lambda content: content["categories"].append({"id": 3, "name": "cat"})), "different-categories", "'cat'"),
    (changed(lambda content: content.pop("images")), "unreadable-split", "'images' is missing"),
    (changed(lambda content: content["categories"].clear()), "unreadable-split", "no thing category"),
]


@pytest.mark.parametrize(("damage", "kind", "fact"), FAULTS)
def test_check_finds_each_fault_of_detection_data(
    tmp_path: Path, damage: Callable[[Path], object], kind: str, fact: str
) -> None:
    damage(write_detection(tmp_path))
    report = checked(tmp_path)
    described = {found.name: examples for found, _, examples in report.findings.by_kind()}
    consequences = {"image-without-things", "outline-missing" if kind == "invalid-box" else "unused-category"}
    assert set(described) - consequences == {kind}
    (example,) = described[kind]
    assert "train" in example
    assert re.search(fact, example), example


def test_one_fault_does_not_hide_another(tmp_path: Path) -> None:
    def damage(content: Content) -> None:
        content["annotations"][0].update(category_id=3)
        content["annotations"][1].update(segmentation=[])
        content["annotations"][2].update(segmentation={"size": [24, 36], "counts": "5"})
        content["annotations"][4].update(segmentation=[[1, 2, 3]])

    counts = dict(checked(write_detection(tmp_path, ["train"], damage)).findings.counts)
    assert counts == {"unknown-category": 1, "outline-missing": 1, "invalid-outline": 2, "image-without-things": 1}


def test_check_of_class_maps_names_values_without_class(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2), ("c", 0)):
        for folder in ("images", "classes"):
            (tmp_path / "train" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "train" / folder / f"{name}.png"), np.full((4, 6), value, np.uint8))
    (tmp_path / "classes.yaml").write_text("stuff: {road: 1}\n")
    report = checked(tmp_path)
    described = {kind.name: examples for kind, _, examples in report.findings.by_kind()}
    assert set(described) == {"unreadable-annotation", "empty-image"}
    (example,) = described["unreadable-annotation"]
    assert "b.png: the values 2 (24 pixels) do not belong to any class; assign them to classes in" in example
    assert [split.segments for split in report.statistics.splits] == [1]
    with pytest.raises(ValueError, match=r"class maps .*only areas and boxes of COCO panoptic"):
        write_repaired(report, tmp_path / "out")
