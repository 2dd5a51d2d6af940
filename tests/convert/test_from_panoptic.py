"""Conversion of a panoptic data set to class maps."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from support.tiny_dataset import write_tiny_panoptic

from seamseg.convert.from_panoptic import to_semantic_job
from seamseg.convert.job import run_job
from seamseg.data.formats.coco import CocoPanoptic


def test_to_semantic_job_writes_class_numbers_as_pixels(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path / "data", images_with_void=[1], images_with_crowd=[0])
    job = to_semantic_job(CocoPanoptic(tmp_path / "data", "train"), "train", tmp_path / "out")
    run_job(job)
    content = json.loads(job.result.read_text())
    assert [(one["id"], one["name"], one["isthing"], one["original_id"]) for one in content["categories"]] == [
        (0, "sky", 0, 30),
        (1, "road", 0, 40),
        (2, "car", 1, 10),
        (3, "person", 1, 20),
    ]
    number_of_id = {one["original_id"]: one["id"] for one in content["categories"]}
    assert [image["id"] for image in content["images"]] == [100, 101, 102, 103]
    for ids, segments, image in zip(tiny.ids, tiny.segments, content["images"], strict=True):
        expected = np.full(ids.shape, 255)
        for segment in segments:
            expected[ids == segment["id"]] = number_of_id[segment["category_id"]]
        found = cv2.imread(str(job.result.with_suffix("") / image["labels"]), cv2.IMREAD_UNCHANGED)
        assert found.dtype == np.uint8
        assert (found == expected).all()
        assert (image["height"], image["width"]) == ids.shape


def test_to_semantic_job_given_names_differing_in_suffix_keeps_maps_apart(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path / "data")
    content = json.loads(tiny.json_file.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    (tiny.image_folder / names[101]).rename(tiny.image_folder / "000.bmp")
    for image in content["images"]:
        image["file_name"] = "000.bmp" if image["id"] == 101 else image["file_name"]
    tiny.json_file.write_text(json.dumps(content))
    source = CocoPanoptic(tmp_path / "data", "train")
    job = to_semantic_job(source, "train", tmp_path / "out")
    run_job(job)
    images = json.loads(job.result.read_text())["images"]
    assert [image["labels"] for image in images][:2] == ["000.png", "000_2.png"]
    for index, image in enumerate(images):
        annotation = source.read_annotation(index)
        found = cv2.imread(str(job.result.with_suffix("") / image["labels"]), cv2.IMREAD_UNCHANGED)
        assert (found == annotation.classes[annotation.ids]).all()
