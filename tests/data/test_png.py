"""Segment ids encoded as colors."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from seamseg.data.png import read_panoptic_png, write_panoptic_png
from seamseg.errors import BrokenImageError


def test_read_panoptic_png_decodes_red_plus_256_green_plus_65536_blue(tmp_path: Path) -> None:
    colors_rgb = np.array([[(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (255, 255, 255), (3, 2, 1)]], np.uint8)
    assert cv2.imwrite(str(tmp_path / "a.png"), colors_rgb[..., ::-1])
    ids = read_panoptic_png(tmp_path / "a.png")
    assert ids.dtype == np.int32
    assert ids.tolist() == [[0, 1, 256, 65536, 2**24 - 1, 3 + 2 * 256 + 65536]]


def test_written_panoptic_png_reads_back_equal(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 2**24, size=(13, 7))
    for dtype in (np.int32, np.int64):
        write_panoptic_png(tmp_path / "a.png", ids.astype(dtype))
        assert np.array_equal(read_panoptic_png(tmp_path / "a.png"), ids)


@pytest.mark.parametrize("wrong", [-1, 2**24])
def test_write_panoptic_png_rejects_ids_out_of_range(tmp_path: Path, wrong: int) -> None:
    with pytest.raises(ValueError, match=r"a\.png: segment ids lie in 0 … 16777215"):
        write_panoptic_png(tmp_path / "a.png", np.array([[0, wrong]]))


@pytest.mark.parametrize(
    ("pixels", "fact"),
    [
        (np.zeros((4, 5), np.uint8), r"1 channel\(s\) of 8 bits"),
        (np.zeros((4, 5, 4), np.uint8), r"4 channel\(s\) of 8 bits"),
        (np.zeros((4, 5, 3), np.uint16), r"3 channel\(s\) of 16 bits"),
    ],
)
def test_read_panoptic_png_rejects_other_kinds_of_png(tmp_path: Path, pixels: np.ndarray, fact: str) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), pixels)
    with pytest.raises(BrokenImageError, match=fact):
        read_panoptic_png(tmp_path / "a.png")


def test_read_panoptic_png_of_palette_image_gives_the_same_ids(tmp_path: Path) -> None:
    """Some programs convert PNGs to palette images to save space."""
    ids = np.array([[0, 70_000, 70_000], [300, 300, 0]])
    write_panoptic_png(tmp_path / "a.png", ids)
    Image.open(tmp_path / "a.png").quantize(8).save(tmp_path / "palette.png")
    assert (tmp_path / "palette.png").read_bytes()[25] == 3
    assert np.array_equal(read_panoptic_png(tmp_path / "palette.png"), ids)


def test_read_panoptic_png_of_real_file_returns_known_ids(shared: Path) -> None:
    folder = shared / "data/coco128_panoptic/annotations/panoptic_train2017"
    assert set(np.unique(read_panoptic_png(folder / "000000000009.png"))) == {
        *(0, 8345037, 6968006, 2005197, 3658235, 2803959, 2992357, 2271460, 1720367, 8922372, 7113394)
    }


def test_read_panoptic_png_of_opaque_image_with_alpha_returns_ids(tmp_path: Path) -> None:
    pixels = np.full((4, 5, 4), (3, 2, 1, 255), np.uint8)  # blue, green, red, alpha
    assert cv2.imwrite(str(tmp_path / "a.png"), pixels)
    assert (read_panoptic_png(tmp_path / "a.png") == 1 + 256 * 2 + 65536 * 3).all()
