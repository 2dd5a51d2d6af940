"""Masks of Label Studio's brush, compared with a reader that goes through the stream bit by bit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamseg.data.formats.brush_rle import decode_brush, encode_brush
from seamseg.errors import DataError


def read_bits(data: list[int]) -> list[int]:
    """Decode a stream into its words, as the format is described, one bit at a time."""
    bits: Iterator[int] = (byte >> shift & 1 for byte in data for shift in range(7, -1, -1))

    def take(number: int) -> int:
        value = 0
        for _ in range(number):
            value = 2 * value + next(bits)
        return value

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    words: list[int] = []
    while len(words) < total:
        repeated, size_class = take(1), take(2)
        length = take(sizes[size_class]) + 1
        words += [take(word)] * length if repeated else [take(word) for _ in range(length)]
    assert sum(bits) == 0  # only padding is left
    return words


def write_bits(words: list[int], chunks: list[tuple[bool, int]], sizes: tuple[int, ...] = (3, 4, 8, 16)) -> bytes:
    """Encode words in given chunks: repeated words or different ones."""
    text = f"{len(words):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    position = 0
    for repeated, length in chunks:
        size_class = next(index for index, size in enumerate(sizes) if length <= 2**size)
        text += f"{int(repeated)}{size_class:02b}{length - 1:0{sizes[size_class]}b}"
        text += "".join(f"{word:08b}" for word in words[position : position + (1 if repeated else length)])
        position += length
    text += "0" * (-len(text) % 8)
    return bytes(int(text[start : start + 8], 2) for start in range(0, len(text), 8))


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_encode_brush_gives_rgba_words_that_decode_to_the_mask(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.4
    coded = encode_brush(mask)
    assert read_bits(coded) == [255 * int(pixel) for pixel in mask.ravel() for _ in range(4)]
    assert np.array_equal(decode_brush(bytes(coded), (height, width)), mask)


def test_encode_brush_of_large_mask_splits_long_runs() -> None:
    mask = np.zeros((300, 400), bool)
    mask[100:250] = True
    coded = encode_brush(mask)
    assert len(coded) < 60
    assert np.array_equal(decode_brush(bytes(coded), mask.shape), mask)


def test_encode_brush_begins_like_a_published_export() -> None:
    """An export of Label Studio for an image of 2527×3332 pixels whose first 131,072 words are 0."""
    published = [2, 1, 233, 240, 57, 27, 255, 255, 255, 0, 255, 255, 224]
    assert encode_brush(np.zeros((2527, 3332), bool))[:13] == published


def test_decode_brush_takes_alpha_and_runs_of_different_words() -> None:
    """Colors do not matter, soft edges are cut in the middle, and the size classes may have other sizes."""
    words = [9, 9, 9, 255, 255, 255, 255, 127, 0, 0, 0, 128, 5, 5, 5, 0]
    coded = write_bits(words, [(True, 3), (False, 1), (True, 3), (False, 5), (True, 3), (False, 1)], (2, 3, 4, 5))
    assert read_bits(list(coded)) == words
    assert decode_brush(coded, (2, 2)).tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize("cut", [0, 3, 6, 8, 12])
def test_decode_brush_of_truncated_stream_raises(cut: int) -> None:
    coded = encode_brush(np.eye(5, dtype=bool))
    with pytest.raises(DataError, match="brush mask"):
        decode_brush(bytes(coded[:cut]), (5, 5))


def test_decode_brush_of_other_size_raises_before_decoding() -> None:
    coded = encode_brush(np.eye(5, dtype=bool))
    with pytest.raises(DataError, match=r"100 words .* 4×5 pixels has 80 words"):
        decode_brush(bytes(coded), (4, 5))


def test_decode_brush_with_a_run_beyond_the_image_raises() -> None:
    with pytest.raises(DataError, match="more than it states"):
        decode_brush(write_bits([0] * 4, [(True, 9)]), (1, 1))


def test_brush_rle_equals_label_studio_converter() -> None:
    reason = "label-studio-sdk is not installed"
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason=reason)
    mask = np.random.default_rng(0).random((23, 31)) < 0.3
    mask[5:15, 3:20] = True
    assert np.array_equal(np.reshape(brush.decode_rle(encode_brush(mask)), (23, 31, 4))[..., 3] > 0, mask)
    theirs = brush.encode_rle(np.repeat(mask.ravel().astype(np.uint8) * 255, 4).tolist())
    assert np.array_equal(decode_brush(bytes(theirs), mask.shape), mask)
