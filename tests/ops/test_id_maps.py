"""Reading, looking up and resampling id maps."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seamseg.ops.id_maps import index_grid, lookup_ids, read_id_png


def runs(generator: np.random.Generator, values: list[int], height: int, width: int) -> np.ndarray:
    """Return a map of runs of all lengths, from single pixels to full rows."""
    rows = []
    for _ in range(height):
        lengths = generator.integers(1, 40, size=width)
        row = np.repeat(generator.choice(values, size=width), lengths)[:width]
        rows.append(row)
    return np.stack(rows).astype(np.int32)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 90))
def test_lookup_ids_equals_a_dictionary(seed: int, num_known: int, width: int) -> None:
    generator = np.random.default_rng(seed)
    known = np.sort(generator.choice(2**24, size=num_known, replace=False)).astype(np.int32)
    ids = runs(generator, [*known.tolist(), -1, 7], 3, width)
    place = {int(value): position for position, value in enumerate(known)}
    found = lookup_ids(torch.from_numpy(ids), torch.from_numpy(known))
    assert found.dtype == torch.int32
    assert found.tolist() == [[place.get(int(value), -1) for value in row] for row in ids]


def test_lookup_ids_among_no_known_ids_finds_none() -> None:
    assert (
        lookup_ids(torch.zeros((2, 3), dtype=torch.int32), torch.zeros(0, dtype=torch.int32)).tolist() == [[-1] * 3] * 2
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.integers(0, 12), st.integers(0, 12))
def test_index_grid_equals_indexing_by_rows_and_columns(
    seed: int, height: int, width: int, new_height: int, new_width: int
) -> None:
    generator = np.random.default_rng(seed)
    ids = generator.integers(-5, 2**31 - 1, size=(height, width), dtype=np.int32)
    rows = np.sort(generator.integers(0, height, new_height))  # repeated rows are adjacent, as in upsampling
    columns = generator.integers(0, width, new_width)
    taken = index_grid(*map(torch.from_numpy, (ids, rows, columns)))
    assert taken.dtype == torch.int32
    assert taken.tolist() == [[ids[y, x] for x in columns] for y in rows]


def test_lookup_ids_and_index_grid_take_strided_maps() -> None:
    ids = torch.arange(24, dtype=torch.int32).reshape(4, 6).t()
    assert torch.equal(lookup_ids(ids, torch.arange(24, dtype=torch.int32)), ids)
    assert torch.equal(index_grid(ids, torch.arange(6), torch.arange(4)), ids)


SMALL = torch.zeros((2, 3), dtype=torch.int32)
ONE = torch.zeros(1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("ids", "known", "said"),
    [
        (SMALL.long(), torch.zeros(1, dtype=torch.int32), "ids must be H x W int32"),
        (SMALL[0], torch.zeros(1, dtype=torch.int32), "ids must be H x W int32"),
        (SMALL, torch.zeros(1), "known must be K int32"),
        (SMALL, torch.tensor([1, 0], dtype=torch.int32), "ascending"),
    ],
)
def test_lookup_ids_of_wrong_arguments_is_refused(ids: Tensor, known: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lookup_ids(ids, known)


@pytest.mark.parametrize(
    ("ids", "rows", "columns", "said"),
    [
        (SMALL.float(), ONE, ONE, "ids must be H x W int32"),
        (SMALL, ONE.int(), ONE, "must be one-dimensional int64"),
        (SMALL, ONE, ONE[None], "must be one-dimensional int64"),
        (SMALL, torch.tensor([0, 2]), ONE, "outside of the id map"),
        (SMALL, torch.tensor([-1]), ONE, "outside of the id map"),
        (SMALL, ONE, torch.tensor([3]), "outside of the id map"),
    ],
)
def test_index_grid_of_wrong_arguments_is_refused(ids: Tensor, rows: Tensor, columns: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        index_grid(ids, rows, columns)


def test_opcheck() -> None:
    ids, known = SMALL.clone(), torch.tensor([0, 3], dtype=torch.int32)
    lookup_ids(ids, known)
    index_grid(ids, ONE, ONE)
    data = png(id_map(0, 3, 4), [0])
    read_id_png(data)
    torch.library.opcheck(
        torch.ops.seamseg.read_id_png.default, (torch.frombuffer(bytearray(data), dtype=torch.uint8),)
    )
    torch.library.opcheck(torch.ops.seamseg.lookup_ids.default, (ids, known))
    torch.library.opcheck(torch.ops.seamseg.index_grid.default, (ids, ONE, ONE))


def id_map(seed: int, height: int, width: int, values: int = 9) -> np.ndarray:
    """Blocks of segments with ragged edges and specks."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 2**24, size=values)
    blocks = np.kron(generator.integers(0, values, size=(height // 5 + 1, width // 9 + 1)), np.ones((5, 9), int))
    blocks = np.take_along_axis(blocks, (np.arange(width) + generator.integers(0, 4, (len(blocks), 1))) % width, axis=1)
    specks = generator.random((height, width)) < 0.02
    return ids[np.where(specks, generator.integers(0, values, (height, width)), blocks[:height, :width])]


def png(ids: np.ndarray, filters: list[int], level: int = 6, header: tuple[int, ...] = (8, 2, 0, 0, 0)) -> bytes:
    """A PNG file whose rows are filtered as wanted, in turn, straight from the standard (ISO/IEC 15948)."""
    height, width = ids.shape
    rows = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).reshape(height, 3 * width).astype(int).tolist()
    above, raw = [0] * (3 * width), bytearray()
    for y, row in enumerate(rows):
        kind = filters[y % len(filters)]
        raw.append(kind)
        for i, value in enumerate(row):
            a, b, c = row[i - 3] if i >= 3 else 0, above[i], above[i - 3] if i >= 3 else 0
            distances = [abs(b - c), abs(a - c), abs(a + b - 2 * c)]
            paeth = (a, b, c)[distances.index(min(distances))]
            raw.append((value - (0, a, b, (a + b) // 2, paeth)[kind]) % 256)
        above = row

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packed = zlib.compress(bytes(raw), level)
    parts = [packed[start : start + 100] for start in range(0, len(packed), 100)]
    head = chunk(b"IHDR", struct.pack(">II5B", width, height, *header))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(b"IDAT", part) for part in parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 2, 0, 3, 1]])
@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (23, 1), (31, 67)])
def test_ids_are_read_whatever_filter_and_compression(filters: list[int], level: int, size: tuple[int, int]) -> None:
    ids = id_map(sum(size), *size)
    read = read_id_png(png(ids, filters, level))
    assert (read.dtype, read.is_contiguous()) == (torch.int32, True)
    assert np.array_equal(read.numpy(), ids)


