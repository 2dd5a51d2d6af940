"""Reading COCO panoptic data sets: a synthetic one, and real images."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.tiny_dataset import TinyDataset, write_tiny_panoptic

from seamseg.data.formats.coco import CocoPanoptic, DataWarning
from seamseg.data.png import write_panoptic_png
from seamseg.errors import BrokenImageError
from seamseg.ops.id_maps import segment_boxes


@pytest.fixture
def tiny(tmp_path: Path) -> TinyDataset:
    return write_tiny_panoptic(
        tmp_path / "tiny",
        num_images=5,
        images_without_objects=[1],
        images_with_crowd=[2],
        images_with_void=[3],
    )


def open_tiny(tiny: TinyDataset) -> CocoPanoptic:
    return CocoPanoptic(tiny.folder, tiny.split)


def test_coco_panoptic_reads_images_as_written(tiny: TinyDataset) -> None:
    source = open_tiny(tiny)
    assert len(source) == 5
    for index, pixels in enumerate(tiny.images):
        assert source.image_id(index) == 100 + index
        assert np.array_equal(source.read_image(index), pixels)
        assert source.sizes[index] == pixels.shape[:2]


def test_coco_panoptic_reads_segments_as_written(tiny: TinyDataset) -> None:
    source = open_tiny(tiny)
    class_of_json_id = source.categories.class_of_original_id
    for index, (ids, segments) in enumerate(zip(tiny.ids, tiny.segments, strict=True)):
        annotation = source.read_annotation(index)
        assert (annotation.ids.dtype, annotation.classes.dtype) == (torch.int32, torch.int64)
        assert len(annotation.classes) == len(annotation.crowd) == len(segments) + 1
        assert (annotation.classes[0], annotation.crowd[0]) == (255, False)
        assert np.array_equal(annotation.ids == 0, ids == 0)
        for segment in segments:
            (new_id,) = np.unique(annotation.ids.numpy()[ids == segment["id"]])
            assert np.array_equal(annotation.ids == new_id, ids == segment["id"])
            assert annotation.classes[new_id] == class_of_json_id[segment["category_id"]]
            assert annotation.crowd[new_id] == bool(segment["iscrowd"])


def test_tiny_data_set_has_the_requested_objects_crowd_and_void(tiny: TinyDataset) -> None:
    source = open_tiny(tiny)
    annotations = [source.read_annotation(index) for index in range(5)]
    has_objects = [(a.classes[1:] >= source.categories.num_stuff).any() for a in annotations]
    assert has_objects == [True, False, True, True, True]
    assert [a.crowd.any() for a in annotations] == [False, False, True, False, False]
    assert [(a.ids == 0).any() for a in annotations] == [False, False, False, True, False]


@pytest.mark.parametrize("place", ["train", "images", "images/train"])
def test_images_are_found_in_each_supported_folder(tiny: TinyDataset, place: str) -> None:
    moved = tiny.folder / "moved"
    tiny.image_folder.rename(moved)
    shutil.rmtree(tiny.folder / "images")
    (tiny.folder / place).parent.mkdir(exist_ok=True)
    moved.rename(tiny.folder / place)
    assert open_tiny(tiny).read_image(0).shape == (40, 56, 3)


def test_pngs_are_found_one_folder_deeper(tiny: TinyDataset) -> None:
    tiny.png_folder.rename(tiny.folder / "moved")
    tiny.png_folder.mkdir()
    (tiny.folder / "moved").rename(tiny.png_folder / tiny.png_folder.name)
    assert open_tiny(tiny).read_annotation(0).ids.shape == (40, 56)


def test_missing_folders_raise_errors_with_the_searched_places(tiny: TinyDataset) -> None:
    shutil.rmtree(tiny.image_folder)
    with pytest.raises(
        ValueError, match=r"none of the 5 images of .*panoptic_train.json .* looked in .*images/train, "
    ):
        open_tiny(tiny)
    shutil.rmtree(tiny.png_folder)
    with pytest.raises(
        ValueError, match=r"none of the 5 PNG files of .*panoptic_train.json \(such as 000.png\) was found"
    ):
        open_tiny(tiny)


def test_limit_selects_the_first_images(tiny: TinyDataset) -> None:
    assert CocoPanoptic(tiny.folder, "train", limit=2).image_id(1) == 101
    assert len(CocoPanoptic(tiny.folder, "train", limit=2)) == 2
    assert len(CocoPanoptic(tiny.folder, "train", limit=50)) == 5
    with pytest.raises(ValueError, match="limit on the number of images is 0"):
        CocoPanoptic(tiny.folder, "train", limit=0)


def test_read_annotation_drops_segments_without_pixels(tiny: TinyDataset) -> None:
    ghost = {"id": 5, "category_id": 10, "iscrowd": 1}
    tiny.edit_json(lambda content: content["annotations"][0]["segments_info"].insert(1, ghost))
    annotation = open_tiny(tiny).read_annotation(0)
    assert len(annotation.classes) == len(tiny.segments[0]) + 1
    assert not annotation.crowd.any()


def test_read_annotation_with_undescribed_segment_raises_error_naming_it(tiny: TinyDataset) -> None:
    removed = tiny.segments[1][0]["id"]
    tiny.edit_json(lambda content: content["annotations"][1]["segments_info"].pop(0))
    with pytest.raises(
        ValueError, match=f"001.png of image 101 contains segment id.* {removed} that .*train.json does not"
    ):
        open_tiny(tiny).read_annotation(1)
    write_panoptic_png(tiny.png_folder / "001.png", np.full((56, 40), 2**24 - 1))
    with pytest.raises(ValueError, match="16777215"):
        open_tiny(tiny).read_annotation(1)


def test_read_annotation_of_void_image_has_only_void(tiny: TinyDataset) -> None:
    write_panoptic_png(tiny.png_folder / "000.png", np.zeros((40, 56), np.int64))
    for empty_json in (False, True):
        if empty_json:
            tiny.edit_json(lambda content: content["annotations"][0].update(segments_info=[]))
        annotation = open_tiny(tiny).read_annotation(0)
        assert annotation.classes.tolist() == [255]
        assert not annotation.ids.any()


def test_differing_sizes_raise_error_naming_both_files_and_sizes(tiny: TinyDataset) -> None:
    write_panoptic_png(tiny.png_folder / "000.png", np.zeros((56, 40), np.int64))
    expected = r"panoptic_train/000.png is 56×40 \(height×width\), but its image .*images/train/000.png is 40×56"
    with pytest.raises(ValueError, match=expected):
        open_tiny(tiny).read_annotation(0)
    cv2.imwrite(str(tiny.image_folder / "001.png"), np.zeros((10, 20, 3), np.uint8))
    expected = r"001.png is 10×20 \(height×width\), but .*panoptic_train.json says 56×40"
    with pytest.raises(ValueError, match=expected):
        open_tiny(tiny).read_image(1)


def test_broken_and_missing_files_raise_errors_naming_them(tiny: TinyDataset) -> None:
    for file in (tiny.image_folder / "000.png", tiny.png_folder / "000.png"):
        file.write_bytes(file.read_bytes()[:-60])
    (tiny.image_folder / "001.png").unlink()
    source = open_tiny(tiny)
    with pytest.raises(BrokenImageError, match=r"images/train/000.png cannot be decoded"):
        source.read_image(0)
    with pytest.raises(BrokenImageError, match=r"panoptic_train/000.png cannot be decoded"):
        source.read_annotation(0)
    with pytest.raises(BrokenImageError, match=r"images/train/001.png cannot be opened: No such file"):
        source.read_image(1)


@pytest.mark.parametrize("split", ["train", "val"])
def test_areas_and_boxes_of_real_segments_equal_the_json_file(shared: Path, split: str) -> None:
    root = shared / "data/coco128_panoptic"
    content = json.loads((root / f"annotations/panoptic_{split}2017.json").read_text())
    segments_of = {annotation["image_id"]: annotation["segments_info"] for annotation in content["annotations"]}
    source = CocoPanoptic(root, split)
    category_of_class = [category.original_id for category in source.categories.classes]
    assert (len(source), len(source.categories), source.categories.num_things) == (100, 133, 80)
    for index in range(len(source)):
        annotation = source.read_annotation(index)
        boxes, areas = segment_boxes(annotation.ids.long(), len(annotation.classes))
        found = sorted(
            (category_of_class[annotation.classes[k]], bool(annotation.crowd[k]), int(areas[k]), boxes[k].tolist())
            for k in range(1, len(annotation.classes))
        )
        expected = sorted(
            (segment["category_id"], bool(segment["iscrowd"]), segment["area"], corners(segment["bbox"]))
            for segment in segments_of[source.image_id(index)]
        )
        assert found == expected


def corners(bbox: list[float]) -> list[float]:
    x, y, width, height = bbox
    return [y, x, y + height, x + width]


def test_real_images_and_their_segments_have_matching_names_and_sizes(shared: Path) -> None:
    source = CocoPanoptic(shared / "data/coco128_panoptic", "train")
    for index in range(0, len(source), 10):
        assert source.image_path(index).stem == f"{source.image_id(index):012}"
        assert source.records[index].segments.png_file == f"{source.image_id(index):012}.png"
        assert source.read_image(index).shape[:2] == source.read_annotation(index).ids.shape


def test_official_panopticapi_sample_is_read(shared: Path, tmp_path: Path) -> None:
    """The COCO panoptic tools ship two images as a sample, arranged here as a data set folder."""
    sample = shared / "data/panopticapi_sample/sample_data"
    (tmp_path / "annotations").mkdir()
    shutil.copy(sample / "panoptic_examples.json", tmp_path / "annotations")
    (tmp_path / "annotations/panoptic_examples").symlink_to(sample / "panoptic_examples")
    (tmp_path / "images").symlink_to(sample / "input_images")
    source = CocoPanoptic(tmp_path, "examples")
    content = json.loads((sample / "panoptic_examples.json").read_text())
    for index in range(len(source)):
        segments = next(a for a in content["annotations"] if a["image_id"] == source.image_id(index))["segments_info"]
        annotation = source.read_annotation(index)
        areas = annotation.ids.flatten().bincount(minlength=1)[1:]
        assert sorted(areas.tolist()) == sorted(segment["area"] for segment in segments)
        assert source.read_image(index).shape[:2] == annotation.ids.shape


def swap_sizes(data: TinyDataset, positions: Sequence[int]) -> None:
    def change(content: dict[str, Any]) -> None:
        for entry in content["images"]:
            if entry["id"] - 100 in positions:
                entry["height"], entry["width"] = entry["width"], entry["height"]

    data.edit_json(change)


@pytest.mark.parametrize("positions", [range(12), [0], [3, 7]])
def test_swapped_sizes_read_like_correct_ones_with_at_most_one_warning(
    tmp_path: Path, positions: Sequence[int]
) -> None:
    data = write_tiny_panoptic(tmp_path, num_images=12)
    right = CocoPanoptic(data.folder, "train")
    swap_sizes(data, positions)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = CocoPanoptic(data.folder, "train")
        for index in range(12):
            assert np.array_equal(found.read_image(index), right.read_image(index))
            assert np.array_equal(found.read_annotation(index).ids, right.read_annotation(index).ids)
    assert len(caught) == (0 in positions)  # the first of the twelve images is among the probed ones
    if caught:
        assert isinstance(caught[0].message, DataWarning)
        assert str(data.json_file) in str(caught[0].message)
        assert "width and height" in str(caught[0].message)
    if len(positions) == 12:
        assert found.sizes == right.sizes


def test_size_swapped_in_only_one_file_raises_error(tmp_path: Path) -> None:
    data = write_tiny_panoptic(tmp_path, num_images=1)
    swap_sizes(data, [0])
    image_path = data.image_folder / "000.png"
    assert cv2.imwrite(str(image_path), np.ascontiguousarray(cv2.imread(str(image_path)).transpose(1, 0, 2)))
    source = CocoPanoptic(data.folder, "train")
    assert source.read_image(0).shape == (56, 40, 3)
    with pytest.raises(ValueError, match="40×56"):
        source.read_annotation(0)


def test_file_names_with_backslashes_are_found_and_absolute_ones_rejected(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path)
    content = json.loads(tiny.json_file.read_text())
    for folder, entries in ((tiny.image_folder, content["images"]), (tiny.png_folder, content["annotations"])):
        (folder / "sub").mkdir()
        for entry in entries:
            (folder / entry["file_name"]).rename(folder / "sub" / entry["file_name"])
            entry["file_name"] = "sub\\" + entry["file_name"]
    tiny.json_file.write_text(json.dumps(content))
    data = CocoPanoptic(tmp_path, "train")
    assert data.read_image(0).shape[:2] == data.read_annotation(0).ids.shape
    content["images"][0]["file_name"] = "C:\\data\\000.png"
    tiny.json_file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"'file_name' is .* must be relative"):
        CocoPanoptic(tmp_path, "train")
