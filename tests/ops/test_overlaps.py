"""Overlaps of id maps: counted pixel by pixel, from tensors and from every kind of PNG, whole or broken."""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from oracles.boundary_quality import border, width
from PIL import Image
from torch import Tensor

from seamseg.ops.overlaps import _map_overlaps_by_keys, border_band, map_overlaps, png_overlaps

Rows = dict[tuple[int, int], tuple[int, ...]]
Way = Callable[..., Tensor]
WAYS: list[Way] = [map_overlaps, _map_overlaps_by_keys]  # the second is that of other devices, here on the CPU


def rows(table: Tensor) -> Rows:
    assert table.dtype == torch.int64
    assert table.shape[1] == 6
    found = {(true, predicted): tuple(counts) for true, predicted, *counts in table.tolist()}
    assert len(found) == len(table)
    return found


def pixel_by_pixel(true: NDArray, predicted: NDArray, band: int) -> Rows:
    borders = [np.zeros(true.shape, bool), np.zeros(true.shape, bool)]
    if band:
        for side, ids in enumerate((true, predicted)):
            for segment in np.unique(ids):
                borders[side] |= border(ids == segment, band)
    counts: Counter[tuple[int, int, bool, bool]] = Counter(
        zip(*(one.ravel().tolist() for one in (true, predicted, *borders)), strict=True)
    )
    found: dict[tuple[int, int], list[int]] = {}
    for (t, p, in_true, in_predicted), number in counts.items():
        line = found.setdefault((t, p), [0] * 4)
        for column, counted in enumerate((True, in_true, in_predicted, in_true and in_predicted)):
            line[column] += number * counted
    return {key: tuple(line) for key, line in found.items()}


def test_a_map_that_can_be_checked_by_eye() -> None:
    true = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    predicted = torch.tensor([[1, 1, 1, 1, 2], [1, 1, 1, 1, 2], [1, 1, 1, 1, 2]])
    assert rows(map_overlaps(true, predicted)) == {(1, 1): (12, 0, 0, 0), (1, 2): (3, 0, 0, 0)}
    # One pixel wide: of 15 true pixels the 3 in the middle are inside, of 12 predicted ones 2.
    assert rows(map_overlaps(true, predicted, 1)) == {(1, 1): (12, 9, 10, 9), (1, 2): (3, 3, 3, 3)}


MAPS = npst.array_shapes(min_dims=2, max_dims=2, max_side=14).flatmap(
    lambda shape: st.tuples(
        *(npst.arrays("int64", shape, elements=st.integers(0, 3), fill=st.just(1)) for _ in range(2))
    )
)


@given(MAPS, st.integers(0, 6))
def test_equals_counting_pixel_by_pixel(maps: tuple[NDArray, NDArray], band: int) -> None:
    tensors = [torch.from_numpy(one) for one in maps]
    expected = pixel_by_pixel(*maps, band)
    assert rows(map_overlaps(*tensors, band=band)) == expected
    assert rows(_map_overlaps_by_keys(*tensors, band=band)) == expected
    files = [encode(one) for one in maps]
    assert rows(png_overlaps(*files, band=band)) == expected


@pytest.mark.parametrize("band", [1, 2, 7, 30])
def test_borders_in_large_segments(band: int) -> None:
    generator = np.random.default_rng(band)
    true, predicted = (generator.integers(0, 4, (4, 5)).repeat(23, 0).repeat(31, 1)[7:, 5:] for _ in range(2))
    tensors = torch.from_numpy(true), torch.from_numpy(predicted)
    assert rows(map_overlaps(*tensors, band=band)) == pixel_by_pixel(true, predicted, band)
    assert rows(_map_overlaps_by_keys(*tensors, band=band)) == pixel_by_pixel(true, predicted, band)


