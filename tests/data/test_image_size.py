"""Sizes from headers, and the end of JPEG files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seamseg.data.image_size import image_size, jpeg_is_complete
from seamseg.data.images import BrokenImageError

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
def test_sizes(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    PICTURE.save(tmp_path / name, **options)
    assert image_size(tmp_path / name) == (33, 47)


def test_an_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == (33, 47)


def test_a_thumbnail_is_not_the_image(tmp_path: Path) -> None:
    data = with_thumbnail()
    (tmp_path / "a.jpg").write_bytes(data)
    assert image_size(tmp_path / "a.jpg") == (33, 47)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\x89PNG\r\n\x1a\n"])
def test_what_has_no_size(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BrokenImageError):
        image_size(tmp_path / "a.jpg")
    with pytest.raises(BrokenImageError):
        image_size(tmp_path / "none.jpg")


def encoded(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG file with another one in its first segment, as cameras write them."""
    small, whole = encoded(PICTURE.resize((8, 8))), encoded(PICTURE)
    return whole[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + whole[2:]


@pytest.mark.parametrize("data", [encoded(PICTURE), encoded(PICTURE, progressive=True), with_thumbnail()])
def test_the_end_of_a_jpeg(data: bytes) -> None:
    assert jpeg_is_complete(data)
    assert jpeg_is_complete(data + b"what a camera adds")
    for missing in (2, 1, 10, 300):
        assert not jpeg_is_complete(data[:-missing])
    assert not jpeg_is_complete(data[:2])
