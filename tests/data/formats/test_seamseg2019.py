"""Synthetic data sets in the format of the published seamseg."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
from support.legacy_folder import CLASS_MAP, META, write_legacy
from support.malicious import Malicious

from seamseg.data.formats.annotated_dataset import ListsClasses, PanopticDataset
from seamseg.data.formats.open import open_data_set
from seamseg.data.formats.seamseg2019 import legacy_splits
from seamseg.errors import BrokenImageError


def class_map(data: PanopticDataset, index: int) -> list[list[int]]:
    annotation = data.read_annotation(index)
    return annotation.classes[annotation.ids].tolist()


def test_legacy_data_set_is_read_as_written(tmp_path: Path) -> None:
    data = open_data_set(write_legacy(tmp_path), "train")
    assert [data.image_id(index) for index in range(len(data))] == ["b_000000_000019", "c"], "as in metadata.bin"
    assert data.sizes == [(3, 4), (3, 4)]
    assert (data.categories.names, data.categories.num_stuff) == (("road", "sky", "car", "bird"), 2)
    assert [category.original_id for category in data.categories.classes] == [7, 23, 26, 1]
    assert data.categories.colors[2] == (7, 8, 255)
    for index in range(2):
        assert class_map(data, index) == CLASS_MAP
        annotation = data.read_annotation(index)
        assert len(annotation.classes) == 5, "the void segment and the bird are dropped"
        assert annotation.crowd[annotation.ids].tolist() == [[False] * 4, [False] * 4, [False, False, True, True]]
        assert abs(data.read_image(index).astype(int) - (200, 20, 10)).max() < 4
        assert isinstance(data, ListsClasses)
        assert data.listed_classes(index) == [1, 0, 2, 3], "without the crowd"
    assert data.image_path(1).name == "c.jpg"


def test_legacy_split_contains_the_listed_images(tmp_path: Path) -> None:
    write_legacy(tmp_path)
    assert [open_data_set(tmp_path, "val").image_id(0)] == ["a"]
    assert len(open_data_set(tmp_path, "train", 1)) == 1
    with pytest.raises(ValueError, match=r"has no split .*'test'\*; its splits are train, val"):
        open_data_set(tmp_path, "test")


def rejection(root: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared by the caller)
        open_data_set(root, "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


BAD_IMAGES: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "way out": (lambda images: images[0].update(id="../b"), "image 0: 'id' is '../b', but file names must be relative"),
    "absolute": (lambda images: images[0].update(id="/b"), "image 0: 'id' is '/b'"),
    "number as id": (lambda images: images[0].update(id=3), "'id' is 3, expected str"),
    "no size": (lambda images: images[1].pop("size"), "image 1 (a): the key 'size' is missing"),
    "one number": (lambda images: images[1].update(size=[3]), "'size' is [3], expected height and width"),
    "nothing": (lambda images: images[1].update(size=[0, 4]), "'size' is [0, 4]"),
    "words": (lambda images: images[1].update(cat=[255, "car"]), "'cat' contains 'car', expected integers"),
    "fractions": (lambda images: images[1].update(cat=[255, 1.5]), "'cat' contains 1.5, expected integers"),
    "a class too many": (lambda images: images[1].update(cat=[255, 1, 0, 2, 4, 2, 3]), "class 4, but there are only 4"),
    "a negative class": (lambda images: images[1].update(cat=[255, 1, 0, 2, -1, 2, 3]), "contains class -1"),
    "no void": (lambda images: images[1].update(cat=[0, 1, 0, 2, 1, 2, 3]), "'cat' must begin with 255"),
    "empty": (lambda images: images[1].update(cat=[], iscrowd=[]), "'cat' must begin with 255"),
    "lengths": (lambda images: images[1].update(iscrowd=[0]), "'cat' describes 7 segments, but 'iscrowd' describes 1"),
    "twice": (lambda images: images.append(images[0]), "two images have the id b_000000_000019"),
    "not listed": (lambda images: images.pop(), "train.txt names c, which"),
    "a word": (lambda images: images.append("x"), "image 3: expected a JSON object, found 'x'"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_legacy_data_set_with_wrong_image_entry_raises_error_naming_it(name: str, tmp_path: Path) -> None:
    change, fact = BAD_IMAGES[name]
    assert fact in rejection(write_legacy(tmp_path, change=change))


@pytest.mark.parametrize(
    "meta",
    [
        {},
        5,
        None,
        *({name: value for name, value in META.items() if name != key} for key in META if key != "num_thing"),
        META | {"palette": [[1, 2, 3]]},
        META | {"palette": [[1, 2], [4, 5, 6], [7, 8, 9], [1, 1, 1]]},
        META | {"original_ids": [1, 1, 2, 3]},
        META | {"num_stuff": "many"},
        META | {"categories": ["a", "a", "b", "c"]},
    ],
)
def test_legacy_data_set_with_wrong_meta_raises_error_naming_the_file(meta: Any, tmp_path: Path) -> None:
    assert "metadata.bin cannot be read as seamseg metadata" in rejection(write_legacy(tmp_path, meta))


@pytest.mark.parametrize("num_stuff", [0, 4])
def test_legacy_data_set_may_have_only_things_or_only_stuff(num_stuff: int, tmp_path: Path) -> None:
    data = open_data_set(write_legacy(tmp_path, META | {"num_stuff": num_stuff}), "train")
    assert (data.categories.num_stuff, data.categories.num_things) == (num_stuff, 4 - num_stuff)
    assert len(data.read_annotation(0).classes) > 1


def test_legacy_data_set_without_classes_raises_error(tmp_path: Path) -> None:
    none = {"num_stuff": 0, "num_thing": 0, "categories": [], "palette": [], "original_ids": []}
    assert "has no class" in rejection(write_legacy(tmp_path, META | none))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\xc1",
        b"\x81",
        b"\x91" * 100_000,  # lists in lists
        b"\xdd\xff\xff\xff\xff",  # a list of four billion entries
        b"\xc7\x08\x05whatever",  # an extension type
        b"\x81\xa4meta\xa1\xff",  # not UTF-8
        b"\x81\x90\x01",  # a list as a key
        msgpack.packb([1]),
    ],
)
def test_legacy_data_set_with_damaged_metadata_raises_error_naming_the_file(content: bytes, tmp_path: Path) -> None:
    write_legacy(tmp_path)
    (tmp_path / "metadata.bin").write_bytes(content)
    assert "metadata.bin cannot be read as seamseg metadata" in rejection(tmp_path)


def test_legacy_metadata_cannot_run_code(tmp_path: Path) -> None:
    import pickle

    write_legacy(tmp_path)
    (tmp_path / "metadata.bin").write_bytes(pickle.dumps(Malicious(tmp_path / "owned")))
    rejection(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_legacy_split_with_empty_or_binary_list_raises_error(tmp_path: Path) -> None:
    write_legacy(tmp_path)
    (tmp_path / "lst" / "train.txt").write_text("\n")
    assert "train.txt is empty" in rejection(tmp_path)
    (tmp_path / "lst" / "train.txt").write_bytes(b"\xff\xfe")
    assert "is not a UTF-8 text file" in rejection(tmp_path)


def test_legacy_annotation_with_wrong_mask_raises_error_naming_the_file(tmp_path: Path) -> None:
    data = open_data_set(write_legacy(tmp_path), "val")
    path = data.annotation_path(0)
    (tmp_path / "msk" / "a.png.1").touch()
    with pytest.raises(ValueError, match=r"a\.png has a second layer, a\.png\.1"):
        data.read_annotation(0)
    (tmp_path / "msk" / "a.png.1").unlink()
    for pixels, fact in (
        (np.zeros((3, 4, 3), np.uint8), "is not an 8-bit or 16-bit gray image"),
        (np.zeros((4, 4), np.uint16), r"is 4×4 \(height×width\), but .*metadata.bin says 3×4"),
        (np.full((3, 4), 7, np.uint16), r"contains segment 7, but .*metadata.bin ends at 6"),
    ):
        assert cv2.imwrite(str(path), pixels)
        with pytest.raises(ValueError, match=fact):
            data.read_annotation(0)
    path.unlink()
    data.image_path(0).unlink()
    with pytest.raises(BrokenImageError, match=r"a\.png cannot be opened"):
        data.read_annotation(0)
    with pytest.raises(BrokenImageError, match=r"a\.jpg cannot be opened"):
        data.read_image(0)


def test_legacy_data_set_ignores_leftovers_and_finds_upper_case_suffixes(tmp_path: Path) -> None:
    write_legacy(tmp_path)
    (tmp_path / "lst/._val.txt").write_bytes(b"x")
    (tmp_path / "img/c.jpg").rename(tmp_path / "img/c.JPG")
    (tmp_path / "msk/c.png").rename(tmp_path / "msk/c.PNG")
    data = open_data_set(tmp_path, "train")
    assert (data.image_path(1).name, data.annotation_path(1).name) == ("c.JPG", "c.PNG")
    assert class_map(data, 1) == CLASS_MAP
    assert legacy_splits(tmp_path) == ["train", "val"]


def test_legacy_data_set_with_too_many_classes_raises_error_with_their_number(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(300)]
    meta = {"num_stuff": 2, "num_thing": 298, "categories": names, "palette": [[1, 2, 3]] * 300}
    sentence = rejection(write_legacy(tmp_path, meta | {"original_ids": list(range(300))}))
    assert "300 categories" in sentence
    assert "255" in sentence