def test_the_band_is_that_of_the_published_program() -> None:
    for size in ((1, 1), (25, 30), (480, 640), (1024, 2048), (3024, 4032), (7, 40)):
        assert border_band(size) == width(*size)
    assert border_band((480, 640)) == 16


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_every_integer_type_and_any_strides(kind: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    true, predicted = (torch.randint(0, 5, (40, 60), generator=generator) for _ in range(2))
    expected = pixel_by_pixel(true[::2, 1::3].numpy(), predicted[::2, 1::3].numpy(), 2)
    for count in WAYS:
        assert rows(count(true.to(kind)[::2, 1::3], predicted[::2, 1::3], 2)) == expected


@pytest.mark.parametrize("count", WAYS)
def test_many_pairs_and_large_ids(count: Way) -> None:
    true = torch.arange(90_000).view(300, 300) * 10**12 - 5
    found = rows(count(true, true.flip(0), 0))
    pairs = zip(true.flatten().tolist(), true.flip(0).flatten().tolist(), strict=True)
    assert found == dict.fromkeys(pairs, (1, 0, 0, 0))


@pytest.mark.parametrize("count", WAYS)
def test_the_ends_of_the_integers(count: Way) -> None:
    low, high = -(2**63), 2**63 - 1
    true = torch.tensor([[low, low, high], [low, low, high - 1]])
    expected = {(low, high): (4, 4, 4, 4), (high, low): (1, 1, 1, 1), (high - 1, low): (1, 1, 1, 1)}
    assert rows(count(true, torch.tensor([[high, high, low]] * 2), 1)) == expected


@pytest.mark.parametrize("count", WAYS)
def test_a_map_without_pixels(count: Way) -> None:
    for shape in ((0, 5), (5, 0)):
        assert rows(count(torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64), 1)) == {}


@pytest.mark.parametrize("count", WAYS)
@pytest.mark.parametrize(
    ("true", "predicted", "band", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3), 0, "ids (must be|are integers)"),
        (torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), 0, "two dimensions|are H×W"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), 0, "(same|one) size"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64), -1, "negative"),
    ],
)
def test_what_does_not_fit_is_refused(count: Way, true: Tensor, predicted: Tensor, band: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count(true, predicted, band)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
@given(MAPS, st.integers(0, 6), st.sampled_from([1, 10**15]))
def test_on_a_gpu(maps: tuple[NDArray, NDArray], band: int, factor: int) -> None:
    tensors = [torch.from_numpy(one) * factor for one in maps]
    found = map_overlaps(*(one.cuda() for one in tensors), band=band)
    assert found.device.type == "cpu"
    assert rows(found) == rows(map_overlaps(*tensors, band=band))


# --- PNGs -----------------------------------------------------------------------------------------------------------


def colors(ids: NDArray) -> NDArray[np.uint8]:
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)


def tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def encode(ids: NDArray) -> Tensor:
    return tensor(cv2.imencode(".png", np.ascontiguousarray(colors(ids)[..., ::-1]))[1].tobytes())


def every_kind(ids: NDArray) -> list[bytes]:
    """One map as its PNGs by two writers, with all filters, strategies and strengths of compression."""
    files = []
    for level in (0, 1, 6, 9):
        file = io.BytesIO()
        Image.fromarray(colors(ids)).save(file, "png", compress_level=level)
        files.append(file.getvalue())
    blue_first = np.ascontiguousarray(colors(ids)[..., ::-1])
    settings = [(cv2.IMWRITE_PNG_STRATEGY, value) for value in range(5)]
    settings += [(cv2.IMWRITE_PNG_FILTER, value) for value in (8, 16, 32, 64, 128, 248)]
    return files + [cv2.imencode(".png", blue_first, setting)[1].tobytes() for setting in settings]


