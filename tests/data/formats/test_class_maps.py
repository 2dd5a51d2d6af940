"""Semantic data: class maps in three layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from seamseg.data.formats.annotated_dataset import CLASSES, PanopticDataset, require_no_overlaps
from seamseg.data.formats.class_maps import open_ade20k, open_cityscapes
from seamseg.data.formats.open import choose_format, open_data_set, split_names
from seamseg.data.labels.cityscapes import CITYSCAPES

MAP = np.array([[0, 1, 1, 3], [255, 3, 3, 3]], np.uint8)


def write_maps(root: Path, images: str, maps: str, class_map: np.ndarray = MAP) -> Path:
    """Write the images a and sub/b with class maps, for the splits training and validation."""
    for split in ("training", "validation"):
        for name in ("a", "sub/b"):
            for folder, suffix, pixels in ((images, "jpg", np.zeros((2, 4, 3), np.uint8)), (maps, "png", class_map)):
                path = root / folder.format(split) / f"{name}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), pixels)
    return root


def write_ade20k(root: Path, class_map: np.ndarray = MAP) -> Path:
    return write_maps(root, "images/{}", "annotations/{}", class_map)


def opened(root: Path, split: str) -> PanopticDataset:
    return require_no_overlaps(open_data_set(root, split), "")


def classes_of(data: PanopticDataset) -> list[list[int]]:
    return data.read_annotation(0).semantics.tolist()


def test_ade20k_without_table_has_150_numbered_classes(tmp_path: Path) -> None:
    data = opened(write_ade20k(tmp_path), "train")
    assert classes_of(data) == [[255, 0, 0, 2], [255, 2, 2, 2]]
    assert data.read_annotation(0).ids.tolist() == [[0, 1, 1, 2], [0, 2, 2, 2]]
    assert data.categories.names == tuple(str(number) for number in range(1, 151))
    assert (data.categories.num_things, data.content, data.title) == (0, CLASSES, "ADE20K")
    assert [data.image_id(index) for index in range(2)] == ["a", "sub/b"]
    assert data.sizes == [(2, 4)] * 2
    assert data.read_image(1).shape == (2, 4, 3)
    assert choose_format(tmp_path) == "ade20k"
    assert split_names(tmp_path, "ade20k") == ["training", "validation"]


def test_ade20k_reads_each_table_of_names(tmp_path: Path) -> None:
    write_ade20k(tmp_path)
    (tmp_path / "classes.txt").write_text("wall\nbuilding\n\nsky\n")
    assert open_ade20k(tmp_path, "val").categories.names == ("wall", "building", "sky")
    (tmp_path / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1\t0.1\t9\t9\twall\n2\t0.1\t9\t9\tbuilding, edifice\n3\t0\t9\t9\tsky\n"
    )
    assert open_ade20k(tmp_path, "val").categories.names == ("wall", "building, edifice", "sky")
    (tmp_path / "classes.yaml").write_text("stuff: {floor: [0, 1]}\nthings: {lamp: 3}\nvoid: 255\n")
    data = open_ade20k(tmp_path, "val")
    assert data.categories.names == ("floor", "lamp")
    assert data.categories.num_things == 0
    assert classes_of(data) == [[0, 0, 0, 1], [255, 1, 1, 1]]


def test_class_maps_with_a_table_are_read(tmp_path: Path) -> None:
    colors = np.zeros((2, 4, 3), np.uint8)
    colors[0, 1:] = (96, 64, 128)  # blue, green, red
    write_maps(tmp_path, "{}/images", "{}/classes", colors)
    (tmp_path / "classes.yaml").write_text("stuff: {road: '#804060'}\nvoid: '#000000'\n")
    data = opened(tmp_path, "validation")
    assert classes_of(data) == [[255, 0, 0, 0], [255] * 4]
    assert (choose_format(tmp_path), data.categories.colors) == ("class_maps", ((128, 64, 96),))


def test_cityscapes_train_ids_and_label_ids_have_the_same_classes(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "layouts" / "cityscapes_16bit"
    by_train_ids = opened(source, "val")
    path = "gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes((source / path).read_bytes())
    (tmp_path / "leftImg8bit").symlink_to(source / "leftImg8bit")
    by_label_ids = opened(tmp_path, "val")
    stored = cv2.imread(str(by_train_ids.annotation_path(0)), cv2.IMREAD_UNCHANGED)
    assert (by_train_ids.read_annotation(0).semantics.numpy() == stored).all()
    labels = cv2.imread(str(tmp_path / path), cv2.IMREAD_UNCHANGED)
    found = by_label_ids.read_annotation(0).semantics.numpy()
    number_of = CITYSCAPES.class_of_original_id
    assert (found == np.vectorize(lambda label: number_of.get(label, 255))(labels)).all()
    assert (found == stored).mean() > 0.99, "the sample was made smaller with different rounding of its two maps"
    assert by_train_ids.categories == CITYSCAPES.as_stuff()
    assert by_train_ids.image_id(0) == "frankfurt_000000_000294"
    assert by_train_ids.read_image(0).shape == (128, 256, 3)


def test_cityscapes_splits_do_not_include_test(shared: Path) -> None:
    root = shared / "data" / "layouts" / "cityscapes_tiny" / "train_dataset"
    assert split_names(root, "cityscapes") == ["train", "val"]
    assert len(open_cityscapes(root, "train")) == 1


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda root: (root / "classes.txt").write_text("wall\n"), r"a\.png: the values 3 \(4 pixels\) do not belong"),
        (lambda root: (root / "classes.txt").write_text(""), r"classes\.txt names no classes"),
        (lambda root: (root / "classes.txt").write_text("wall\nwall\n"), r"classes\.txt: categories share the name"),
        (lambda root: (root / "classes.txt").write_bytes(b"\xff\xfe"), r"classes\.txt is not a UTF-8 text file"),
        (lambda root: (root / "classes.yaml").write_text("void: 0"), r"classes\.yaml lists no classes"),
        (lambda root: (root / "images/training/a.png").touch(), r"a\.jpg and .*a\.png differ only in their suffix"),
        (lambda root: (root / "annotations/training/a.png").write_bytes(b"no PNG"), r"annotations/training/a\.png"),
        (lambda root: (root / "images/training/a.jpg").unlink(), r"images/training/a\.jpg"),
    ],
)
def test_wrong_class_maps_are_refused(tmp_path: Path, change: Callable[[Path], object], fact: str) -> None:
    change(write_ade20k(tmp_path))
    with pytest.raises(ValueError, match=fact) as caught:
        read_all(opened(tmp_path, "training"))
    assert "\n" not in str(caught.value)


def test_size_that_differs_from_the_image_is_refused(tmp_path: Path) -> None:
    data = opened(write_ade20k(tmp_path, MAP[:, :3]), "training")
    with pytest.raises(ValueError, match=r"2×4.*2×3|2×3.*2×4"):
        read_all(data)


def read_all(data: PanopticDataset) -> None:
    for index in range(len(data)):
        data.read_image(index)
        data.read_annotation(index)
