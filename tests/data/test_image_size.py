"""Image sizes without decoding the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seamseg.data.image_size import image_size, png_size
from seamseg.errors import BrokenImageError

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {}),
        ("a.jpg", {"progressive": True}),
        ("a.jpg", {"icc_profile": bytes(200_000)}),
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.webp", {}),
    ],
)
def test_image_size_of_each_format_is_height_and_width(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    PICTURE.save(tmp_path / name, **options)
    assert image_size(tmp_path / name) == (33, 47)


def test_image_size_ignores_the_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == (33, 47)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\x89PNG\r\n\x1a\n"])
def test_image_size_of_broken_or_missing_file_raises(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BrokenImageError):
        image_size(tmp_path / "a.jpg")
    with pytest.raises(BrokenImageError):
        image_size(tmp_path / "none.jpg")


def test_png_size_accepts_only_png_files_with_pixels(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "a.png")
    assert png_size(tmp_path / "a.png") == (33, 47)
    PICTURE.save(tmp_path / "a.jpg")
    for name in ("a.jpg", "none.png"):
        with pytest.raises(BrokenImageError, match=name):
            png_size(tmp_path / name)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:16] + bytes(4) + data[20:])
    with pytest.raises(BrokenImageError, match="PNG file without pixels"):
        png_size(tmp_path / "a.png")
