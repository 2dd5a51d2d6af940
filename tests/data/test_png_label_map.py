"""Label maps in PNG files, written by Pillow and OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from seamseg.data.png import UNLABELED, read_label_map
from seamseg.errors import BrokenImageError

NUMBERS = np.random.default_rng(0).integers(0, 2, (13, 17)) * np.arange(17) % 16


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_read_label_map_of_palette_image_returns_indices(tmp_path: Path, bits: int) -> None:
    numbers = (NUMBERS % 2**bits).astype(np.uint8)
    image = Image.fromarray(numbers, mode="P")
    image.putpalette(np.random.default_rng(1).integers(0, 256, 3 * 2**bits).astype(np.uint8).tobytes())
    image.save(tmp_path / "map.png", bits=bits)
    assert (tmp_path / "map.png").read_bytes()[24:26] == bytes([bits, 3])
    assert (read_label_map(tmp_path / "map.png") == numbers).all()


def test_read_label_map_of_palette_with_transparency_returns_indices(tmp_path: Path) -> None:
    image = Image.fromarray(NUMBERS.astype(np.uint8), mode="P")
    image.putpalette(bytes(range(48)))
    image.save(tmp_path / "map.png", transparency=0)
    assert b"tRNS" in (tmp_path / "map.png").read_bytes()
    assert (read_label_map(tmp_path / "map.png") == NUMBERS).all()


def test_read_label_map_of_one_bit_gray_image_returns_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(NUMBERS % 2 == 1).save(tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes()[24:26] == bytes([1, 0])
    assert (read_label_map(tmp_path / "map.png") == NUMBERS % 2).all()


@pytest.mark.parametrize(("dtype", "factor"), [(np.uint8, 15), (np.uint16, 4000)])
def test_read_label_map_of_gray_image_returns_its_values(tmp_path: Path, dtype: type, factor: int) -> None:
    numbers = NUMBERS * factor
    assert cv2.imwrite(str(tmp_path / "map.png"), numbers.astype(dtype))
    assert (read_label_map(tmp_path / "map.png") == numbers).all()


def test_read_label_map_of_color_image_returns_red_plus_256_green_plus_65536_blue(tmp_path: Path) -> None:
    colors = np.random.default_rng(2).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    Image.fromarray(colors).save(tmp_path / "map.png")
    assert (read_label_map(tmp_path / "map.png") == colors.astype(int) @ (1, 256, 65536)).all()


def test_read_label_map_of_missing_16_bit_color_or_truncated_file_raises(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    with pytest.raises(BrokenImageError, match="cannot be opened"):
        read_label_map(path)
    assert cv2.imwrite(str(path), np.zeros((3, 3, 4), np.uint16))
    with pytest.raises(BrokenImageError, match=r"4 channel\(s\) of 16 bits"):
        read_label_map(path)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 16, (60, 60)).astype(np.uint8), mode="P")
    image.putpalette(bytes(range(48)))
    image.save(path)
    whole = path.read_bytes()
    for length in (0, 4, 20, 40, 60):
        path.write_bytes(whole[:length])
        with pytest.raises(BrokenImageError):
            read_label_map(path)


def test_read_label_map_marks_transparent_pixels_as_unlabeled(tmp_path: Path) -> None:
    pixels = np.array([[(1, 2, 3, 255), (1, 2, 3, 200), (9, 9, 9, 0), (9, 9, 9, 100)]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "map.png")
    color = 1 + 256 * 2 + 65536 * 3
    assert read_label_map(tmp_path / "map.png").tolist() == [[color, color, UNLABELED, UNLABELED]]


def test_read_label_map_of_gray_image_with_alpha_returns_its_values(tmp_path: Path) -> None:
    Image.fromarray(np.array([[(7, 255), (200, 255), (3, 0)]], np.uint8), mode="LA").save(tmp_path / "map.png")
    assert read_label_map(tmp_path / "map.png").tolist() == [[7, 200, UNLABELED]]
