"""Mapillary Vistas as downloaded: synthetic folders in its layouts, and its sample."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.vistas_folder import LABELS, NUMBERS, label, write_vistas

from seamseg.check.check import check_data_set
from seamseg.data.formats.annotated_dataset import PanopticDataset
from seamseg.data.formats.coco import DataWarning
from seamseg.data.formats.open import open_data_set
from seamseg.errors import BrokenImageError

NAMES = (
    "construction--flat--road",
    "nature--sky",
    "animal--bird",
    "object--vehicle--car",
    "object--vehicle--car-group",
)
ROAD, SKY, BIRD, CAR, GROUP, VOID = 0, 1, 2, 3, 4, 255
CLASSES = {1024: SKY, 256: ROAD, 257: ROAD, 1: BIRD, 513: CAR, 514: CAR, 769: GROUP, 1280: VOID}


def class_map(data: PanopticDataset, index: int) -> list[list[int]]:
    annotation = data.read_annotation(index)
    return annotation.classes[annotation.ids].tolist()


def crowd_map(data: PanopticDataset, index: int) -> list[list[bool]]:
    annotation = data.read_annotation(index)
    return annotation.crowd[annotation.ids].tolist()


def map_numbers(table: dict[int, Any]) -> list[list[Any]]:
    return [[table[value] for value in row] for row in NUMBERS.tolist()]


LAYOUTS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "v1.2": ({"versions": ["v1.2"]}, "vistas_v1.2", True),
    "v2.0": ({"versions": ["v2.0"]}, "vistas_v2.0", True),
    "both": ({"versions": ["v1.2", "v2.0"]}, "vistas_v2.0", True),
    "older": ({"older": True}, "vistas_v1.2", True),
    "older without panoptic": ({"older": True, "panoptic": False}, "vistas_v1.2", False),
    "v2.0 without panoptic": ({"versions": ["v2.0"], "panoptic": False}, "vistas_v2.0", False),
    "without instances": ({"instances": False}, "vistas_v1.2", True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_vistas_layout_yields_the_same_segmentation(layout: str, tmp_path: Path) -> None:
    arguments, format_name, from_panoptic = LAYOUTS[layout]
    written = write_vistas(tmp_path, **arguments)
    data = open_data_set(tmp_path, "train", format_name=format_name)
    assert len(data) == 2
    assert (data.categories.names, data.categories.num_stuff) == (NAMES, 2)
    assert data.categories.colors[ROAD] == tuple(label(NAMES[ROAD], False, True)["color"])
    index = [data.image_id(position) for position in range(2)].index("_aB-1")
    assert data.sizes == [(6, 8), (6, 8)]
    assert class_map(data, index) == map_numbers(CLASSES)
    crowded = {GROUP, BIRD} if from_panoptic else {GROUP}
    assert crowd_map(data, index) == map_numbers({value: number in crowded for value, number in CLASSES.items()})
    assert len(data.read_annotation(index).classes) == 1 + 6, "void, one road, one sky, one bird, two cars, one group"
    assert class_map(data, 1 - index) == [row[::-1] for row in map_numbers(CLASSES)]
    assert abs(data.read_image(index).astype(int) - written.images["training", "_aB-1"]).max() < 3
    assert data.image_path(index) == tmp_path / "training" / "images" / "_aB-1.jpg"
    assert data.annotation_path(index).is_file()


def test_vistas_instances_are_separate_segments(tmp_path: Path) -> None:
    for arguments in ({"panoptic": True}, {"panoptic": False}):
        write_vistas(tmp_path / str(arguments["panoptic"]), **arguments)
        data = open_data_set(tmp_path / str(arguments["panoptic"]), "val")
        annotation = data.read_annotation([data.image_id(0), data.image_id(1)].index("_aB-1"))
        assert annotation.ids[2, 0] != annotation.ids[2, 2]
        assert annotation.ids[4, 0] == annotation.ids[4, 7]
        assert (annotation.ids == 0).sum() == 4
        assert sorted(np.unique(annotation.ids)) == list(range(7))


def test_vistas_original_ids_equal_the_annotation(tmp_path: Path) -> None:
    numbers = {name: number for number, (name, *_) in enumerate(LABELS)}
    write_vistas(tmp_path / "a")
    write_vistas(tmp_path / "b", panoptic=False)
    panoptic, instances = (open_data_set(tmp_path / name, "val").categories for name in "ab")
    assert [category.original_id for category in panoptic.classes] == [10 + numbers[name] for name in NAMES]
    assert [category.original_id for category in instances.classes] == [numbers[name] for name in NAMES]


def test_vistas_display_names_are_matched_by_supercategory(tmp_path: Path) -> None:
    """Mapillary's own files have the name of the configuration as ``supercategory``."""

    def name_for_people(content: dict[str, Any]) -> None:
        for category in content["categories"]:
            category.update(supercategory=category["name"], name=category["name"].rsplit("--")[-1].title())

    data = write_vistas(tmp_path)
    data.edit("v1.2", "training", name_for_people)
    opened = open_data_set(tmp_path, "training", format_name="vistas_v1.2")
    assert opened.categories.names == NAMES
    assert class_map(opened, 0) == map_numbers(CLASSES)


