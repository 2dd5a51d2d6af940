"""Id maps as text, decoded independently of the browser."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamseg.report.segments import encode_ids


def decoded(text: str, num_bytes: int, width: int) -> np.ndarray:
    rows = np.frombuffer(zlib.decompress(base64.b64decode(text)), f"<u{num_bytes}").reshape(-1, width)
    return np.bitwise_xor.accumulate(rows, axis=0).astype(np.int64)


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 5, 255, 256, 65535]), st.integers(0, 99))
def test_encode_ids_of_random_maps_can_be_decoded(height: int, width: int, largest: int, seed: int) -> None:
    ids = np.random.default_rng(seed).integers(0, largest + 1, (height, width))
    text, num_bytes = encode_ids(ids)
    assert num_bytes == (1 if ids.max() < 256 else 2)
    assert (decoded(text, num_bytes, width) == ids).all()


def test_encode_ids_of_large_segments_is_short() -> None:
    ids = np.arange(640).repeat(2)[None].repeat(640, 0) // 100
    assert len(encode_ids(ids)[0]) < 3000


@pytest.mark.parametrize("ids", [[[70000]], [[-1]]])
def test_encode_ids_out_of_range_raises(ids: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="65535"):
        encode_ids(np.array(ids))
