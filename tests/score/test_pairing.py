"""Pairing of results with annotated images, by name or by id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seamseg.data.formats.coco_json import image_names
from seamseg.score.pairing import pair_images, select_images

FILES = Path("results.json"), Path("truth.json")


@pytest.mark.parametrize(
    ("results", "truth", "expected"),
    [
        ({1: "a.jpg", 2: "b.jpg"}, {2: "a.jpg", 1: "b.jpg", 3: "c.jpg"}, {1: 2, 2: 1}),  # by names, not by ids
        ({1: "val/a.jpg", 2: "val/z.jpg"}, {7: "a.jpg", 8: "b.jpg"}, {1: 7}),  # by file names
        (
            {1: "x/a.jpg", 2: "y/a.jpg", 3: "x/b.jpg"},
            {7: "a.jpg", 8: "b.jpg"},
            {3: 8},
        ),  # by file names only where they are unique
        ({"s": None, 5: None}, {5: "a.jpg", "s": "b.jpg"}, {"s": "s", 5: 5}),  # by ids if names are not known
    ],
)
def test_pair_images_with_names_or_ids_finds_the_pairs(results: dict, truth: dict, expected: dict) -> None:
    assert pair_images(results, truth, *FILES) == expected


def test_pair_images_without_any_pair_raises() -> None:
    with pytest.raises(
        ValueError, match=r"no image of results\.json .* truth\.json: .* different names, .* a\.jpg and b"
    ):
        pair_images({1: "a.jpg"}, {1: "b.jpg"}, *FILES)
    with pytest.raises(ValueError, match=r"image_ids differ, .* 1 and 2"):
        pair_images({1: None}, {2: None}, *FILES)


def test_pair_images_with_two_results_of_one_image_raises() -> None:
    with pytest.raises(ValueError, match=r"two results for image 1 .*a\.jpg"):
        pair_images({1: "a.jpg", 2: "a.jpg"}, {1: "a.jpg"}, *FILES)


def test_image_names_of_missing_or_invalid_entries_are_empty_or_raise() -> None:
    assert image_names({}, FILES[0]) == {}
    with pytest.raises(ValueError, match="'file_name' is missing"):
        image_names({"images": [{"id": 1}]}, FILES[0])
    with pytest.raises(ValueError, match="file names must be relative"):
        image_names({"images": [{"id": 1, "file_name": "../a"}]}, FILES[0])
    with pytest.raises(ValueError, match=r"results\.json has two images with id 1"):
        image_names({"images": [{"id": 1, "file_name": "a"}] * 2}, FILES[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b/x.jpg\n\n a.jpg \n", [1, 2]),
        ("y\nz.jpg\n", [3, 4]),  # by unique names without folder or suffix
        ("3\n", [3]),
    ],
)
def test_select_images_by_name_or_id_keeps_the_order_of_the_annotation(
    tmp_path: Path, text: str, expected: list[int]
) -> None:
    (tmp_path / "list.txt").write_text(text)
    names = {1: "a.jpg", 2: "b/x.jpg", 3: "b/y.png", 4: "c/z.jpg", 5: "c/x.jpg"}
    assert select_images(names, tmp_path / "list.txt", FILES[1]) == expected


@pytest.mark.parametrize(("text", "fact"), [("x.jpg\n", "x.jpg"), ("none\n", "none"), ("\n", "no images")])
def test_select_images_of_ambiguous_unknown_or_no_names_raises(tmp_path: Path, text: str, fact: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=fact):
        select_images({2: "b/x.jpg", 5: "c/x.jpg"}, tmp_path / "list.txt", FILES[1])


def test_select_images_of_a_json_file(tmp_path: Path) -> None:
    images = [{"id": 9, "file_name": "a.jpg", "height": 1, "width": 1}]
    (tmp_path / "list.json").write_text(json.dumps({"images": images}))
    assert select_images({1: "a.jpg", 9: "b.jpg"}, tmp_path / "list.json", FILES[1]) == [1]
