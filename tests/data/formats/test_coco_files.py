"""Locations of the files of a COCO panoptic data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamseg.data.formats.coco_files import annotation_files, choose_folder, find_split


def make_annotations(root: Path, *names: str) -> Path:
    (root / "annotations").mkdir(parents=True)
    for name in names:
        (root / "annotations" / name).touch()
    return root


def test_find_split_accepts_a_unique_prefix(tmp_path: Path) -> None:
    root = make_annotations(tmp_path, "panoptic_train2017.json", "panoptic_val2017.json", "instances_train.json")
    (root / "annotations/panoptic_train2017").mkdir()
    assert find_split(root, "train").name == "panoptic_train2017.json"
    assert find_split(root, "val2017").name == "panoptic_val2017.json"


def test_find_split_prefers_the_exact_name(tmp_path: Path) -> None:
    root = make_annotations(tmp_path, "panoptic_train.json", "panoptic_train2017.json", "panoptic_train_mini.json")
    assert find_split(root, "train").name == "panoptic_train.json"
    assert find_split(root, "train2").name == "panoptic_train2017.json"


@pytest.mark.parametrize(("split", "fact"), [("test", "no split .*'test'"), ("tr", "several splits .*'tr'")])
def test_find_split_without_unique_match_raises_error_listing_the_splits(tmp_path: Path, split: str, fact: str) -> None:
    root = make_annotations(tmp_path, "panoptic_train2014.json", "panoptic_train2017.json", "panoptic_val.json")
    with pytest.raises(ValueError, match=fact) as caught:
        find_split(root, split)
    assert "its splits are train2014, train2017, val" in str(caught.value)
    assert str(root) in str(caught.value)


def test_find_split_without_folder_or_annotations_raises_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data set folder .*nowhere does not exist"):
        find_split(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="contains no annotations"):
        find_split(tmp_path, "train")
    with pytest.raises(ValueError, match="contains no annotations"):
        find_split(make_annotations(tmp_path / "other", "instances_train.json"), "train")


def test_choose_folder_returns_the_first_folder_with_a_named_file(tmp_path: Path) -> None:
    candidates = [tmp_path / "missing", tmp_path / "empty", tmp_path / "full", tmp_path / "later"]
    for folder in candidates[1:]:
        folder.mkdir()
    for folder in candidates[2:]:
        (folder / "b.png").touch()
    assert choose_folder(candidates, iter(["a.png", "b.png"]), "images") == tmp_path / "full"
    with pytest.raises(ValueError, match=r"none of the 2 images \(such as c.png\) was found; looked in .*missing, "):
        choose_folder(candidates, ["c.png", "d.png"], "images")


def test_annotation_files_include_upper_case_suffixes(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for name in ("panoptic_train.JSON", "._panoptic_val.json", "panoptic_val.txt"):
        (tmp_path / "annotations" / name).touch()
    assert annotation_files(tmp_path) == {"train": tmp_path / "annotations/panoptic_train.JSON"}
