"""Conversion of detection annotations to panoptic and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as run_lengths

from seamseg.convert.detection import DetectionSource, detection_job, segments_of_objects
from seamseg.convert.from_panoptic import to_detection_job
from seamseg.convert.job import run_job
from seamseg.convert.panoptic_target import PanopticTarget
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.png import read_panoptic_png
from seamseg.structures.categories import VOID, Categories, Category

CATEGORIES = Categories(
    (
        Category("road", False, (128, 64, 128), 92),
        Category("sky", False, (70, 130, 180), 95),
        Category("car", True, (0, 0, 142), 3),
        Category("person", True, (220, 20, 60), 1),
    )
)


def rectangle(category: int, box: tuple[int, int, int, int], **more: Any) -> dict[str, Any]:
    """Make a COCO annotation with a polygon."""
    y0, x0, y1, x1 = box
    return {"category_id": category, "image_id": 7, "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]} | more


def drawn(found: Any, letters: dict[int, str]) -> list[str]:
    """Draw each pixel as the letter of its category, with crowd in upper case."""
    rows = []
    for classes, crowd in zip(found.semantics.tolist(), found.crowd[found.ids].tolist(), strict=True):
        names = ["." if one == VOID else letters[CATEGORIES.classes[one].original_id] for one in classes]
        rows.append("".join(name.upper() if many else name for many, name in zip(crowd, names, strict=True)))
    return rows


def test_segments_of_objects_paints_small_objects_over_large_ones_and_crowds() -> None:
    """From back to front: sky from the map, annotated road, a crowd, a large car, a small person; one is hidden."""
    stuff = np.full((4, 8), 255)
    stuff[:2] = 1
    objects = [
        rectangle(1, (1, 2, 3, 3)),
        rectangle(3, (1, 1, 4, 5)),
        rectangle(1, (0, 0, 4, 7), iscrowd=1),
        rectangle(92, (1, 0, 4, 8)),
        rectangle(1, (1, 2, 3, 3)),
    ]
    found, num_hidden = segments_of_objects(objects, (4, 8), CATEGORIES, stuff)
    assert drawn(found, {92: "r", 95: "s", 3: "c", 1: "p"}) == [
        "PPPPPPPs",
        "PcpccPPr",
        "PcpccPPr",
        "PccccPPr",
    ]
    assert num_hidden == 1


def test_segments_of_objects_leaves_uncovered_pixels_void() -> None:
    found, _ = segments_of_objects([rectangle(3, (0, 0, 1, 2))], (2, 3), CATEGORIES, None)
    assert drawn(found, {3: "c"}) == ["cc.", "..."]
    found, _ = segments_of_objects([], (2, 3), CATEGORIES, None)
    assert drawn(found, {}) == ["...", "..."]


def test_segments_of_objects_accepts_both_forms_of_run_lengths() -> None:
    mask = np.asfortranarray(np.array([[0, 1, 1], [0, 1, 0]], np.uint8))
    compressed = run_lengths.encode(mask)
    for counts in ([2, 3, 1], compressed["counts"].decode()):
        entry = {"category_id": 3, "image_id": 7, "segmentation": {"size": [2, 3], "counts": counts}}
        found, _ = segments_of_objects([entry], (2, 3), CATEGORIES, None)
        assert drawn(found, {3: "c"}) == [".cc", ".c."]


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        5,
        {},
        {"counts": [1]},
        [],
        [["a"] * 6],
        {"size": [3, 3], "counts": [9]},
        {"size": [2, 3], "counts": [1, 9]},
    ],
)
def test_segments_of_objects_given_invalid_segmentation_names_the_annotation(segmentation: Any) -> None:
    entry = {"id": 12, "category_id": 3, "image_id": 7, "segmentation": segmentation}
    with pytest.raises(ValueError, match=r"annotation 12 of image 7.*'segmentation'"):
        segments_of_objects([entry], (2, 3), CATEGORIES, None)


def test_detection_round_trip_matches_published_sample(shared: Path, tmp_path: Path) -> None:
    """The detection file equals the published one; converting it back gives the published segments under new ids."""
    folder = shared / "data/panopticapi_sample"
    samples = folder / "sample_data"
    for name, place in (("input_images", "images"), ("panoptic_examples", "annotations/panoptic_examples")):
        (tmp_path / "in" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / place).symlink_to(samples / name)
    (tmp_path / "in/annotations/panoptic_examples.json").symlink_to(samples / "panoptic_examples.json")
    source = CocoPanoptic(tmp_path / "in", "examples")

    job = to_detection_job(source, "all", tmp_path / "out", with_stuff=True)
    run_job(job)
    found = json.loads(job.result.read_text())
    expected = json.loads((samples / "panoptic_coco_detection_format.json").read_text())
    assert as_set(found) == as_set(expected)
    assert [one["id"] for one in found["annotations"]] == list(range(1, len(expected["annotations"]) + 1))
    assert {one["id"]: one["name"] for one in found["categories"]} == {
        one["id"]: one["name"] for one in expected["categories"]
    }

    detection = DetectionSource(
        samples / "panoptic_coco_detection_format.json",
        samples / "input_images",
        categories=folder / "panoptic_coco_categories.json",
    )
    run_job(detection_job(detection, PanopticTarget(tmp_path / "back", "val")))
    back = CocoPanoptic(tmp_path / "back", "val")
    for index in range(len(back)):
        ids = read_panoptic_png(samples / "panoptic_examples" / back.records[index].segments.png_file)
        again = read_panoptic_png(back.annotation_path(index))
        pairs = set(zip(ids.ravel().tolist(), again.ravel().tolist(), strict=True))
        assert len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs})
        assert (0, 0) in pairs or 0 not in ids


def as_set(content: dict[str, Any]) -> set[tuple[Any, ...]]:
    return {
        (
            one["image_id"],
            one["category_id"],
            one["area"],
            tuple(one["bbox"]),
            one["iscrowd"],
            tuple(one["segmentation"]["size"]),
            one["segmentation"]["counts"],
        )
        for one in content["annotations"]
    }


def test_to_detection_job_by_default_writes_only_things(shared: Path, tmp_path: Path) -> None:
    job = to_detection_job(CocoPanoptic(shared / "data/coco128_panoptic", "val", limit=3), "val", tmp_path)
    run_job(job)
    content = json.loads(job.result.read_text())
    assert len(content["categories"]) == 80
    assert {one["category_id"] for one in content["annotations"]} <= {one["id"] for one in content["categories"]}


def write_source(folder: Path, stuff: list[list[int]]) -> DetectionSource:
    for part in ("images", "stuff"):
        (folder / part).mkdir(parents=True)
    cv2.imwrite(str(folder / "images/a.jpg"), np.zeros((2, 4, 3), np.uint8))
    cv2.imwrite(str(folder / "stuff/a.png"), np.array(stuff, np.uint8))
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 2, "width": 4}],
        "annotations": [rectangle(3, (0, 0, 1, 2))],
        "categories": [{"id": 3, "name": "car"}],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    (folder / "categories.json").write_text(json.dumps(CATEGORIES.to_list()))
    return DetectionSource(folder / "instances.json", folder / "images", folder / "stuff", folder / "categories.json")


def test_detection_job_reads_stuff_maps_with_and_without_value_table(tmp_path: Path) -> None:
    """Values are category ids; 0, 255 and the ids of things count as void."""
    source = write_source(tmp_path, [[95, 95, 95, 3], [92, 92, 0, 255]])
    run_job(detection_job(source, PanopticTarget(tmp_path / "out", "val")))
    annotation = CocoPanoptic(tmp_path / "out", "val").read_annotation(0)
    assert annotation.classes[annotation.ids].tolist() == [[2, 2, 1, 255], [0, 0, 255, 255]]
    own = DetectionSource(source.annotations, source.images, source.stuff_maps, source.categories, {9: 92, 5: 0})
    cv2.imwrite(str(tmp_path / "stuff/a.png"), np.array([[9, 9, 9, 9], [9, 5, 0, 255]], np.uint8))
    run_job(detection_job(own, PanopticTarget(tmp_path / "own", "val")))
    annotation = CocoPanoptic(tmp_path / "own", "val").read_annotation(0)
    assert annotation.classes[annotation.ids].tolist() == [[2, 2, 0, 0], [0, 255, 255, 255]]


def test_detection_job_errors_state_file_and_value(tmp_path: Path) -> None:
    source = write_source(tmp_path, [[95, 95, 95, 3], [77, 92, 0, 255]])
    target = PanopticTarget(tmp_path / "out", "val")
    with pytest.raises(ValueError, match=r"a\.png .*value 77\b"):
        run_job(detection_job(source, target))
    with pytest.raises(ValueError, match="isthing"):
        detection_job(DetectionSource(source.annotations, source.images, source.stuff_maps), target)
    values = DetectionSource(source.annotations, source.images, source.stuff_maps, source.categories, {1: 77})
    with pytest.raises(ValueError, match="category 77, which does not exist"):
        detection_job(values, target)
    content = json.loads(source.annotations.read_text())
    for change, fact in (
        ({"annotations": [rectangle(3, (0, 0, 1, 2), image_id=8)]}, "image 8, which is not among"),
        ({"annotations": [{"image_id": 7, "category_id": 3}]}, "'segmentation' is missing"),
        ({"images": content["images"] * 2}, "image 7: two images have this id"),
    ):
        source.annotations.write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match=fact):
            detection_job(source, target)


def test_detection_job_given_invalid_outline_names_file_and_annotation(tmp_path: Path) -> None:
    source = write_source(tmp_path, [[95, 95, 95, 3], [92, 92, 0, 255]])
    content = json.loads(source.annotations.read_text())
    content["annotations"][0]["segmentation"] = [[float("inf"), 0, 1, 0, 1, 1]]
    source.annotations.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"instances\.json: annotation .* of image 7.*'segmentation'.*--without-outline"
    ):
        run_job(detection_job(source, PanopticTarget(tmp_path / "out", "val")))


def write_two_suffixes(folder: Path) -> DetectionSource:
    source = write_source(folder, [[95, 95, 95, 3], [92, 92, 0, 255]])
    cv2.imwrite(str(folder / "images/a.png"), np.zeros((2, 4, 3), np.uint8))
    content = json.loads(source.annotations.read_text())
    content["images"].append({"id": 8, "file_name": "a.png", "height": 2, "width": 4})
    content["annotations"] = [rectangle(3, (0, 0, 1, 2)), rectangle(1, (1, 2, 2, 4), image_id=8)]
    source.annotations.write_text(json.dumps(content))
    return source


def test_detection_job_given_names_differing_in_suffix_keeps_segments_apart(tmp_path: Path) -> None:
    source = write_two_suffixes(tmp_path)
    source = DetectionSource(source.annotations, source.images, categories=source.categories)
    run_job(detection_job(source, PanopticTarget(tmp_path / "out", "val")))
    data = CocoPanoptic(tmp_path / "out", "val")
    assert [data.annotation_path(index).name for index in range(2)] == ["a.png", "a_2.png"]
    maps = [data.read_annotation(index) for index in range(2)]
    assert [one.classes[one.ids].tolist() for one in maps] == [
        [[2, 2, 255, 255], [255] * 4],
        [[255] * 4, [255, 255, 3, 3]],
    ]


def test_detection_job_given_images_sharing_a_stuff_map_raises(tmp_path: Path) -> None:
    source = write_two_suffixes(tmp_path)
    with pytest.raises(ValueError, match=r"instances\.json: a\.jpg and a\.png"):
        detection_job(source, PanopticTarget(tmp_path / "out", "val"))


@pytest.mark.parametrize(("policy", "row"), [("skip", [1, 1, 1, 255]), ("box", [1, 2, 2, 255])])
def test_detection_job_skips_or_boxes_objects_without_outline_and_counts_them(
    tmp_path: Path, policy: Any, row: list[int]
) -> None:
    source = write_source(tmp_path, [[95, 95, 95, 3], [92, 92, 0, 255]])
    content = json.loads(source.annotations.read_text())
    content["annotations"] = [{"id": 5, "image_id": 7, "category_id": 3, "bbox": [1, 0, 2, 1]}]
    source.annotations.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"annotation 0.*--without-outline"):
        detection_job(source, PanopticTarget(tmp_path / "out", "val"))
    outcome = run_job(detection_job(replace(source, without_outline=policy), PanopticTarget(tmp_path / policy, "val")))
    assert outcome.num_replaced == 1
    annotation = CocoPanoptic(tmp_path / policy, "val").read_annotation(0)
    assert annotation.classes[annotation.ids][0].tolist() == row


def test_detection_job_finds_files_despite_backslashes_and_upper_case_suffixes(tmp_path: Path) -> None:
    source = write_source(tmp_path, [[95, 95, 95, 3], [92, 92, 0, 255]])
    for folder, old, new in (("images", "a.jpg", "b.jpg"), ("stuff", "a.png", "b.PNG")):
        (tmp_path / folder / "sub").mkdir()
        (tmp_path / folder / old).rename(tmp_path / folder / "sub" / new)
    content = json.loads(source.annotations.read_text())
    content["images"][0]["file_name"] = "sub\\b.jpg"
    source.annotations.write_text(json.dumps(content))
    run_job(detection_job(source, PanopticTarget(tmp_path / "out", "val")))
    assert (tmp_path / "out/images/val/sub/b.jpg").exists()
    assert len(CocoPanoptic(tmp_path / "out", "val").read_annotation(0).classes) == 4
