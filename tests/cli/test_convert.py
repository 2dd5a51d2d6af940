"""`seamseg convert`: every source format on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.tiny_dataset import write_tiny_panoptic

from seamseg.cli import convert
from seamseg.data.formats.coco import CocoPanoptic


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    folder = tmp_path / "masks"
    for part in ("images", "classes", "instances"):
        (folder / part).mkdir(parents=True)
    (folder / "classes.yaml").write_text("stuff: {road: 1}\nthings: {car: 2}")
    for name in ("a", "b", "c"):
        cv2.imwrite(str(folder / f"images/{name}.jpg"), np.full((2, 4, 3), 90, np.uint8))
        cv2.imwrite(str(folder / f"classes/{name}.png"), np.array([[1, 1, 2, 2], [1, 0, 2, 1]], np.uint8))
        cv2.imwrite(str(folder / f"instances/{name}.png"), np.full((2, 4), 5, np.uint8))
    return folder


def test_convert_masks_twice_converts_only_once(command: Any, masks: Path, tmp_path: Path) -> None:
    arguments = ("convert", "masks", masks, tmp_path / "out", "--val-every", 3, "--images", "copy")
    code, out, err = command(*arguments)
    train, val = (tmp_path / f"out/annotations/panoptic_{split}.json" for split in ("train", "val"))
    assert (code, out) == (0, f"train: 2 images: {train}\nval: 1 image: {val}\n")
    assert "2/2" in err
    assert not (tmp_path / "out/images/train/a.jpg").is_symlink()
    assert len(CocoPanoptic(tmp_path / "out", "val")) == 1
    code, out, _ = command(*arguments)
    assert code == 0
    assert out.splitlines()[0] == f"train: already complete: {train} (pass --overwrite to convert it again)"
    code, out, _ = command(*arguments, "--overwrite", "--workers", 1)
    assert (code, out.splitlines()[1]) == (0, f"val: 1 image: {val}")


def test_convert_broken_images_are_listed(command: Any, masks: Path, tmp_path: Path) -> None:
    for name in ("a", "c"):
        (masks / f"classes/{name}.png").write_bytes(b"")
    code, _, err = command("convert", "masks", masks, tmp_path / "out")
    assert code == 2
    assert err.count("not converted: ") == 2
    assert "seamseg: 2 images cannot be converted" in err
    assert not (tmp_path / "out/annotations/panoptic_train.json").exists()


def test_convert_panoptic_to_detection_and_semantic(command: Any, data: Path, tmp_path: Path) -> None:
    assert command("convert", "to-detection", data, tmp_path / "out", "--with-stuff").code == 0
    assert command("convert", "to-semantic", data, tmp_path / "out", "--split", "val").code == 0
    names = sorted(path.name for path in (tmp_path / "out/annotations").iterdir())
    assert names == ["instances_train.json", "instances_val.json", "semantic_val", "semantic_val.json"]
    content = json.loads((tmp_path / "out/annotations/instances_val.json").read_text())
    assert len(content["categories"]) == 4


def test_convert_to_detection_and_back_keeps_the_classes(command: Any, data: Path, tmp_path: Path) -> None:
    command("convert", "to-detection", data, tmp_path / "det", "--with-stuff", "--split", "val")
    result = command(
        "convert", "detection", tmp_path / "det/annotations/instances_val.json", data / "images/val", tmp_path / "out",
        "--split", "again",
    )  # fmt: skip
    assert result.code == 0
    before, after = CocoPanoptic(data, "val"), CocoPanoptic(tmp_path / "out", "again")
    for index in range(len(before)):
        one, other = before.read_annotation(index), after.read_annotation(index)
        assert (one.classes[one.ids] == other.classes[other.ids]).all()


@pytest.mark.parametrize("source", ["cityscapes_16bit", "cityscapes_panoptic"])
def test_convert_cityscapes_result_passes_the_check(command: Any, shared: Path, tmp_path: Path, source: str) -> None:
    code, out, _ = command("convert", "cityscapes", shared / "data/layouts" / source, tmp_path / "out")
    assert code == 0
    assert "1 image" in out
    assert command("check", tmp_path / "out").code == 0


@pytest.mark.parametrize("source", [source.name for source in convert.SOURCE_FORMATS])
def test_convert_help_lists_arguments_of_each_format(command: Any, source: str) -> None:
    code, out, _ = command("convert", source, "--help")
    assert code == 0
    assert "--workers" in out


def test_convert_invalid_arguments_are_refused(refuses: Callable[..., str], tmp_path: Path, data: Path) -> None:
    assert "gtFine" in refuses("convert", "cityscapes", tmp_path, tmp_path / "out")
    assert "does not exist" in refuses("convert", "masks", tmp_path, tmp_path / "out")
    assert "no split matching 'test'" in refuses("convert", "to-semantic", data, tmp_path / "out", "--split", "test")
    (tmp_path / "values.yaml").write_text("a: b")
    arguments = ("convert", "detection", tmp_path / "x.json", tmp_path, tmp_path / "out", "--split", "a")
    assert "must contain lines of two integers" in refuses(*arguments, "--stuff-values", tmp_path / "values.yaml")
    (tmp_path / "values.yaml").write_text("1: 5\n2: 6\n1: 7\n")
    message = refuses(*arguments, "--stuff-values", tmp_path / "values.yaml")
    assert "values.yaml: 1 is given twice, on lines 1 and 3" in message


def test_convert_swapped_sizes_gives_one_warning(command: Any, tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path / "data", num_images=3)
    sizes = {100 + number: ids.shape for number, ids in enumerate(tiny.ids)}
    tiny.edit_json(
        lambda content: [entry.update(height=entry["width"], width=entry["height"]) for entry in content["images"]]
    )
    for kind in ("to-detection", "to-semantic"):
        code, _, err = command("convert", kind, tiny.folder, tmp_path / kind)
        assert code == 0
        (line,) = (line for line in err.splitlines() if "warning" in line)
        assert str(tiny.json_file) in line
    content = json.loads((tmp_path / "to-detection/annotations/instances_train.json").read_text())
    assert {entry["id"]: (entry["height"], entry["width"]) for entry in content["images"]} == sizes


def test_convert_objects_without_outline_are_counted(command: Any, data: Path, tmp_path: Path) -> None:
    command("convert", "to-detection", data, tmp_path / "det", "--with-stuff", "--split", "val")
    file = tmp_path / "det/annotations/instances_val.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = []
    file.write_text(json.dumps(content))
    arguments = ("convert", "detection", file, data / "images/val", tmp_path / "out", "--split")
    code, _, err = command(*arguments, "a")
    assert code == 2
    for fact in ("instances_val.json", "annotation 1 of image", "list is empty", "--without-outline"):
        assert fact in err
    assert "1 object without an outline left out" in command(*arguments, "b", "--without-outline", "skip").out
    assert "1 object without an outline replaced by boxes" in command(*arguments, "c", "--without-outline", "box").out


def test_convert_masks_system_files_are_reported_in_one_line(command: Any, masks: Path, tmp_path: Path) -> None:
    for name in ("images/._a.jpg", "classes/._a.png", "instances/Thumbs.db"):
        (masks / name).write_bytes(b"x")
    code, _, err = command("convert", "masks", masks, tmp_path / "out", "--val-every", 3)
    assert code == 0
    (line,) = [line for line in err.splitlines() if line.startswith("skipped in")]
    assert "3 hidden" in line