def test_vistas_limit_selects_the_first_images(tmp_path: Path) -> None:
    write_vistas(tmp_path / "a")
    write_vistas(tmp_path / "b", panoptic=False)
    for name in "ab":
        assert len(open_data_set(tmp_path / name, "val", 1)) == 1
        with pytest.raises(ValueError, match="must be at least 1"):
            open_data_set(tmp_path / name, "val", 0)


def config(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        content = json.loads((root / "config_v1.2.json").read_text())
        change(content["labels"])
        (root / "config_v1.2.json").write_text(json.dumps(content))

    return damage


BAD_CONFIGS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no JSON": (lambda root: (root / "config_v1.2.json").write_text("{"), "is not valid JSON"),
    "deeply nested": (lambda root: (root / "config_v1.2.json").write_text("[" * 200_000), "is not valid JSON"),
    "a list": (lambda root: (root / "config_v1.2.json").write_text("[1]"), "contains a JSON list, not an object"),
    "no labels": (lambda root: (root / "config_v1.2.json").write_text("{}"), "the key 'labels' is missing"),
    "a number": (config(lambda labels: labels.insert(1, 5)), "label 1: expected a JSON object, found 5"),
    "no name": (config(lambda labels: labels[0].pop("name")), "label 0: the key 'name' is missing"),
    "text as flag": (
        config(lambda labels: labels[0].update(evaluate="yes")),
        "'evaluate' is 'yes', expected 0, 1, true or false",
    ),
    "color out of range": (
        config(lambda labels: labels[0].update(color=[1, 2, 256])),
        "label 0: 'color' is [1, 2, 256]",
    ),
    "one name twice": (config(lambda labels: labels[0].update(name=NAMES[0])), f"labels are named {NAMES[0]}"),
    "no class": (
        config(lambda labels: [entry.update(evaluate=False) for entry in labels]),
        "has no label that is evaluated",
    ),
    "another class": (config(lambda labels: labels[0].update(name="cat")), "category 'animal--bird' is not among the"),
    "one class more": (
        config(lambda labels: labels.append(label("new", True, True))),
        "the categories lack 'new', which",
    ),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_vistas_with_wrong_configuration_raises_error_naming_the_entry(name: str, tmp_path: Path) -> None:
    write_vistas(tmp_path)
    damage, fact = BAD_CONFIGS[name]
    damage(tmp_path)
    assert fact in rejection(tmp_path)


Json = dict[str, Any]


def segment(content: Json) -> Json:
    return content["annotations"][0]["segments_info"][0]


BAD_FILES: dict[str, tuple[Callable[[Json], Any], str]] = {
    "name out of the folder": (
        lambda c: c["annotations"][0].update(file_name="../../../secret.png"),
        "'file_name' is '../../../secret.png', but file names must be relative and stay in their folder",
    ),
    "absolute name": (lambda c: c["images"][0].update(file_name="/etc/passwd"), "'file_name' is '/etc/passwd'"),
    "hidden way out": (lambda c: c["images"][0].update(file_name="a\\..\\..\\b.jpg"), "file names must be relative"),
    "no name": (lambda c: c["images"][0].update(file_name=""), "'file_name' is ''"),
    "null in name": (lambda c: c["images"][0].update(file_name="a\0.jpg"), "file names must be relative"),
    "a list as id": (lambda c: c["images"][0].update(id=[1]), "'id' is [1], expected int"),
    "not a number": (lambda c: segment(c).update(id=float("nan")), "'id' is nan, expected int"),
    "unknown class": (lambda c: segment(c).update(category_id=99), "its category_id 99 is not among"),
    "a class twice": (
        lambda c: c["categories"].append(c["categories"][0]),
        "category 5: an earlier category is already named 'animal--bird'",
    ),
    "one id for two": (lambda c: c["categories"][0].update(id=11), "several categories have the id 11"),
    "no categories": (lambda c: c.update(categories=[]), "the categories lack 'animal--bird'"),
    "images elsewhere": (
        lambda c: [image.update(file_name="x/" + image["file_name"]) for image in c["images"]],
        "none of the 2 images",
    ),
    "PNGs elsewhere": (
        lambda c: [entry.update(file_name="x/" + entry["file_name"]) for entry in c["annotations"]],
        "none of the 2 PNG files",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_vistas_with_wrong_panoptic_file_raises_error_naming_the_file(name: str, tmp_path: Path) -> None:
    change, fact = BAD_FILES[name]
    path = write_vistas(tmp_path).edit("v1.2", "training", change)
    message = rejection(tmp_path)
    assert fact in message
    assert str(path) in message


def rejection(root: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared by the caller)
        open_data_set(root, "training")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_vistas_annotation_with_undescribed_segment_raises_error_naming_it(tmp_path: Path) -> None:
    data = write_vistas(tmp_path)
    data.edit("v1.2", "training", lambda content: content["annotations"][0]["segments_info"].pop(0))
    with pytest.raises(ValueError, match=r"_aB-1\.png of image _aB-1 contains segment id\(s\) 2 that .* not describe"):
        open_data_set(tmp_path, "training").read_annotation(0)


@pytest.mark.parametrize("panoptic", [True, False])
def test_vistas_missing_or_wrong_files_raise_errors_naming_them(panoptic: bool, tmp_path: Path) -> None:
    write_vistas(tmp_path, panoptic=panoptic)
    data = open_data_set(tmp_path, "training")
    index = [data.image_id(0), data.image_id(1)].index("_aB-1")
    path = data.annotation_path(index)
    assert cv2.imwrite(str(path), np.zeros((6, 8), np.uint8))
    with pytest.raises(BrokenImageError, match=r"_aB-1\.png"):
        data.read_annotation(index)
    assert cv2.imwrite(str(path), np.zeros((7, 8, 3), np.uint8) if panoptic else np.zeros((7, 8), np.uint16))
    with pytest.raises(ValueError, match=r"_aB-1\.png is 7×8 \(height×width\), but"):
        data.read_annotation(index)
    path.unlink()
    data.image_path(index).unlink()
    for read in (data.read_annotation, data.read_image):
        with pytest.raises(BrokenImageError, match=r"_aB-1\.\w+ cannot be opened: No such file"):
            read(index)


def test_vistas_instance_of_unknown_label_raises_error_with_value_and_label(tmp_path: Path) -> None:
    write_vistas(tmp_path, panoptic=False)
    data = open_data_set(tmp_path, "training")
    assert cv2.imwrite(str(data.annotation_path(0)), np.full((6, 8), 6 * 256 + 3, np.uint16))
    with pytest.raises(ValueError, match=r"the value 1539 of label 6, but .*config_v1\.2\.json has only 6 labels"):
        data.read_annotation(0)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(8)])
def test_vistas_instance_file_that_is_not_a_png_raises_error_naming_it(content: bytes, tmp_path: Path) -> None:
    write_vistas(tmp_path, panoptic=False)
    (tmp_path / "training" / "v1.2" / "instances" / "Zz9.png").write_bytes(content)
    with pytest.raises(BrokenImageError, match=r"Zz9\.png is (not a PNG|a PNG file without pixels)"):
        open_data_set(tmp_path, "training")


def test_vistas_folder_without_instance_pngs_raises_error(tmp_path: Path) -> None:
    write_vistas(tmp_path, panoptic=False)
    shutil.rmtree(tmp_path / "training" / "v1.2" / "instances")
    (tmp_path / "training" / "v1.2" / "instances").mkdir()
    assert "contains no instance PNGs" in rejection(tmp_path)


@pytest.fixture
def sample(shared: Path, tmp_path: Path) -> Path:
    """Copy the sample and make separators stuff, because all three classes of the sample are things."""
    root = Path(shutil.copytree(shared / "data" / "layouts" / "vistas", tmp_path / "vistas"))
    for path in root.glob("config_*.json"):
        path.chmod(0o644)
        content = json.loads(path.read_text())
        content["labels"][1]["instances"] = False
        path.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("version", ["v1.2", "v2.0"])
def test_vistas_sample_is_read_with_expected_segments(sample: Path, version: str) -> None:
    data = open_data_set(sample, "val", format_name=f"vistas_{version}")
    assert data.categories.names == ("construction--barrier--separator", "animal--bird", "object--vehicle--bicycle")
    assert [category.original_id for category in data.categories.classes] == [10, 1, 100]
    assert [data.image_id(0), data.image_id(1)] == ["0", "1"]
    assert data.sizes == [(5, 5), (5, 5)]
    classes = [sorted(np.unique(class_map(data, index)).tolist()) for index in range(2)]
    assert classes == [[0, 1], [0, 2]]
    first = data.read_annotation(0)
    assert np.bincount(first.ids.ravel()).tolist() == [0, 15, 10]
    assert (first.classes.tolist(), first.crowd.tolist()) == ([255, 1, 0], [False, True, False])
    assert data.read_image(0).shape == (5, 5, 3)
    assert len(open_data_set(sample, "train", format_name=f"vistas_{version}")) == 1


def test_unmodified_vistas_sample_has_only_things(shared: Path) -> None:
    data = open_data_set(shared / "data" / "layouts" / "vistas", "val", format_name="vistas_v1.2")
    assert data.categories.num_stuff == 0
    assert len(data.read_annotation(0).classes) > 1


def test_vistas_swapped_sizes_read_like_correct_ones_with_one_warning(tmp_path: Path) -> None:
    data = write_vistas(tmp_path)
    right = open_data_set(tmp_path, "training")
    path = data.edit(
        "v1.2",
        "training",
        lambda content: [entry.update(height=entry["width"], width=entry["height"]) for entry in content["images"]],
    )
    with pytest.warns(DataWarning) as caught:
        swapped = open_data_set(tmp_path, "training")
    assert len(caught) == 1
    assert str(path) in str(caught[0].message)
    assert swapped.sizes == right.sizes == [(6, 8)] * 2
    for index in range(2):
        assert np.array_equal(swapped.read_image(index), right.read_image(index))
        assert class_map(swapped, index) == class_map(right, index)
    findings = check_data_set(tmp_path, ["training"], num_workers=1).findings
    assert (findings.num_errors, findings.counts["swapped-size"]) == (0, 2)


def test_vistas_image_name_with_a_tab_raises_error_naming_it(tmp_path: Path) -> None:
    write_vistas(tmp_path, panoptic=False)
    path = tmp_path / "training" / "v1.2" / "instances"
    (first, *_) = sorted(path.glob("*.png"))
    first.rename(first.with_name("a\tb.png"))
    assert repr("a\tb") in rejection(tmp_path)


def test_vistas_ignores_leftovers_and_finds_upper_case_suffixes(tmp_path: Path) -> None:
    data = write_vistas(tmp_path / "vistas", versions=("v1.2",))
    folder = data.root / "training/v1.2"
    shutil.rmtree(folder / "panoptic")
    shutil.copytree(data.root / "training", data.root / ".training_backup")
    (folder / "instances/._x.png").write_bytes(b"x")
    before = open_data_set(data.root, "training")
    first = before.annotation_path(0), before.image_path(0)
    for path in first:
        path.rename(path.with_suffix(path.suffix.upper()))
    after = open_data_set(data.root, "train")
    assert [after.image_id(index) for index in range(len(after))] == [before.image_id(0), before.image_id(1)]
    assert (after.annotation_path(0).suffix, after.image_path(0).suffix) == (".PNG", ".JPG")
    assert after.read_image(0).shape[:2] == after.sizes[0]


def test_vistas_with_too_many_labels_raises_error_naming_file_and_number(tmp_path: Path) -> None:
    data = write_vistas(tmp_path / "vistas", versions=("v1.2",))
    config = data.root / "config_v1.2.json"
    content = json.loads(config.read_text())
    content["labels"] += [content["labels"][0] | {"name": f"label--{number}"} for number in range(295)]
    config.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"config_v1\.2\.json: there are 300 categories,.*255"):
        open_data_set(data.root, "training")
