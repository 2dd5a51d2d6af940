"""Unusual images as training data: each is read correctly, or rejected in one sentence that names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.odd_images import PIXELS, SIZE, OddImage, odd_images, turned, vast_png
from support.tiny_dataset import TinyDataset, write_tiny_panoptic

from seamseg.check.check import check_data_set
from seamseg.data.dataset import SampleKey, TrainDataset
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.image_size import image_size
from seamseg.data.images import read_image
from seamseg.data.transforms import TrainTransform
from seamseg.errors import BrokenImageError

ODD = odd_images()
READABLE = [name for name, odd in ODD.items() if odd.expected is not None]
BROKEN = [name for name in ODD if name not in READABLE]


def write_odd_image(folder: Path, name: str) -> tuple[Path, OddImage]:
    path = folder / name
    path.write_bytes(ODD[name].data)
    return path, ODD[name]


@pytest.mark.parametrize("name", READABLE)
def test_read_image_of_readable_odd_image_returns_expected_pixels(tmp_path: Path, name: str) -> None:
    path, odd = write_odd_image(tmp_path, name)
    pixels = read_image(path, "upright")
    assert odd.expected is not None
    assert pixels.shape == odd.expected.shape
    assert abs(pixels.astype(int) - odd.expected).mean() <= odd.tolerance
    assert image_size(path) == read_image(path).shape[:2]


@pytest.mark.parametrize("name", BROKEN)
def test_read_image_of_broken_odd_image_raises_expected_reason(tmp_path: Path, name: str) -> None:
    path, odd = write_odd_image(tmp_path, name)
    with pytest.raises(BrokenImageError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path} {odd.said}")


def data_set(folder: Path, image_path: bytes, size: tuple[int, int]) -> TinyDataset:
    """Write two annotated images of this size and replace the first image file."""
    tiny = write_tiny_panoptic(folder, num_images=2, sizes=[size], num_objects=0 if min(size) < 8 else 6)
    (tiny.image_folder / "000.png").write_bytes(image_path)
    return tiny


def sample_of(tiny: TinyDataset, shortest_side: int = 30) -> np.ndarray:
    """Return the first image as an H×W×3 training sample."""
    transform = TrainTransform(shortest_side, 10 * shortest_side, None, random_flip=False)
    return (
        TrainDataset(CocoPanoptic(tiny.folder, "train"), transform, 0)[SampleKey(0, 0)].image.permute(1, 2, 0).numpy()
    )


@pytest.mark.parametrize("name", READABLE)
def test_training_sample_of_readable_odd_image_has_expected_pixels(tmp_path: Path, name: str) -> None:
    expected = ODD[name].expected
    assert expected is not None
    pixel, short = expected.shape[:2] == (1, 1), min(expected.shape[:2])
    if name == "upside-down.jpg":  # turning does not change its size, so the stored pixels are used
        expected = PIXELS
    tiny = data_set(tmp_path, ODD[name].data, (expected.shape[0], expected.shape[1]))
    assert abs(sample_of(tiny, short).astype(int) - expected).mean() <= ODD[name].tolerance
    faults = check_data_set(tiny.folder, num_workers=1).findings
    assert {kind.name for kind, *_ in faults.by_kind() if kind.is_error} <= ({"empty-image"} if pixel else set())


@pytest.mark.parametrize("name", BROKEN)
def test_training_and_check_name_a_broken_odd_image(tmp_path: Path, name: str) -> None:
    tiny = data_set(tmp_path, ODD[name].data, SIZE)
    with pytest.raises(BrokenImageError, match=f"{tiny.image_folder / '000.png'} {ODD[name].said}"):
        sample_of(tiny)
    assert check_data_set(tiny.folder, num_workers=1).findings.counts == {"broken-image": 1}


def test_annotation_size_decides_the_orientation_of_an_image(tmp_path: Path) -> None:
    as_stored = data_set(tmp_path / "stored", turned(6), SIZE)
    upright = data_set(tmp_path / "upright", turned(6), SIZE[::-1])
    for tiny, expected in ((as_stored, PIXELS), (upright, np.rot90(PIXELS, -1))):
        assert abs(sample_of(tiny, SIZE[0]).astype(int) - expected).mean() < 4
        assert check_data_set(tiny.folder, num_workers=1).num_errors == 0
    other = data_set(tmp_path / "other", turned(3), SIZE[::-1])
    with pytest.raises(ValueError, match=r"000.png is 40×56 \(height×width\), but .*train.json says 56×40"):
        sample_of(other)
    assert check_data_set(other.folder, num_workers=1).findings.counts == {"image-size": 1}


def test_large_turned_image_is_read_upright_instead_of_reduced(tmp_path: Path) -> None:
    large = np.repeat(np.repeat(PIXELS, 8, axis=0), 8, axis=1)
    tiny = data_set(tmp_path, turned(6, large), (8 * SIZE[1], 8 * SIZE[0]))
    assert abs(sample_of(tiny, SIZE[0]).astype(int) - np.rot90(PIXELS, -1)).mean() < 8


@pytest.mark.slow
def test_training_sample_of_a_20000_pixel_image_is_read(tmp_path: Path) -> None:
    side = 20_000
    tiny = data_set(tmp_path, vast_png(side, side), SIZE)
    (tiny.png_folder / "000.png").write_bytes(vast_png(side, side, channels=3))
    tiny.edit_json(lambda content: content["images"][-1].update(height=side, width=side))
    assert sample_of(tiny).shape == (30, 30, 3)


def test_read_image_of_too_large_image_raises_error_with_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(vast_png(40_000, 40_000))
    with pytest.raises(BrokenImageError, match=r"a\.png is too large: 40000×40000 \(height×width\)"):
        read_image(tmp_path / "a.png")