@pytest.mark.parametrize("seed", range(8))
def test_files_of_opencv_and_pillow_are_read(seed: int) -> None:
    ids = id_map(seed, 40 + 7 * seed, 90 - 5 * seed, values=2 + 9 * seed)
    blue_first = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], axis=-1).astype(np.uint8)
    strategy = [cv2.IMWRITE_PNG_STRATEGY, seed % 5]
    assert np.array_equal(read_id_png(cv2.imencode(".png", blue_first, strategy)[1].tobytes()).numpy(), ids)
    buffer = io.BytesIO()
    pytest.importorskip("PIL.Image").fromarray(np.ascontiguousarray(blue_first[..., ::-1])).save(buffer, "png")
    assert np.array_equal(read_id_png(buffer.getvalue()).numpy(), ids)


def test_other_kinds_of_file_and_broken_ones_are_refused() -> None:
    ids = id_map(0, 20, 30)
    whole = png(ids, [1])
    kinds = [(16, 2, 0, 0, 0), (8, 6, 0, 0, 0), (8, 0, 0, 0, 0), (8, 2, 0, 0, 1)]
    huge = png(ids, [1]).replace(struct.pack(">II", 30, 20), struct.pack(">II", 2**19, 2**19))
    cut = [whole[:length] for length in range(0, len(whole), 37)]
    for data in [b"", b"\xff\xd8", huge, *cut, *(png(ids, [1], header=kind) for kind in kinds)]:
        with pytest.raises(ValueError, match="read_id_png"):
            read_id_png(data)


def test_damaged_files_are_refused_or_read_as_opencv_reads_them() -> None:
    generator = np.random.default_rng(0)
    whole = png(id_map(1, 20, 30), [4, 1])
    for _ in range(400):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), size=generator.integers(1, 4)):
            damaged[place] = generator.integers(0, 256)
        try:
            read = read_id_png(bytes(damaged))
        except ValueError:
            continue
        pixels = cv2.imdecode(np.frombuffer(bytes(damaged), np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        assert np.array_equal(read.numpy(), pixels.astype(int) @ np.array([65536, 256, 1]))
