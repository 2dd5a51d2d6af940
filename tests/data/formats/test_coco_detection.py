"""COCO detection data, against pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from support.detection_folder import SIZE, Content, write_detection

from seamseg.data.dataset import EvaluationDataset, SampleKey, TrainDataset
from seamseg.data.formats.annotated_dataset import BOXES, INSTANCES
from seamseg.data.formats.coco_detection import CocoDetection
from seamseg.data.transforms import InputTransform, TrainTransform
from seamseg.ops.id_maps import layered_segment_boxes
from seamseg.structures import Batch

THINGS_OF_COCO = range(1, 91)


def official(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def compare_with_pycocotools(data: CocoDetection, things: set[int]) -> int:
    """Compare class, crowd flag, mask and box of every object; return the number of objects."""
    coco, number = official(data.annotation_file), 0
    for index in range(len(data)):
        annotation = data.read_annotation(index)
        boxes, _ = layered_segment_boxes(annotation.ids, len(annotation.classes))
        entries = [one for one in coco.imgToAnns[data.image_id(index)] if one["category_id"] in things]
        assert len(entries) == len(annotation.classes) - 1
        for segment, entry in enumerate(entries, start=1):
            mask = coco.annToMask(entry)
            assert ((annotation.ids == segment).any(dim=0).numpy() == mask).all()
            rows, columns = np.nonzero(mask)
            assert boxes[segment].tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            category = data.categories.classes[int(annotation.classes[segment])]
            assert category.original_id == entry["category_id"]
            assert bool(annotation.crowd[segment]) == bool(entry["iscrowd"])
            number += 1
    return number


def test_overlapping_objects_equal_those_of_pycocotools(tmp_path: Path) -> None:
    data = CocoDetection(write_detection(tmp_path), "val")
    assert compare_with_pycocotools(data, {10, 20}) == 5
    assert [len(data.read_annotation(index).ids) for index in range(3)] == [3, 1, 1]
    assert (data.categories.num_stuff, data.categories.names) == (0, ("car", "person"))
    assert (len(data), data.sizes, data.content) == (3, [SIZE] * 3, INSTANCES)
    assert [data.image_id(index) for index in range(3)] == [1, 2, 3]
    assert all(data.read_image(index).shape == (*SIZE, 3) for index in range(3))


def test_official_sample_has_the_objects_of_pycocotools(shared: Path, tmp_path: Path) -> None:
    """The sample lists stuff as objects, too."""
    source = shared / "data" / "panopticapi_sample" / "sample_data"
    (tmp_path / "annotations").mkdir()
    content = json.loads((source / "panoptic_coco_detection_format.json").read_text())
    for one in content["categories"]:
        one["isthing"] = int(one["id"] in THINGS_OF_COCO)
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    shutil.copytree(source / "input_images", tmp_path / "val")
    data = CocoDetection(tmp_path, "val")
    assert compare_with_pycocotools(data, set(THINGS_OF_COCO)) > 10
    assert data.categories.num_things == 80


def test_samples_state_that_void_is_background(tmp_path: Path) -> None:
    data = CocoDetection(write_detection(tmp_path), "train")
    dataset = EvaluationDataset(data, InputTransform(24, 64, (0.0,) * 3, (1.0,) * 3))
    batch = Batch.collate([dataset[SampleKey(0, index)] for index in range(3)])
    for moved in (batch, batch.to("cpu"), batch.finalize(lambda image: image.float()), batch.to("meta")):
        assert moved.ground_truth.void_is_background
        assert [len(moved.ground_truth.annotation(index).stated) for index in range(3)] == [5, 1, 2]
    truth = batch.ground_truth
    assert [len(truth.objects(index, 0).boxes) for index in range(3)] == [3, 0, 1]
    crowd = truth.crowd_pixels(0, 0)
    assert crowd[20, 5]
    assert not crowd[13, 5], "the first object covers the crowd there"


def test_stated_boxes_and_areas_are_kept_for_evaluation_only(tmp_path: Path) -> None:
    def change(content: Content) -> None:
        content["annotations"][0].update(bbox=[4.25, 3.5, 19.5, 12], area=240.5)
        content["annotations"][1].update(bbox=[16.5, 5, 10**400, 15], area=True)
        content["annotations"][2].update(bbox="all", area=float("nan"))
        content["annotations"][3].pop("bbox")

    data = CocoDetection(write_detection(tmp_path, change=change), "train")
    none = math.nan
    expected = [
        [none] * 5,
        [3.5, 4.25, 15.5, 23.75, 240.5],
        [5, 16.5, 20, none, 1],
        [none] * 5,
        [none] * 5,
    ]
    stated = EvaluationDataset(data, InputTransform(24, 64, (0.0,) * 3, (1.0,) * 3))[SampleKey(0, 0)].stated
    assert np.array_equal(stated, expected, equal_nan=True)
    assert TrainDataset(data, TrainTransform(24, 64, None, False), 0)[SampleKey(0, 0)].stated is None


def test_json_files_in_the_folders_of_the_splits_are_found(tmp_path: Path) -> None:
    root = write_detection(tmp_path / "a")
    for split in ("train", "val"):
        shutil.copytree(root / "images" / split, tmp_path / "b" / split)
        shutil.copy(root / "annotations" / f"instances_{split}.json", tmp_path / "b" / split / "_annotations.coco.json")
    one, other = CocoDetection(root, "tr"), CocoDetection(tmp_path / "b", "train")
    assert (one.read_annotation(0).ids == other.read_annotation(0).ids).all()
    assert (one.read_image(2) == other.read_image(2)).all()


def test_objects_without_outline_have_their_box(tmp_path: Path) -> None:
    def without_outlines(content: Content) -> None:
        content["annotations"][0].pop("segmentation")
        content["annotations"][1].update(segmentation=[])
        content["annotations"][4].update(segmentation=None, bbox=[-1, 2, 10, 40])

    data = CocoDetection(write_detection(tmp_path, change=without_outlines), "train")
    assert data.content == BOXES
    ids = data.read_annotation(0).ids
    assert [tuple(np.argwhere((ids == 1).any(dim=0).numpy()).min(axis=0)), int((ids == 1).sum())] == [(3, 4), 12 * 20]
    assert int((data.read_annotation(2).ids == 1).sum()) == (24 - 2) * 9


def test_skipped_images_are_those_without_objects(tmp_path: Path) -> None:
    root = write_detection(tmp_path)
    data = CocoDetection(root, "train").without_empty_images()
    assert [data.image_id(index) for index in range(len(data))] == [1, 3]
    write_detection(tmp_path, change=lambda content: content.update(annotations=[]))
    with pytest.raises(ValueError, match=r"instances_train\.json lists no object in any image; .*empty_images=keep"):
        CocoDetection(root, "train").without_empty_images()


def test_objects_without_a_pixel_are_left_out(tmp_path: Path) -> None:
    outside = [[40.0, 30, 44, 30, 44, 34]]
    root = write_detection(tmp_path, change=lambda content: content["annotations"][0].update(segmentation=outside))
    assert len(CocoDetection(root, "train").read_annotation(0).classes) == 1 + 3


def first(**change: Any) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0].update(change)


WHEN_OPENED: list[tuple[Callable[[Content], object], str]] = [
    (first(category_id=5), "annotation 50 of image 1: its category_id 5 is not among the categories"),
    (first(category_id="20"), "annotation 0: 'category_id' is '20', expected int"),
    (first(image_id=9), "annotations refer to image 9, which is not among the images"),
    (first(image_id=[9]), "annotation 0: 'image_id' is \\[9\\]"),
    (lambda content: content["annotations"].insert(0, 7), "annotation 0: expected a JSON object, found 7"),
    (lambda content: content["images"][0].update(id=2), "image 2: two images have this id"),
    (lambda content: content["images"][0].update(file_name="2.png"), "image 2: another image has the same file_name"),
    (lambda content: content["images"][0].update(file_name="../2.png"), "file names must be relative"),
    (lambda content: content["images"][0].update(height=0), "a size of 0×36"),
    (lambda content: content["categories"].clear(), "has no thing category"),
    (lambda content: content["categories"][0].update(isthing="0"), "'isthing' is '0'"),
    (lambda content: content["categories"].append(3), "category 2: expected a JSON object"),
    (lambda content: content["images"].clear() or content["annotations"].clear(), "contains no images"),
    (lambda content: content.pop("annotations"), "the key 'annotations' is missing"),
    (lambda content: [one.update(file_name=f"x{one['id']}.png") for one in content["images"]], "none of the 3 images"),
]


@pytest.mark.parametrize(("change", "fact"), WHEN_OPENED)
def test_wrong_file_is_refused_when_opened(tmp_path: Path, change: Callable[[Content], object], fact: str) -> None:
    root = write_detection(tmp_path, change=change)
    with pytest.raises(ValueError, match=fact) as caught:
        CocoDetection(root, "train")
    assert "instances_train.json" in str(caught.value)
    assert "\n" not in str(caught.value)


WHEN_READ: list[tuple[Callable[[Content], object], str]] = [
    (first(segmentation=[[1e9, 0, 4, 0, 4, 2]]), "far outside 24×36"),
    (first(segmentation=[[1, 1, 4, 4]]), "three corners"),
    (first(segmentation={"size": [36, 24], "counts": [864]}), "its size is 36×24"),
    (first(segmentation={"size": [24, 36], "counts": "5"}), "do not cover exactly"),
    (first(segmentation=[], bbox=[1, 2, -3, 4]), "no usable outline"),
    (first(segmentation=None, bbox="all"), "no usable outline"),
    (first(iscrowd="no"), "'iscrowd' is 'no'"),
]


@pytest.mark.parametrize(("change", "fact"), WHEN_READ)
def test_wrong_object_is_refused_when_read(tmp_path: Path, change: Callable[[Content], object], fact: str) -> None:
    data = CocoDetection(write_detection(tmp_path, change=change), "train")
    with pytest.raises(ValueError, match=fact) as caught:
        data.read_annotation(0)
    assert "instances_train.json: annotation 50 of image 1" in str(caught.value)
    assert len(data.read_annotation(2).classes) == 2, "other images can be read"
