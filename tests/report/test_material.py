"""What a report is made from, with files that say much, little, or wrong things."""

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


def test_a_folder_of_predictions_tells_all(drawn: DrawnPredictions) -> None:
    material = open_material(drawn.predictions, truth_file=drawn.truth)
    assert [image.name for image in material.images] == sorted(NAMES)
    assert [image.image_path for image in material.images] == [drawn.image_paths / name for name in sorted(NAMES)]
    assert {image.name: image.true.image_id for image in material.images} == dict(zip(NAMES, (10, 11, 12), strict=True))
    assert all(image.predicted.image_id == image.true.image_id for image in material.images)
    assert (material.title, material.annotated, material.notes) == ("predicted", True, ())


def test_without_annotation_the_predictions_bring_the_categories(drawn: DrawnPredictions) -> None:
    material = open_material(results(drawn), title="Mine")
    assert material.categories.names == ("sky", "road", "car", "person", "unseen")
    assert (material.title, material.annotated, material.pairs()) == ("Mine", False, [])


def test_bare_results_find_their_images(drawn: DrawnPredictions) -> None:
    """Results of other programs are often lists of annotations and nothing else."""
    content = json.loads(results(drawn).read_text())
    for entry in content["annotations"]:
        entry["image_id"] -= 1
    results(drawn).write_text(json.dumps({"annotations": content["annotations"]}))
    by_truth = open_material(drawn.predictions, drawn.image_paths, drawn.truth)
    assert [image.name for image in by_truth.images] == sorted(NAMES)
    drawn.edit(drawn.truth, lambda truth: truth.pop("images"))
    for number, name in enumerate(NAMES):
        (drawn.image_paths / name).rename(drawn.image_paths / f"{number:03}.JPG")
    by_png = open_material(drawn.predictions, drawn.image_paths, drawn.truth)
    assert [image.name for image in by_png.images] == ["000.JPG", "001.JPG", "002.JPG"]


@pytest.fixture
def two_folders(drawn: DrawnPredictions) -> DrawnPredictions:
    """Bare results for a/same.jpg, b/same.jpg and other.jpg, with the PNGs in the same folders."""
    pngs = ("a/same.png", "b/same.png", "other.png")
    for folder in (results(drawn).with_suffix(""), drawn.image_paths):
        for name in ("a", "b"):
            (folder / name).mkdir()
    content = json.loads(results(drawn).read_text())
    for entry, image_path, png in zip(content["annotations"], NAMES, pngs, strict=True):
        (results(drawn).with_suffix("") / entry["file_name"]).rename(results(drawn).with_suffix("") / png)
        (drawn.image_paths / image_path).rename((drawn.image_paths / png).with_suffix(".jpg"))
        entry["file_name"] = png
    bare = {"annotations": content["annotations"], "categories": content["categories"]}
    results(drawn).write_text(json.dumps(bare))
    return drawn


def test_images_without_names_in_two_folders_are_told_apart(two_folders: DrawnPredictions) -> None:
    image_paths = two_folders.image_paths
    shown = open_material(two_folders.predictions, image_paths).images
    assert [image.name for image in shown] == ["a/same.jpg", "b/same.jpg", "other.jpg"]
    assert [image.image_path for image in shown] == [image_paths / image.name for image in shown]
    deeper = image_paths.parent / "deeper" / "val"
    deeper.parent.mkdir()
    image_paths.rename(deeper)
    shown = open_material(two_folders.predictions, deeper.parent).images
    assert [image.name for image in shown] == ["val/a/same.jpg", "val/b/same.jpg", "val/other.jpg"]


def test_images_without_names_that_fit_one_png_are_refused(two_folders: DrawnPredictions) -> None:
    two_folders.edit(results(two_folders), lambda content: content["annotations"][0].update(file_name="same.png"))
    pngs = results(two_folders).with_suffix("")
    (pngs / "a" / "same.png").rename(pngs / "same.png")
    with pytest.raises(ValueError, match=r"same\.png could be of a/same\.jpg or of b/same\.jpg in .*--images"):
        open_material(two_folders.predictions, two_folders.image_paths)
    (two_folders.image_paths / "same.jpg").write_bytes((two_folders.image_paths / "other.jpg").read_bytes())
    shown = open_material(two_folders.predictions, two_folders.image_paths).images
    assert {image.name for image in shown} == {"same.jpg", "b/same.jpg", "other.jpg"}, "the same folder is best"


