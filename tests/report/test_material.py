"""Material of a report, from complete, incomplete and wrong files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.drawn_predictions import NAMES, DrawnPredictions, write_drawn_predictions

from seamseg.report import open_material, write_report


@pytest.fixture
def drawn(tmp_path: Path) -> DrawnPredictions:
    return write_drawn_predictions(tmp_path)


def results(drawn: DrawnPredictions) -> Path:
    return drawn.predictions / "panoptic.json"


def test_open_material_of_a_predictions_folder_finds_images_and_truth(drawn: DrawnPredictions) -> None:
    material = open_material(drawn.predictions, truth_file=drawn.truth)
    assert [image.name for image in material.images] == sorted(NAMES)
    assert [image.image_path for image in material.images] == [drawn.image_folder / name for name in sorted(NAMES)]
    assert {image.name: image.true.image_id for image in material.images} == dict(zip(NAMES, (10, 11, 12), strict=True))
    assert all(image.predicted.image_id == image.true.image_id for image in material.images)
    assert (material.title, material.annotated, material.notes) == ("predicted", True, ())


def test_open_material_without_annotation_uses_the_categories_of_the_predictions(drawn: DrawnPredictions) -> None:
    material = open_material(results(drawn), title="Mine")
    assert material.categories.names == ("sky", "road", "car", "person", "unseen")
    assert (material.title, material.annotated, material.pairs()) == ("Mine", False, [])


def test_open_material_of_bare_results_finds_images_by_truth_or_png(drawn: DrawnPredictions) -> None:
    """Results of other programs often contain only annotations."""
    content = json.loads(results(drawn).read_text())
    for entry in content["annotations"]:
        entry["image_id"] -= 1
    results(drawn).write_text(json.dumps({"annotations": content["annotations"]}))
    by_truth = open_material(drawn.predictions, drawn.image_folder, drawn.truth)
    assert [image.name for image in by_truth.images] == sorted(NAMES)
    drawn.edit(drawn.truth, lambda truth: truth.pop("images"))
    for number, name in enumerate(NAMES):
        (drawn.image_folder / name).rename(drawn.image_folder / f"{number:03}.JPG")
    by_png = open_material(drawn.predictions, drawn.image_folder, drawn.truth)
    assert [image.name for image in by_png.images] == ["000.JPG", "001.JPG", "002.JPG"]


@pytest.fixture
def two_folders(drawn: DrawnPredictions) -> DrawnPredictions:
    """Results without names for a/same.jpg, b/same.jpg and other.jpg, with PNGs in folders of the same names."""
    pngs = ("a/same.png", "b/same.png", "other.png")
    for folder in (results(drawn).with_suffix(""), drawn.image_folder):
        for name in ("a", "b"):
            (folder / name).mkdir()
    content = json.loads(results(drawn).read_text())
    for entry, image_path, png in zip(content["annotations"], NAMES, pngs, strict=True):
        (results(drawn).with_suffix("") / entry["file_name"]).rename(results(drawn).with_suffix("") / png)
        (drawn.image_folder / image_path).rename((drawn.image_folder / png).with_suffix(".jpg"))
        entry["file_name"] = png
    bare = {"annotations": content["annotations"], "categories": content["categories"]}
    results(drawn).write_text(json.dumps(bare))
    return drawn


def test_images_without_names_in_two_folders_are_matched_by_folder(two_folders: DrawnPredictions) -> None:
    image_folder = two_folders.image_folder
    shown = open_material(two_folders.predictions, image_folder).images
    assert [image.name for image in shown] == ["a/same.jpg", "b/same.jpg", "other.jpg"]
    assert [image.image_path for image in shown] == [image_folder / image.name for image in shown]
    deeper = image_folder.parent / "deeper" / "val"
    deeper.parent.mkdir()
    image_folder.rename(deeper)
    shown = open_material(two_folders.predictions, deeper.parent).images
    assert [image.name for image in shown] == ["val/a/same.jpg", "val/b/same.jpg", "val/other.jpg"]


def test_images_without_names_that_match_one_png_raise(two_folders: DrawnPredictions) -> None:
    two_folders.edit(results(two_folders), lambda content: content["annotations"][0].update(file_name="same.png"))
    pngs = results(two_folders).with_suffix("")
    (pngs / "a" / "same.png").rename(pngs / "same.png")
    with pytest.raises(ValueError, match=r"both a/same\.jpg and b/same\.jpg in .* match same\.png.*--images"):
        open_material(two_folders.predictions, two_folders.image_folder)
    (two_folders.image_folder / "same.jpg").write_bytes((two_folders.image_folder / "other.jpg").read_bytes())
    shown = open_material(two_folders.predictions, two_folders.image_folder).images
    assert {image.name for image in shown} == {"same.jpg", "b/same.jpg", "other.jpg"}, (
        "an image in the same folder must win"
    )


def test_images_without_names_with_two_suffixes_raise(two_folders: DrawnPredictions) -> None:
    (two_folders.image_folder / "other.png").write_bytes((two_folders.image_folder / "other.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"both other\.jpg and other\.png"):
        open_material(two_folders.predictions, two_folders.image_folder)


def test_image_folder_in_coco_layout_is_found_next_to_the_annotation(drawn: DrawnPredictions, tmp_path: Path) -> None:
    drawn.edit(results(drawn), lambda content: content.pop("info"))
    folder = tmp_path / "coco" / "annotations"
    folder.mkdir(parents=True)
    truth = drawn.truth.rename(folder / "panoptic_val.json")
    drawn.truth.with_suffix("").rename(folder / "panoptic_val")
    with pytest.raises(ValueError, match=r"panoptic\.json does not name the folder of its images.* --images"):
        open_material(drawn.predictions, truth_file=truth)
    (tmp_path / "coco" / "images").mkdir()
    image_folder = drawn.image_folder.rename(tmp_path / "coco" / "images" / "val")
    assert open_material(drawn.predictions, truth_file=truth).images[0].image_path.parent == image_folder


def test_notes_report_unscored_images_and_other_categories(drawn: DrawnPredictions) -> None:
    drawn.edit(drawn.truth, lambda content: content["annotations"].pop(0))
    drawn.edit(results(drawn), lambda content: content["annotations"].pop(1))
    drawn.edit(results(drawn), lambda content: content["categories"][0].update(name="heaven"))
    material = open_material(drawn.predictions, truth_file=drawn.truth)
    assert material.notes[:2] == (
        "1 of 2 annotated images have no prediction and are not scored",
        "1 of 2 predicted images have no annotation and are not scored",
    )
    assert len(material.notes) == 3
    assert "7 is 'heaven', not 'sky'" in material.notes[2]
    assert str(drawn.predictions) not in material.notes[2], "a page must not reveal local folders"
    assert [image.true is None for image in material.images] == [False, True]


def test_open_material_with_missing_images_raises_only_if_all_are_missing(
    drawn: DrawnPredictions, tmp_path: Path
) -> None:
    (drawn.image_folder / "empty.jpg").unlink()
    there = [image.image_path.is_file() for image in open_material(drawn.predictions).images]
    assert sorted(there) == [False, True, True]
    for path in drawn.image_folder.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"none of the 3 images are in .*\.jpg; .* --images"):
        open_material(drawn.predictions)
    drawn.edit(results(drawn), lambda content: content["info"].update(image_folder="/nowhere"))
    with pytest.raises(ValueError, match=r"panoptic\.json, /nowhere, does not exist"):
        open_material(drawn.predictions)
    with pytest.raises(ValueError, match=r"none, does not exist; .*--images"):
        open_material(drawn.predictions, tmp_path / "none")


def test_open_material_of_wrong_files_raises(drawn: DrawnPredictions, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no panoptic\.json; .*`seamseg predict .*`"):
        open_material(drawn.image_folder)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        open_material(tmp_path / "broken.json")
    with pytest.raises(FileNotFoundError):
        open_material(tmp_path / "none.json")
    drawn.edit(results(drawn), lambda content: content["annotations"][0]["segments_info"][0].update(category_id=99))
    with pytest.raises(ValueError, match="category_id 99 is not among the categories"):
        open_material(drawn.predictions, truth_file=drawn.truth)


def test_report_with_swapped_sizes_in_the_annotation_is_unchanged(drawn: DrawnPredictions, tmp_path: Path) -> None:
    write_report(open_material(drawn.predictions, truth_file=drawn.truth), tmp_path / "right")
    drawn.edit(
        drawn.truth,
        lambda truth: [one.update(height=one.get("width"), width=one.get("height")) for one in truth["images"]],
    )
    assert write_report(open_material(drawn.predictions, truth_file=drawn.truth), tmp_path / "swapped") == []
    pages = [(tmp_path / name / "data" / "index.js").read_text() for name in ("right", "swapped")]
    assert pages[0] == pages[1]


def test_images_named_relative_to_a_common_folder_are_found(drawn: DrawnPredictions) -> None:
    """`seamseg predict` names images of a list relative to the nearest folder that holds them all."""

    def lift(content: dict[str, Any]) -> None:
        content["info"]["image_folder"] = str(drawn.image_folder.parent)
        for entry in content["images"]:
            entry["file_name"] = f"{drawn.image_folder.name}/{entry['file_name']}"

    drawn.edit(results(drawn), lift)
    material = open_material(drawn.predictions, truth_file=drawn.truth)
    assert [image.image_path for image in material.images] == [drawn.image_folder / name for name in sorted(NAMES)]


def test_open_material_of_bare_results_ignores_hidden_folders(drawn: DrawnPredictions) -> None:
    content = json.loads(results(drawn).read_text())
    drawn.edit(drawn.truth, lambda truth: truth.pop("images"))
    for entry in content["annotations"]:
        entry["image_id"] -= 1
    results(drawn).write_text(json.dumps({"annotations": content["annotations"]}))
    (drawn.image_folder / "zz/.ipynb_checkpoints").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (drawn.image_folder / name).rename(drawn.image_folder / f"{number:03}.jfif")
        (drawn.image_folder / f"zz/.ipynb_checkpoints/{number:03}.jpg").write_bytes(b"x")
    found = open_material(drawn.predictions, drawn.image_folder, drawn.truth)
    assert [image.name for image in found.images] == ["000.jfif", "001.jfif", "002.jfif"]


def test_images_with_backslashes_in_their_names_are_found(drawn: DrawnPredictions) -> None:
    drawn.edit(results(drawn), lambda content: content["images"][0].update(file_name=f"sub\\{NAMES[0]}"))
    (drawn.image_folder / NAMES[0]).rename(drawn.image_folder / f"sub\\{NAMES[0]}")
    material = open_material(drawn.predictions)
    found = {image.name: image.image_path for image in material.images}
    assert found[f"sub/{NAMES[0]}"] == drawn.image_folder / f"sub\\{NAMES[0]}"
