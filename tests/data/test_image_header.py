"""Image sizes from headers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from seamseg.data.image_header import size_in_png, stored_size

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype(np.uint8))


def test_stored_size_ignores_an_embedded_thumbnail() -> None:
    assert stored_size(with_thumbnail()) == (33, 47)
    assert size_in_png(with_thumbnail()) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_stored_size_of_truncated_data_is_correct_or_none(kind: str) -> None:
    file = io.BytesIO()
    PICTURE.save(file, kind)
    data = file.getvalue()
    found = [stored_size(data[:length]) for length in range(len(data))]
    assert set(found) == {None, (33, 47)}
    assert found.index((33, 47)) < 1000


def with_thumbnail() -> bytes:
    """Return a JPEG file with another one in its first segment, as written by cameras."""
    small, whole = io.BytesIO(), io.BytesIO()
    PICTURE.resize((8, 8)).save(small, "JPEG")
    PICTURE.save(whole, "JPEG")
    head, data = whole.getvalue()[:2], small.getvalue()
    return head + b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data + whole.getvalue()[2:]