@pytest.mark.parametrize("seed", range(12))
def test_every_kind_of_png_is_read(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, columns = (int(generator.integers(1, side)) for side in (90, 300))
    block, num = int(generator.integers(1, 12)), int(generator.choice([2, 5, 300, 2**24]))
    ids = generator.integers(0, num, (height, columns)).repeat(block, 0).repeat(block, 1)[:height, :columns]
    expected = pixel_by_pixel(ids, ids, 0)
    for file in every_kind(ids):
        assert rows(png_overlaps(tensor(file), encode(ids))) == expected


def test_a_map_larger_than_the_window_of_its_reader() -> None:
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 2**24, (30, 10)).repeat(20, 0).repeat(100, 1)
    ids[generator.random(ids.shape) < 0.02] = 7
    expected = pixel_by_pixel(ids, ids, 0)
    for file in every_kind(ids):
        assert rows(png_overlaps(tensor(file), tensor(file))) == expected


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(rows_: bytes, size: tuple[int, int] = (2, 2), kind: bytes = b"\x08\x02\0\0\0", parts: int = 1) -> bytes:
    header = chunk(b"IHDR", struct.pack(">II", size[1], size[0]) + kind)
    stream = zlib.compress(rows_)
    step = -(-len(stream) // parts)
    data = b"".join(chunk(b"IDAT", stream[start : start + step]) for start in range(0, len(stream), step))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"tEXt", b"a\0b") + data + chunk(b"IEND", b"")


ROWS = b"\0" + bytes([1, 0, 0, 2, 0, 0]) + b"\0" + bytes([1, 0, 0, 1, 0, 0])


@pytest.mark.parametrize("parts", [1, 3, 100])
def test_rows_in_several_parts(parts: int) -> None:
    file = tensor(png(ROWS, parts=parts))
    assert rows(png_overlaps(file, file)) == {(1, 1): (3, 0, 0, 0), (2, 2): (1, 0, 0, 0)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"P", "not a PNG"),
        (b"GIF89a" + bytes(40), "not a PNG"),
        (png(ROWS)[:30], "too early"),
        (png(ROWS)[:-12], "too early"),
        (png(ROWS).replace(b"IHDR", b"IHDX"), "unknown kind"),
        (png(ROWS)[:16] + b"\1" + png(ROWS)[17:], "checksum"),
        (png(ROWS, kind=b"\x08\x06\0\0\0"), "not plain"),
        (png(ROWS, kind=b"\x10\x02\0\0\0"), "not plain"),
        (png(ROWS, kind=b"\x08\x02\0\0\1"), "not plain"),
        (png(ROWS, size=(0, 2)), "size is invalid"),
        (png(ROWS, size=(2**31 - 1, 2**31 - 1)), "size is invalid"),
        (png(ROWS, size=(3, 2)), "rows are broken"),
        (png(b"\5" + ROWS[1:]), "unknown filter"),
    ],
)
def test_files_that_are_no_id_map(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"png_overlaps: .*{message}"):
        png_overlaps(tensor(content), tensor(content))


def test_files_of_different_sizes() -> None:
    with pytest.raises(ValueError, match="same size"):
        png_overlaps(encode(np.ones((2, 3), np.int64)), encode(np.ones((3, 2), np.int64)))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_streams_are_refused_or_read_as_something(seed: int) -> None:
    """With right checksums, so that the damage reaches the decoder; what counts is that the process lives."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 900, (60, 80))
    level = int(generator.integers(0, 10))
    raw = b"".join(bytes([row % 5]) + colors(ids)[row].tobytes() for row in range(60))
    stream = bytearray(zlib.compress(raw, level))
    outcomes: Counter[str] = Counter()
    for _ in range(300):
        damaged = bytearray(stream)
        for place in generator.integers(2, min(len(stream), 400), int(generator.integers(1, 4))):
            damaged[place] ^= 1 << int(generator.integers(0, 8))
        header = chunk(b"IHDR", struct.pack(">II", 80, 60) + b"\x08\x02\0\0\0")
        file = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", bytes(damaged)) + chunk(b"IEND", b"")
        try:
            table = png_overlaps(tensor(file), tensor(file), 1)
            outcomes["read"] += int(table[:, 2].sum()) == 60 * 80
        except ValueError:
            outcomes["refused"] += 1
    assert outcomes.total() == 300
    assert outcomes["refused"] > 0