def test_images_without_names_with_two_suffixes_are_refused(two_folders: DrawnPredictions) -> None:
    (two_folders.image_paths / "other.png").write_bytes((two_folders.image_paths / "other.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"could be of other\.jpg or of other\.png"):
        open_material(two_folders.predictions, two_folders.image_paths)


def test_images_beside_the_annotation(drawn: DrawnPredictions, tmp_path: Path) -> None:
    drawn.edit(results(drawn), lambda content: content.pop("info"))
    folder = tmp_path / "coco" / "annotations"
    folder.mkdir(parents=True)
    truth = drawn.truth.rename(folder / "panoptic_val.json")
    drawn.truth.with_suffix("").rename(folder / "panoptic_val")
    with pytest.raises(ValueError, match=r"does not say where its images are; name .* with --images"):
        open_material(drawn.predictions, truth_file=truth)
    (tmp_path / "coco" / "images").mkdir()
    image_paths = drawn.image_paths.rename(tmp_path / "coco" / "images" / "val")
    assert open_material(drawn.predictions, truth_file=truth).images[0].image_path.parent == image_paths


def test_what_is_left_out_is_told(drawn: DrawnPredictions) -> None:
    drawn.edit(drawn.truth, lambda content: content["annotations"].pop(0))
    drawn.edit(results(drawn), lambda content: content["annotations"].pop(1))
    drawn.edit(results(drawn), lambda content: content["categories"][0].update(name="heaven"))
    material = open_material(drawn.predictions, truth_file=drawn.truth)
    assert material.notes[:2] == (
        "1 of 2 annotated images have no prediction; they do not count",
        "1 of 2 predicted images are not annotated; they have no scores",
    )
    assert len(material.notes) == 3
    assert "7 is 'heaven', not 'sky'" in material.notes[2]
    assert str(drawn.predictions) not in material.notes[2], "pages do not tell of folders"
    assert [image.true is None for image in material.images] == [False, True]


def test_missing_images(drawn: DrawnPredictions, tmp_path: Path) -> None:
    (drawn.image_paths / "empty.jpg").unlink()
    there = [image.image_path.is_file() for image in open_material(drawn.predictions).images]
    assert sorted(there) == [False, True, True]
    for path in drawn.image_paths.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"none of 3 images is in .*, such as .*\.jpg; .* --images"):
        open_material(drawn.predictions)
    drawn.edit(results(drawn), lambda content: content["info"].update(image_folder="/nowhere"))
    with pytest.raises(ValueError, match="says that its images are in /nowhere, which does not exist"):
        open_material(drawn.predictions)
    with pytest.raises(ValueError, match=r"there is no folder .*none with images"):
        open_material(drawn.predictions, tmp_path / "none")


def test_files_of_another_kind(drawn: DrawnPredictions, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no panoptic\.json; give a folder that `seamseg predict` wrote"):
        open_material(drawn.image_paths)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        open_material(tmp_path / "broken.json")
    with pytest.raises(FileNotFoundError):
        open_material(tmp_path / "none.json")
    drawn.edit(results(drawn), lambda content: content["annotations"][0]["segments_info"][0].update(category_id=99))
    with pytest.raises(ValueError, match="category_id 99 is not among the categories"):
        open_material(drawn.predictions, truth_file=drawn.truth)


def test_sizes_that_the_annotation_has_swapped_play_no_part(drawn: DrawnPredictions, tmp_path: Path) -> None:
    write_report(open_material(drawn.predictions, truth_file=drawn.truth), tmp_path / "right")
    drawn.edit(
        drawn.truth,
        lambda truth: [one.update(height=one.get("width"), width=one.get("height")) for one in truth["images"]],
    )
    assert write_report(open_material(drawn.predictions, truth_file=drawn.truth), tmp_path / "swapped") == []
    pages = [(tmp_path / name / "data" / "index.js").read_text() for name in ("right", "swapped")]
    assert pages[0] == pages[1]


def test_images_of_a_list_from_several_folders_are_found(drawn: DrawnPredictions) -> None:
    """As `seamseg predict` names them: relative to a folder above all of them."""

    def lift(content: dict[str, Any]) -> None:
        content["info"]["image_folder"] = str(drawn.image_paths.parent)
        for entry in content["images"]:
            entry["file_name"] = f"{drawn.image_paths.name}/{entry['file_name']}"

    drawn.edit(results(drawn), lift)
    material = open_material(drawn.predictions, truth_file=drawn.truth)
    assert [image.image_path for image in material.images] == [drawn.image_paths / name for name in sorted(NAMES)]


def test_bare_results_do_not_find_leftovers_of_systems(drawn: DrawnPredictions) -> None:
    content = json.loads(results(drawn).read_text())
    drawn.edit(drawn.truth, lambda truth: truth.pop("images"))
    for entry in content["annotations"]:
        entry["image_id"] -= 1
    results(drawn).write_text(json.dumps({"annotations": content["annotations"]}))
    (drawn.image_paths / "zz/.ipynb_checkpoints").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (drawn.image_paths / name).rename(drawn.image_paths / f"{number:03}.jfif")
        (drawn.image_paths / f"zz/.ipynb_checkpoints/{number:03}.jpg").write_bytes(b"x")
    found = open_material(drawn.predictions, drawn.image_paths, drawn.truth)
    assert [image.name for image in found.images] == ["000.jfif", "001.jfif", "002.jfif"]


def test_images_whose_own_names_hold_backslashes_are_found(drawn: DrawnPredictions) -> None:
    drawn.edit(results(drawn), lambda content: content["images"][0].update(file_name=f"sub\\{NAMES[0]}"))
    (drawn.image_paths / NAMES[0]).rename(drawn.image_paths / f"sub\\{NAMES[0]}")
    material = open_material(drawn.predictions)
    found = {image.name: image.image_path for image in material.images}
    assert found[f"sub/{NAMES[0]}"] == drawn.image_paths / f"sub\\{NAMES[0]}"
