"""COCO files of coco-annotator and CVAT, drawn by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as run_lengths
from support.odd_images import turned
from support.tool_exports import box, converted, drawn, flat, write_image, write_json

from seamseg.convert.coco_export import Tool, read_coco_export
from seamseg.convert.drawn import DrawnExport, ImageFinder
from seamseg.errors import DataError

HEIGHT, WIDTH = 6, 8
NAMES = ("road", "sky", "car", "person")


def entry(label: str, segmentation: Any, number: int = 1, image: int = 11, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": NAMES.index(label) + 1,
        "segmentation": segmentation,
        "area": 1,
        "bbox": [0, 0, 2, 2],
        "iscrowd": False,
    } | more


def outline(*edges: float) -> list[list[float]]:
    return [flat(box(*edges))]


def write(folder: Path, *annotations: Any, images: Any = None) -> Path:
    if not (folder / "a.png").exists():
        write_image(folder / "a.png", (HEIGHT, WIDTH))
    listed = images or [{"id": 11, "file_name": "a.png", "width": WIDTH, "height": HEIGHT, "path": "/datasets/x/a.png"}]
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(NAMES, start=1)]
    content = {"images": listed, "categories": categories, "annotations": list(annotations)}
    return write_json(folder / "coco.json", content)


def read(folder: Path, *annotations: Any, tool: Tool = "coco-annotator", **more: Any) -> DrawnExport:
    images = more.pop("images", None)
    return read_coco_export(write(folder, *annotations, images=images), ImageFinder(folder), tool, **more)


def test_polygons_and_both_kinds_of_run_lengths_become_segments(tmp_path: Path) -> None:
    """Runs go down the columns: 6 void pixels, then the upper half of the second column."""
    runs = {"size": [HEIGHT, WIDTH], "counts": [6, 3, 39]}
    parts = [flat(box(4, 0, 5, 1)), flat(box(4, 3, 5, 4))]
    corner = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    corner[5, 7] = 1
    compressed = run_lengths.encode(corner)["counts"].decode()
    export = read(
        tmp_path,
        entry("sky", outline(0, 0, 3, 8)),
        entry("car", runs, 2, isbbox=False, color="#aabbcc", metadata={}),
        entry("person", parts, 3),
        entry("car", {"size": [HEIGHT, WIDTH], "counts": compressed}, 4),
    )
    data, _ = converted(export, tmp_path)
    assert drawn(data) == ["scssssss"] * 3 + ["........", "p..p....", ".......C"]


def test_annotations_with_keypoints_only_are_counted(tmp_path: Path) -> None:
    export = read(
        tmp_path, entry("car", [], keypoints=[1, 2, 2]), entry("car", outline(0, 0, 2, 2), 2, keypoints=[1, 2, 2])
    )
    assert export.left_out == {"annotation(s) with keypoints only": 1}
    assert len(export.images[0].shapes) == 1


def test_annotations_of_deleted_images_are_counted(tmp_path: Path) -> None:
    export = read(tmp_path, entry("car", outline(0, 0, 2, 2)), entry("car", outline(0, 0, 2, 2), 2, image=12))
    assert export.left_out == {"annotation(s) of images that the file does not list": 1}


def test_images_of_one_name_are_told_apart_by_their_path(tmp_path: Path) -> None:
    images = []
    for number, folder in enumerate(("x", "y"), start=11):
        write_image(tmp_path / folder / "a.png", (HEIGHT, WIDTH))
        path = f"/datasets/set/{folder}/a.png"
        images.append({"id": number, "file_name": "a.png", "path": path, "height": HEIGHT, "width": WIDTH})
    export = read(
        tmp_path, entry("car", outline(0, 0, 1, 1), 1, 11), entry("sky", outline(0, 0, 1, 1), 2, 12), images=images
    )
    assert [(image.name, image.shapes[0].label) for image in export.images] == [("x/a.png", "car"), ("y/a.png", "sky")]


def test_coco_annotator_without_outline_is_refused_skipped_or_boxed(tmp_path: Path) -> None:
    entries = entry("car", []), entry("person", outline(3, 3, 5, 5), 2)
    with pytest.raises(DataError, match=r"coco\.json, annotation 1: .*--without-outline"):
        converted(read(tmp_path, *entries), tmp_path)
    (tmp_path / "b").mkdir()
    data, summary = converted(read(tmp_path, *entries), tmp_path / "b", without_outline="box")
    assert (drawn(data)[0], summary.num_replaced) == ("cc......", 1)


def test_cvat_rectangle_turns_around_its_center(tmp_path: Path) -> None:
    """Two by four pixels around (4, 3), turned by a quarter."""
    turned = entry("car", [], bbox=[2, 2, 4, 2], attributes={"occluded": False, "rotation": 90.0})
    data, _ = converted(read(tmp_path, turned, tool="cvat"), tmp_path)
    assert drawn(data) == ["........", "...cc...", "...cc...", "...cc...", "...cc...", "........"]


@pytest.mark.parametrize("box_", [None, [1, 2], [1, 2, "3", 4], [0, 0, float("inf"), 1]])
def test_cvat_rectangle_without_valid_box_is_an_error(tmp_path: Path, box_: Any) -> None:
    with pytest.raises(DataError, match=r"coco\.json, annotation 1: .*bbox"):
        read(tmp_path, entry("car", [], bbox=box_), tool="cvat")


def test_cvat_crowd_marks_of_brush_masks_are_ignored_unless_kept(tmp_path: Path) -> None:
    mask = entry("car", {"size": [HEIGHT, WIDTH], "counts": [6, 3, 39]}, iscrowd=1)
    export = read(tmp_path, mask, tool="cvat")
    assert [shape.crowd for shape in export.images[0].shapes] == [False]
    (note,) = export.left_out
    assert "--keep-crowd" in note
    kept = read(tmp_path, mask, tool="cvat", keep_crowd=True)
    assert [shape.crowd for shape in kept.images[0].shapes] == [True]
    assert not kept.left_out


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"category_id": 77}, ["annotation 1", "category_id 77"]),
        ({"category_id": "1"}, ["annotation 0", "category_id"]),
        ({"iscrowd": "0"}, ["annotation 1", "iscrowd"]),
        ({"image_id": None}, ["coco.json"]),
    ],
)
def test_malformed_annotation_raises_with_its_place(tmp_path: Path, change: Any, facts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, entry("car", outline(0, 0, 2, 2)) | change, tool="cvat")
    assert all(fact in str(caught.value) for fact in ["coco.json", *facts])


@pytest.mark.parametrize("content", [{}, {"images": 5}, {"images": [], "annotations": [5], "categories": []}, []])
def test_other_json_is_refused(tmp_path: Path, content: Any) -> None:
    path = write_json(tmp_path / "x.json", content)
    with pytest.raises(DataError, match=r"x\.json"):
        read_coco_export(path, ImageFinder(tmp_path), "coco-annotator")


@pytest.mark.parametrize("orientation", [3, 6])
def test_coco_annotator_shows_images_as_stored(tmp_path: Path, orientation: int) -> None:
    """CVAT turns them, so that its labels fit another image than the stored one."""
    road = entry("road", outline(0, 0, 2, 8))
    (tmp_path / "a.png").write_bytes(turned(orientation, np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    data, _ = converted(read(tmp_path, road), tmp_path)
    assert drawn(data) == ["rrrrrrrr"] * 2 + ["........"] * 4
    (tmp_path / "cvat").mkdir()
    with pytest.raises(DataError, match="EXIF orientation"):
        converted(read(tmp_path, road, tool="cvat"), tmp_path / "cvat")
