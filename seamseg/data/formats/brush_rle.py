"""Masks of Label Studio's brush, a bit stream of runs in the format of the JavaScript package ``@thi.ng/rle-pack``.

| bits | content |
|---|---|
| 32 | number of words |
| 5 | bits per word, minus 1 |
| 4 × 4 | bits that run lengths of the size classes 0 … 3 take, minus 1 |

Then, for each run:

| bits | content |
|---|---|
| 1 | 1 if one word is repeated, 0 if different words follow each other |
| 2 | size class |
| as the class says | number of words, minus 1 |
| bits per word, once or for each word | value of the words |

The highest bit comes first. Label Studio stores the mask as an RGBA image, row by row, in words of 8 bits. Alpha tells
which pixels belong to the mask; soft edges lie between 0 and 255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seamseg.errors import DataError
from seamseg.structures import Size

_WORD_BITS, _CHANNELS = 8, 4
_RUN_BITS = (3, 4, 8, 16)
_OPAQUE = 128


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode an H×W mask as the list of bytes that Label Studio stores under ``rle``."""
    flat = mask.ravel()
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = _CHANNELS * np.diff(borders, prepend=0, append=flat.size)
    bits = [f"{_CHANNELS * flat.size:032b}", f"{_WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _RUN_BITS)]
    inside = bool(flat[0])
    for length in lengths.tolist():
        bits += _encoded_runs(length, 255 if inside else 0)
        inside = not inside
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _encoded_runs(length: int, word: int) -> list[str]:
    """Encode one repeated word, in several runs if the largest size class is too small."""
    longest = 1 << _RUN_BITS[-1]
    runs = []
    for begin in range(0, length, longest):
        rest = min(longest, length - begin) - 1
        size_class = next(index for index, size in enumerate(_RUN_BITS) if rest < 1 << size)
        runs.append(f"1{size_class:02b}{rest:0{_RUN_BITS[size_class]}b}{word:0{_WORD_BITS}b}")
    return runs


def decode_brush(data: bytes, size: Size) -> NDArray[np.bool_]:
    """Decode a mask; pixels that are more opaque than transparent belong to it.

    Args:
        data: Bytes that Label Studio stores under ``rle``.
        size: Height and width of the image.

    Returns:
        H×W mask.

    Raises:
        SeamsegError: The data is truncated, or belongs to an image of another size.
    """
    stream = _BitStream(data)
    num_words, word_bits = stream.read(32), stream.read(5) + 1
    if word_bits != _WORD_BITS or num_words != _CHANNELS * size[0] * size[1]:
        raise DataError(
            f"the brush mask has {num_words:,} words of {word_bits} bits, but an image of {size[0]}×{size[1]} pixels "
            f"has {_CHANNELS * size[0] * size[1]:,} words of {_WORD_BITS} bits"
        )
    run_bits = [stream.read(4) + 1 for _ in _RUN_BITS]
    words: list[bytes] = []
    missing = num_words
    while missing > 0:
        is_repeated = stream.read(1)
        length = stream.read(run_bits[stream.read(2)]) + 1
        missing -= length
        if is_repeated:
            words.append(bytes([stream.read(_WORD_BITS)]) * length)
        else:
            words.append(stream.read(_WORD_BITS * length).to_bytes(length, "big"))
    if missing < 0:
        raise DataError(f"the brush mask has {-missing:,} words more than it states")
    alpha = np.frombuffer(b"".join(words), np.uint8)[_CHANNELS - 1 :: _CHANNELS]
    return (alpha >= _OPAQUE).reshape(size)


class _BitStream:
    """Reader of unsigned integers of any number of bits."""

    def __init__(self, data: bytes) -> None:
        self._bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""
        self._position = 0

    def read(self, number: int) -> int:
        """Return the next ``number`` bits as an integer."""
        end = self._position + number
        if end > len(self._bits):
            raise DataError("the brush mask is truncated")
        value = int(self._bits[self._position : end], 2)
        self._position = end
        return value
