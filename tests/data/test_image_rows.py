"""Reading TIFF and PNG files row by row: the same pixels as reading them whole."""

from __future__ import annotations

import builtins
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from seamseg.data.image_rows import ImageRows, open_rows
from seamseg.data.images import read_image
from seamseg.errors import BrokenImageError

pyvips = pytest.importorskip("pyvips", reason="the extra large is not installed")

SIZE = (50, 70)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (*SIZE, 4), dtype=np.uint16)


def pillow(path: Path, image: Image.Image | None = None, **options: Any) -> None:
    (image or Image.fromarray(PIXELS)).save(path, **options)


def vips(path: Path, pixels: NDArray[np.uint8] = PIXELS, **options: Any) -> None:
    pyvips.Image.new_from_array(pixels).write_to_file(str(path), **options)


def tiled(path: Path, **options: Any) -> None:
    vips(path, tile=True, tile_width=16, tile_height=32, **options)


READ_BY_ROWS = {
    "color.png": pillow,
    "color.tif": pillow,
    "lzw.tif": lambda path: pillow(path, compression="tiff_lzw"),
    "deflate.tif": lambda path: pillow(path, compression="tiff_deflate"),
    "tiled.tif": lambda path: tiled(path, compression="lzw"),
    "tiled-jpeg.tif": lambda path: tiled(path, compression="jpeg"),
    "big.tif": lambda path: tiled(path, compression="deflate", bigtiff=True),
    "invalid-orientation.tif": lambda path: pillow(path, tiffinfo={274: 0}),
    "interlaced.png": lambda path: vips(path, interlace=True),
    "gray.png": lambda path: pillow(path, Image.fromarray(PIXELS[..., 0])),
    "gray.tif": lambda path: pillow(path, Image.fromarray(PIXELS[..., 0])),
    "gray-alpha.png": lambda path: pillow(path, Image.fromarray(PIXELS[..., :2], "LA")),
    "palette.png": lambda path: pillow(path, Image.fromarray(PIXELS).quantize(16)),
    "palette.tif": lambda path: pillow(path, Image.fromarray(PIXELS).quantize(16)),
    "one-bit.png": lambda path: pillow(path, Image.fromarray(PIXELS).convert("1")),
    "one-bit.tif": lambda path: pillow(path, Image.fromarray(PIXELS).convert("1")),
    "color-16.png": lambda path: cv2.imwrite(str(path), DEEP[..., :3]),
    "color-16.tif": lambda path: cv2.imwrite(str(path), DEEP[..., :3]),
    "gray-16.png": lambda path: cv2.imwrite(str(path), DEEP[..., 0]),
    "gray-16.tif": lambda path: cv2.imwrite(str(path), DEEP[..., 0]),
    "alpha-16.png": lambda path: cv2.imwrite(str(path), DEEP),
    "alpha.png": lambda path: cv2.imwrite(str(path), (DEEP >> 8).astype(np.uint8)),
}


@pytest.mark.parametrize("name", READ_BY_ROWS)
def test_rows_equal_those_of_the_whole_image(name: str, tmp_path: Path) -> None:
    READ_BY_ROWS[name](tmp_path / name)
    rows = open_rows(tmp_path / name)
    assert rows is not None
    assert rows.size == SIZE
    expected = read_image(tmp_path / name, "upright")
    for start, end in ((0, 20), (0, 8), (10, 30), (12, 12), (31, 50)):
        assert (rows.read(start, end) == expected[start:end]).all()


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    pillow(path, exif=exif)


def three_grays(path: Path) -> None:
    """Write three channels of brightness, as of a satellite image whose channels are not red, green and blue."""
    pillow(path)
    color_space = struct.pack("<HHI", 262, 3, 1)
    data = path.read_bytes().replace(color_space + b"\2", color_space + b"\1")
    path.write_bytes(data)


YCBCR = Image.fromarray(PIXELS).convert("YCbCr")
FRAMES = [Image.fromarray(PIXELS[::-1].copy()), Image.fromarray(PIXELS[:, ::-1].copy())]

READ_WHOLE = {
    "rotated.png": rotated,
    "rotated.tif": rotated,
    "ycbcr.tif": lambda path: pillow(path, YCBCR),
    "ycbcr-lzw.tif": lambda path: pillow(path, YCBCR, compression="tiff_lzw"),
    "ycbcr-big.tif": lambda path: pillow(path, YCBCR, big_tiff=True),
    "three-grays.tif": three_grays,
    "animated.png": lambda path: pillow(path, save_all=True, default_image=True, append_images=FRAMES),
    "cmyk.tif": lambda path: pillow(path, Image.fromarray(PIXELS).convert("CMYK")),
    "alpha.tif": lambda path: pillow(path, Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]]))),
    "color.jpg": pillow,
    "text.tif": lambda path: path.write_text("hello"),
}


@pytest.mark.parametrize("name", READ_WHOLE)
def test_file_that_only_the_usual_reader_reads_the_same_is_not_opened(name: str, tmp_path: Path) -> None:
    READ_WHOLE[name](tmp_path / name)
    assert open_rows(tmp_path / name) is None


@pytest.mark.parametrize("name", ["color.png", "interlaced.png", "gray-16.png", "color.tif"])
def test_truncated_file_raises_the_error_of_the_usual_reader(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    READ_BY_ROWS[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    rows = open_rows(tmp_path / name)
    assert rows is not None
    with pytest.raises(BrokenImageError) as found:
        rows.read(0, SIZE[0])
    with pytest.raises(BrokenImageError) as expected:
        read_image(tmp_path / name)
    assert str(found.value) == str(expected.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "options"), [("a.png", {"interlace": True}), ("a.tif", {"tile": True}), ("b.tif", {})]
)
def test_file_that_is_replaced_is_read_again(name: str, options: dict[str, bool], tmp_path: Path) -> None:
    for pixels in (PIXELS, PIXELS, 255 - PIXELS):
        vips(tmp_path / name, pixels, **options)
        rows = open_rows(tmp_path / name)
        assert rows is not None
        assert (rows.read(0, SIZE[0]) == pixels).all()


def test_pyramid_is_read_at_full_size(tmp_path: Path) -> None:
    """Cloud-optimized GeoTIFF files also contain smaller versions."""
    tiled(tmp_path / "a.tif", pyramid=True, compression="deflate")
    rows = open_rows(tmp_path / "a.tif")
    assert rows is not None
    assert (rows.read(0, SIZE[0]) == PIXELS).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_twelve_bits_are_recognized_after_reading(suffix: str, tmp_path: Path) -> None:
    for name, pixels, expected in (("dark", DEEP[..., :3] >> 4, True), ("full", DEEP[..., :3], False)):
        cv2.imwrite(str(tmp_path / (name + suffix)), pixels)
        rows = open_rows(tmp_path / (name + suffix))
        assert not rows.has_twelve_bits
        rows.read(0, SIZE[0])
        assert rows.has_twelve_bits is expected


def test_only_the_last_rows_stay_in_memory(tmp_path: Path) -> None:
    pillow(tmp_path / "a.png")
    rows = open_rows(tmp_path / "a.png")
    assert isinstance(rows, ImageRows)
    rows.read(0, 30)
    assert len(rows.read(25, 40)) == len(rows._kept) == 15


def test_without_pyvips_files_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow(tmp_path / "a.png")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pyvips":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert open_rows(tmp_path / "a.png") is None
