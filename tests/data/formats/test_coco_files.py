"""Where the files of a COCO panoptic data set lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamseg.data.formats.coco_files import annotation_files, choose_folder, find_split


def make(root: Path, *names: str) -> Path:
    (root / "annotations").mkdir(parents=True)
    for name in names:
        (root / "annotations" / name).touch()
    return root


def test_a_split_is_the_only_file_that_begins_with_it(tmp_path: Path) -> None:
    root = make(tmp_path, "panoptic_train2017.json", "panoptic_val2017.json", "instances_train.json")
    (root / "annotations/panoptic_train2017").mkdir()
    assert find_split(root, "train").name == "panoptic_train2017.json"
    assert find_split(root, "val2017").name == "panoptic_val2017.json"


def test_the_exact_name_wins(tmp_path: Path) -> None:
    root = make(tmp_path, "panoptic_train.json", "panoptic_train2017.json", "panoptic_train_mini.json")
    assert find_split(root, "train").name == "panoptic_train.json"
    assert find_split(root, "train2").name == "panoptic_train2017.json"


@pytest.mark.parametrize(("split", "said"), [("test", "no split named 'test'"), ("tr", "several splits named 'tr'")])
def test_none_or_several_is_an_error_that_lists_the_splits(tmp_path: Path, split: str, said: str) -> None:
    root = make(tmp_path, "panoptic_train2014.json", "panoptic_train2017.json", "panoptic_val.json")
    with pytest.raises(ValueError, match=said) as caught:
        find_split(root, split)
    assert "its splits are train2014, train2017, val" in str(caught.value)
    assert str(root) in str(caught.value)


def test_without_annotations_or_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data set folder .*nowhere does not exist"):
        find_split(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="holds no annotations"):
        find_split(tmp_path, "train")
    with pytest.raises(ValueError, match="holds no annotations"):
        find_split(make(tmp_path / "other", "instances_train.json"), "train")


def test_the_first_folder_that_holds_a_file_is_chosen(tmp_path: Path) -> None:
    candidates = [tmp_path / "missing", tmp_path / "empty", tmp_path / "full", tmp_path / "later"]
    for folder in candidates[1:]:
        folder.mkdir()
    for folder in candidates[2:]:
        (folder / "b.png").touch()
    assert choose_folder(candidates, iter(["a.png", "b.png"]), "images") == tmp_path / "full"
    with pytest.raises(ValueError, match=r"none of the 2 images \(such as c.png\) is found; looked in .*missing, "):
        choose_folder(candidates, ["c.png", "d.png"], "images")


def test_an_annotation_file_with_a_suffix_in_upper_case_is_found(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for name in ("panoptic_train.JSON", "._panoptic_val.json", "panoptic_val.txt"):
        (tmp_path / "annotations" / name).touch()
    assert annotation_files(tmp_path) == {"train": tmp_path / "annotations/panoptic_train.JSON"}
