"""Shapes drawn in labeling tools: geometry, order, classes, images, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as run_lengths
from support.odd_images import turned
from support.tool_exports import box, converted, drawn, flat, write_classes, write_image

from seamseg.convert.drawn import (
    DrawnExport,
    DrawnImage,
    DrawnShape,
    ImageFinder,
    crosses_itself,
    ellipse,
    polygon,
    rectangle,
)
from seamseg.convert.drawn_job import DrawnOptions, drawn_jobs, read_label_classes
from seamseg.convert.job import run_job
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.errors import DataError, SeamsegError, SettingsError

SIZE = (40, 60)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5


def painted(outline: list[list[float]]) -> np.ndarray:
    return run_lengths.decode(run_lengths.merge(run_lengths.frPyObjects(outline, *SIZE))).astype(bool)


def shape(label: str, corners: Any, **more: Any) -> DrawnShape:
    return DrawnShape(label, f"shape {label}", polygon(corners), **more)


def export_of(folder: Path, *shapes: DrawnShape, size: tuple[int, int] | None = (6, 8)) -> DrawnExport:
    path = write_image(folder / "images/a.png", size or (6, 8))
    return DrawnExport(folder / "x.json", [DrawnImage("a.png", path, folder / "x.json", size, shapes)])


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 200, -30])
def test_rectangle_covers_the_pixels_inside_after_turning_back(degrees: float) -> None:
    """Pixels within a pixel of an edge may fall on either side."""
    x, y, width, height, pivot = 22.0, 12.0, 24.0, 13.0, (22.0, 12.0)
    found = painted(rectangle(x, y, width, height, degrees, pivot))
    angle = math.radians(degrees)
    dx, dy = COLUMNS - pivot[0], ROWS - pivot[1]
    along, down = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
    distance = np.minimum.reduce([along, width - along, down, height - down])
    assert found[distance > 1].all()
    assert not found[distance < -1].any()
    assert 10 < found.sum() <= width * height + 2 * (width + height)


def test_rectangle_without_rotation_is_exact() -> None:
    found = painted(rectangle(3, 5, 10, 7, 0, (3, 5)))
    assert found.sum() == 70
    assert found[5:12, 3:13].all()


def test_ellipse_covers_the_pixels_inside() -> None:
    angle = math.radians(30)
    found = painted(ellipse((30.0, 20.0), (18.0, 9.0), 30))
    dx, dy = COLUMNS - 30, ROWS - 20
    along, across = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
    inside = np.hypot(along / 18, across / 9)
    assert found[inside < 0.88].all()
    assert not found[inside > 1.12].any()


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        (box(0, 0, 4, 4), False),
        ([(0, 0), (4, 0), (4, 4), (2, 1), (0, 4)], False),
        ([(0, 0), (4, 4), (4, 0), (0, 4)], True),
        ([(0, 0), (4, 0), (2, 2), (4, 4), (0, 4), (2, 2)], False),  # touches itself in a corner
        ([(0, 0), (9, 0), (9, 9), (4, 9), (4, -2), (2, 9)], True),
        ([(0, 0), (1, 1), (2, 2)], False),
        ([(0, 0), (1, 1), (0, 1)], False),
    ],
)
def test_crosses_itself_only_if_edges_cross(corners: Any, expected: bool) -> None:
    for step in range(len(corners)):  # wherever the polygon begins
        assert crosses_itself(flat(corners[step:] + corners[:step])) is expected


def test_later_shapes_cover_earlier_ones_and_void_labels_erase(tmp_path: Path) -> None:
    shapes = (
        shape("sky", box(0, 0, 4, 8)),
        shape("car", box(1, 1, 5, 5)),
        shape("person", box(2, 2, 3, 3)),
        shape("car", box(2, 3, 6, 6)),
        shape("ignore", box(3, 0, 4, 8)),
        shape("sky", box(5, 0, 6, 8)),
    )
    data, summary = converted(export_of(tmp_path, *shapes), tmp_path)
    assert drawn(data) == ["ssssssss", "sccccsss", "scpCCCss", "........", ".ccCCC..", "ssssssss"]
    assert len(data.read_annotation(0).classes) == 1 + 1 + 2 + 1
    assert summary.num_hidden == 0
    assert [one.name for one in data.categories.classes] == ["road", "sky", "car", "person"]
    assert not data.read_annotation(0).crowd.any()


def test_smaller_shapes_cover_larger_ones_if_asked(tmp_path: Path) -> None:
    shapes = shape("person", box(1, 1, 2, 2)), shape("car", box(0, 0, 3, 4)), shape("road", box(0, 0, 6, 8))
    later, hidden = converted(export_of(tmp_path, *shapes), tmp_path)
    assert (drawn(later), hidden.num_hidden) == (["r" * 8] * 6, 2)
    (tmp_path / "b").mkdir()
    smaller, _ = converted(export_of(tmp_path / "b", *shapes), tmp_path / "b", front="smaller")
    assert drawn(smaller)[:2] == ["ccccrrrr", "cpccrrrr"]


def test_group_is_one_object_as_far_in_front_as_its_last_part(tmp_path: Path) -> None:
    shapes = (
        shape("car", box(0, 0, 2, 3), group=5),
        shape("person", box(0, 2, 3, 4)),
        shape("person", box(4, 0, 5, 1), group=5),  # another label, another object
        shape("car", box(0, 5, 2, 8), group=5),
    )
    data, _ = converted(export_of(tmp_path, *shapes), tmp_path)
    assert drawn(data)[:2] == ["cccp.ccc", "cccp.ccc"]
    assert len(data.read_annotation(0).classes) == 1 + 3


def test_crowd_stays_crowd(tmp_path: Path) -> None:
    data, _ = converted(export_of(tmp_path, shape("car", box(0, 0, 2, 3), crowd=True)), tmp_path)
    assert data.read_annotation(0).crowd.tolist() == [False, True]


def test_labels_become_the_classes_that_list_them(tmp_path: Path) -> None:
    shapes = shape('Pkw "ä"', box(0, 0, 1, 4)), shape("car", box(1, 0, 2, 4))
    data, _ = converted(export_of(tmp_path, *shapes), tmp_path)
    assert drawn(data)[:3] == ["cccc....", "CCCC....", "........"]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (None, ["--classes", "stuff", "things", "'car', 'tree'"]),
        ("things: [car]", ["tree", "void"]),
        ("things: [car, tree]\nvoid: tree", ["tree", "twice"]),
        ("things: {a: car, b: [car, tree]}", ["car", "twice"]),
        ("things: [car, tree, 3]", ["3", "quotes"]),
        ("void: [car, tree]", ["no classes"]),
        ("stuff: {car: tree}\nthings: [car]", ["share the name car"]),
        ("things: car", ["things"]),
        ("animals: [car]", ["stuff, things and void"]),
    ],
)
def test_read_label_classes_given_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, facts: list[str]) -> None:
    path = None if text is None else write_classes(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        read_label_classes(path, ["car", "tree"], Path("x.json"))
    assert all(fact in str(caught.value) for fact in facts)


def test_images_without_shapes_and_unused_labels_are_reported(tmp_path: Path) -> None:
    export = export_of(tmp_path, shape("car", box(0, 0, 2, 2)))
    export.images.append(DrawnImage("b.png", tmp_path / "b.png", tmp_path, None, ()))
    export.left_out["line(s)"] += 3
    (job,) = drawn_jobs({"train": export}, DrawnOptions(tmp_path / "out", write_classes(tmp_path)))
    assert [item.name for item in job.items] == ["a.png"]
    assert "3 line(s), 1 image(s) without a labeled area" in job.remarks[0]
    assert "'Pkw \"ä\"', 'ignore', 'person', 'road', 'sky'" in job.remarks[1]


def test_missing_images_are_an_error_unless_skipped(tmp_path: Path) -> None:
    export = export_of(tmp_path, shape("car", box(0, 0, 2, 2)))
    export.missing.append("ö.png")
    with pytest.raises(DataError, match=r"1 of 2 images .*'ö\.png'; .*--image-folder.*--skip-missing"):
        converted(export, tmp_path)
    assert not (tmp_path / "out").exists()
    data, _ = converted(export, tmp_path, skip_missing=True)
    assert len(data) == 1


def test_image_labeled_twice_is_an_error(tmp_path: Path) -> None:
    export = export_of(tmp_path, shape("car", box(0, 0, 2, 2)))
    export.images.append(replace(export.images[0]))
    with pytest.raises(DataError, match=r"a\.png a second time"):
        converted(export, tmp_path)


def test_export_without_any_shape_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image with a labeled area"):
        converted(export_of(tmp_path), tmp_path)


def test_image_of_another_size_is_an_error(tmp_path: Path) -> None:
    export = export_of(tmp_path, shape("car", box(0, 0, 2, 2)))
    write_image(tmp_path / "images/a.png", (6, 9))
    with pytest.raises(DataError, match=r"a\.png is 6×9 .*x\.json states 6×8"):
        converted(export, tmp_path)
    assert not (tmp_path / "out/annotations/panoptic_train.json").exists()


@pytest.mark.parametrize(("size", "pixels"), [((6, 8), (6, 8)), ((8, 6), (8, 6)), (None, (8, 6))])
def test_image_stored_sideways_gets_the_size_of_its_labels(tmp_path: Path, size: Any, pixels: Any) -> None:
    """The file holds 6×8 pixels and an orientation; only labels of the upright image, 8×6, fit."""
    export = export_of(tmp_path, shape("car", box(0, 0, 2, 2)), size=size)
    (tmp_path / "images/a.png").write_bytes(turned(6, np.zeros((6, 8, 3), np.uint8)))
    if size == (6, 8):
        with pytest.raises(DataError, match=r"EXIF orientation"):
            converted(export, tmp_path)
    else:
        data, _ = converted(export, tmp_path)
        assert data.sizes == [pixels]


def test_image_stored_upside_down_is_an_error(tmp_path: Path) -> None:
    export = export_of(tmp_path, shape("car", box(0, 0, 2, 2)))
    (tmp_path / "images/a.png").write_bytes(turned(3, np.zeros((6, 8, 3), np.uint8)))
    with pytest.raises(DataError, match=r"EXIF orientation.*exiftran"):
        converted(export, tmp_path)


@pytest.mark.parametrize("corners", [[(1, 1), (2, 2)], [], [(0, 0), (1e6, 0), (1e6, 5)]])
def test_invalid_outline_is_an_error_or_counted(tmp_path: Path, corners: Any) -> None:
    shapes = shape("car", corners), shape("car", box(0, 0, 2, 2))
    with pytest.raises(DataError, match=r"shape car: .*--without-outline skip"):
        converted(export_of(tmp_path, *shapes), tmp_path)
    data, summary = converted(export_of(tmp_path, *shapes), tmp_path, without_outline="skip")
    assert (summary.num_replaced, len(data.read_annotation(0).classes)) == (1, 2)


def test_shapes_without_a_pixel_are_counted(tmp_path: Path) -> None:
    shapes = shape("car", box(1, 1, 1.2, 1.2)), shape("car", box(0, -9, 2, -4)), shape("car", box(0, 0, 2, 2))
    _, summary = converted(export_of(tmp_path, *shapes), tmp_path)
    assert (summary.num_replaced, summary.num_hidden) == (2, 0)


def test_polygon_that_crosses_itself_is_filled_by_the_even_odd_rule_and_counted(tmp_path: Path) -> None:
    """A spiral encloses its middle twice."""
    spiral = [(0, 0), (8, 0), (8, 6), (2, 6), (2, 2), (6, 2), (6, 4), (0, 4)]
    data, summary = converted(export_of(tmp_path, shape("road", spiral)), tmp_path)
    assert summary.num_crossing == 1
    assert drawn(data) == ["rrrrrrrr", "rrrrrrrr", "rr....rr", "rr....rr", "..rrrrrr", "..rrrrrr"]


def test_changed_shapes_are_another_conversion(tmp_path: Path) -> None:
    converted(export_of(tmp_path, shape("car", box(0, 0, 2, 2))), tmp_path)
    _, again = converted(export_of(tmp_path, shape("car", box(0, 0, 2, 2))), tmp_path)
    assert again.complete_already
    with pytest.raises(SeamsegError, match="--overwrite"):
        converted(export_of(tmp_path, shape("car", box(0, 0, 2, 3))), tmp_path)


def test_val_every_divides_the_images_by_name(tmp_path: Path) -> None:
    export = DrawnExport(tmp_path / "x.json")
    for name in "dbca":
        path = write_image(tmp_path / f"{name}.png")
        export.images.append(DrawnImage(path.name, path, tmp_path / "x.json", None, (shape("car", box(0, 0, 2, 2)),)))
    options = DrawnOptions(tmp_path / "out", write_classes(tmp_path), val_every=2)
    jobs = drawn_jobs({"train": export}, options)
    assert {job.title: [item.name for item in job.items] for job in jobs} == {
        "train": ["a.png", "c.png"],
        "val": ["b.png", "d.png"],
    }
    for job in jobs:
        run_job(job, 1)
    assert len(CocoPanoptic(tmp_path / "out", "val")) == 2
    with pytest.raises(SettingsError, match="--split"):
        drawn_jobs({"val": export}, options)


def test_find_image_by_the_end_of_its_path_and_never_outside(tmp_path: Path) -> None:
    for name in ("images/sub/a b.png", "images/ä#1.png", "images/c.png", "secret.png"):
        write_image(tmp_path / name)
    finder = ImageFinder(tmp_path / "images")
    assert finder.find("C:\\work\\sub\\a b.png") == (tmp_path / "images/sub/a b.png", "sub/a b.png")
    assert finder.find("/somewhere/else/ä#1.png") == (tmp_path / "images/ä#1.png", "ä#1.png")
    assert finder.find("x.png", "../images/c.png") == (tmp_path / "images/c.png", "c.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "", "..", "a\0b", "x" * 5000, "sub"):
        assert finder.find(name) is None
