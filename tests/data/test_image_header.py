"""Sizes in headers, and the end of JPEG files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from seamseg.data.image_header import jpeg_is_complete, size_in_png, stored_size

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype(np.uint8))


def test_a_thumbnail_is_not_the_image() -> None:
    assert stored_size(with_thumbnail()) == (33, 47)
    assert size_in_png(with_thumbnail()) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_no_beginning_of_a_file_has_another_size(kind: str) -> None:
    file = io.BytesIO()
    PICTURE.save(file, kind)
    data = file.getvalue()
    found = [stored_size(data[:length]) for length in range(len(data))]
    assert set(found) == {None, (33, 47)}
    assert found.index((33, 47)) < 1000


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
