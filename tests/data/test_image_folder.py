"""Image folders with one folder per class."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seamseg.data.dataset import SampleKey
from seamseg.data.image_folder import LabeledTestDataset, LabeledTrainDataset, open_image_folder
from seamseg.data.random_crops import CenterCrop, RandomCrop
from seamseg.errors import BrokenImageError, DataError


def write(path: Path, value: int = 50, size: tuple[int, int] = (12, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "train" / "dog" / "b.JPG")
    write(tmp_path / "train" / "dog" / "deeper" / "a.png")
    write(tmp_path / "train" / "cat" / "z.png", 200)
    write(tmp_path / "train" / ".hidden" / "x.png")
    write(tmp_path / "train" / "cat" / "._z.png")
    (tmp_path / "train" / "cat" / "notes.txt").touch()
    write(tmp_path / "val" / "dog" / "v.png")
    return tmp_path


def test_open_image_folder_finds_classes_and_images_in_alphabetical_order(root: Path) -> None:
    train = open_image_folder(root, "train")
    assert train.classes == ("cat", "dog")
    found = [(train.image_id(number), label) for number, (_, label) in enumerate(train.images)]
    assert found == [("cat/z.png", 0), ("dog/b.JPG", 1), ("dog/deeper/a.png", 1)]
    assert len(train) == len(train.sizes) == 3


def test_open_image_folder_numbers_the_classes_as_in_training(root: Path) -> None:
    val = open_image_folder(root, "val", ["zebra", "cat", "dog"])
    assert val.classes == ("zebra", "cat", "dog")
    assert [label for _, label in val.images] == [2]


def test_open_image_folder_unknown_class_is_refused_by_name(root: Path) -> None:
    write(root / "val" / "emu" / "v.png")
    with pytest.raises(DataError, match=rf"{re.escape(str(root / 'val'))} has classes .*: emu$"):
        open_image_folder(root, "val", ["cat", "dog"])


def test_open_image_folder_many_unknown_classes_are_counted(root: Path) -> None:
    for number in range(9):
        write(root / "val" / f"emu{number}" / "v.png")
    with pytest.raises(DataError, match="emu0, emu1, emu2, emu3, emu4 and 4 more"):
        open_image_folder(root, "val", ["cat", "dog"])


def test_open_image_folder_without_classes_images_or_split_is_refused(root: Path) -> None:
    (root / "empty").mkdir()
    write(root / "flat" / "image.png")
    (root / "bare" / "cat").mkdir(parents=True)
    (root / "train" / "fox").mkdir()
    for split, fact in (
        ("nowhere", "nowhere is not a folder"),
        ("empty", "empty has no class folders"),
        ("flat", "flat has no class folders"),
        ("bare", "bare has no images of the classes cat"),
        ("train", "train has no images of the classes fox"),
    ):
        with pytest.raises(DataError, match=fact):
            open_image_folder(root, split)


def test_train_samples_depend_only_on_seed_epoch_and_index(root: Path) -> None:
    rng = np.random.default_rng(0)
    cv2.imwrite(str(root / "train" / "cat" / "z.png"), rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    source = open_image_folder(root, "train")
    data = LabeledTrainDataset(source, RandomCrop(8, 8, lighting=0.1), seed=3)
    first = data[SampleKey(1, 0)]
    data[SampleKey(1, 1)]
    again = LabeledTrainDataset(source, RandomCrop(8, 8, lighting=0.1), seed=3)[SampleKey(1, 0)]
    assert torch.equal(first.image, again.image)
    assert (first.image_id, int(first.label), first.label.dtype) == ("cat/z.png", 0, torch.int64)
    for seed, epoch in ((3, 2), (4, 1)):
        other = LabeledTrainDataset(source, RandomCrop(8, 8, lighting=0.1), seed)[SampleKey(epoch, 0)]
        assert not torch.equal(first.image, other.image)


def test_test_samples_are_central_crops_in_rgb(root: Path) -> None:
    cv2.imwrite(str(root / "val" / "dog" / "v.png"), np.full((10, 10, 3), (1, 2, 3), np.uint8))  # blue first
    sample = LabeledTestDataset(open_image_folder(root, "val"), CenterCrop(8, 6))[SampleKey(5, 0)]
    assert torch.equal(sample.image, torch.tensor([3, 2, 1], dtype=torch.uint8)[:, None, None].expand(3, 6, 6))


def test_samples_of_a_broken_image_raise_its_error(root: Path) -> None:
    path = root / "train" / "cat" / "z.png"
    path.write_bytes(path.read_bytes()[:40])
    source = open_image_folder(root, "train")
    for data in (LabeledTrainDataset(source, RandomCrop(8, 8), 0), LabeledTestDataset(source, CenterCrop(8, 8))):
        with pytest.raises(BrokenImageError, match=r"cat/z\.png"):
            data[SampleKey(0, 0)]
