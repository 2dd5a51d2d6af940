"""Counts of pixels and objects, against loops over segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.detection_folder import write_detection
from support.tiny_dataset import TinyDataset, write_tiny_panoptic

from seamseg.data import class_counts
from seamseg.data.class_counts import count_classes
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.formats.coco_detection import CocoDetection
from seamseg.errors import BrokenImageError

NAMES = ("sky", "road", "car", "person")


@pytest.fixture
def tiny(tmp_path: Path) -> TinyDataset:
    return write_tiny_panoptic(
        tmp_path, num_images=5, images_without_objects=[1], images_with_crowd=[2], images_with_void=[0]
    )


def expected(tiny: TinyDataset, num_images: int = 5) -> tuple[list[int], list[int]]:
    """Return the pixels of each class, and the objects of each thing class."""
    class_of_id = {30: 0, 40: 1, 10: 2, 20: 3}  # things come last
    pixels, objects = [0] * 4, [0] * 2
    for ids, segments in list(zip(tiny.ids, tiny.segments, strict=True))[:num_images]:
        for segment in segments:
            class_index = class_of_id[segment["category_id"]]
            pixels[class_index] += int((ids == segment["id"]).sum())
            if class_index >= 2 and not segment["iscrowd"]:
                objects[class_index - 2] += 1
    return pixels, objects


def drop_area(content: dict[str, Any]) -> None:
    del content["annotations"][3]["segments_info"][0]["area"]


def spoil_area(content: dict[str, Any]) -> None:
    content["annotations"][0]["segments_info"][1]["area"] = float("nan")


@pytest.mark.parametrize("change", [None, drop_area, spoil_area])
def test_counts_of_stated_areas_and_of_read_annotations_equal_loops_over_segments(
    tiny: TinyDataset, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    if change is not None:
        tiny.edit_json(change)
    source, told, read = CocoPanoptic(tiny.folder, tiny.split), [], []
    monkeypatch.setattr(
        class_counts, "_segments_of_image", lambda *given: read.append(given) or segments_of_image(*given)
    )
    counts = count_classes(source, lambda done, remark: told.append(done))
    assert (counts.pixels.tolist(), counts.objects.tolist()) == expected(tiny)
    assert told == [1, 2, 3, 4, 5]
    assert len(read) == (0 if change is None else 5)


segments_of_image = class_counts._segments_of_image


def test_counts_of_the_first_images_leave_out_the_others(tiny: TinyDataset) -> None:
    counts = count_classes(CocoPanoptic(tiny.folder, tiny.split, limit=2))
    assert (counts.pixels.tolist(), counts.objects.tolist()) == expected(tiny, 2)


def test_counts_of_detection_data_count_every_object_without_crowd(tmp_path: Path) -> None:
    source = CocoDetection(write_detection(tmp_path, ["train"]), "train")
    counts = count_classes(source)
    by_class = dict(zip(source.categories.names, counts.objects.tolist(), strict=True))
    assert by_class == {"car": 2, "person": 2}
    areas = np.zeros(2)
    for index in range(3):
        annotation = source.read_annotation(index)
        for segment in range(1, len(annotation.classes)):
            areas[annotation.classes[segment]] += int((annotation.ids == segment).sum())
    assert counts.pixels.tolist() == areas.tolist()


def test_counts_with_a_broken_annotation_name_the_file(tiny: TinyDataset) -> None:
    tiny.edit_json(drop_area)
    (tiny.png_folder / "002.png").write_bytes(b"no image")
    with pytest.raises(BrokenImageError, match=r"002\.png"):
        count_classes(CocoPanoptic(tiny.folder, tiny.split))
