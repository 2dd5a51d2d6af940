"""Looking up and resampling id maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seamseg.ops.id_maps import find_ids, take_pixels


def runs(generator: np.random.Generator, values: list[int], height: int, width: int) -> np.ndarray:
    """A map of runs of all lengths, from single pixels to whole rows."""
    rows = []
    for _ in range(height):
        lengths = generator.integers(1, 40, size=width)
        row = np.repeat(generator.choice(values, size=width), lengths)[:width]
        rows.append(row)
    return np.stack(rows).astype(np.int32)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 90))
def test_ids_are_found_as_a_dictionary_would(seed: int, num_known: int, width: int) -> None:
    generator = np.random.default_rng(seed)
    known = np.sort(generator.choice(2**24, size=num_known, replace=False)).astype(np.int32)
    ids = runs(generator, [*known.tolist(), -1, 7], 3, width)
    place = {int(value): position for position, value in enumerate(known)}
    found = find_ids(torch.from_numpy(ids), torch.from_numpy(known))
    assert found.dtype == torch.int32
    assert found.tolist() == [[place.get(int(value), -1) for value in row] for row in ids]


def test_nothing_is_found_in_an_empty_list() -> None:
    assert (
        find_ids(torch.zeros((2, 3), dtype=torch.int32), torch.zeros(0, dtype=torch.int32)).tolist() == [[-1] * 3] * 2
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.integers(0, 12), st.integers(0, 12))
def test_pixels_are_taken_where_rows_and_columns_cross(
    seed: int, height: int, width: int, new_height: int, new_width: int
) -> None:
    generator = np.random.default_rng(seed)
    ids = generator.integers(-5, 2**31 - 1, size=(height, width), dtype=np.int32)
    rows = np.sort(generator.integers(0, height, new_height))  # repeated ones are neighbours, as in enlarging
    columns = generator.integers(0, width, new_width)
    taken = take_pixels(*map(torch.from_numpy, (ids, rows, columns)))
    assert taken.dtype == torch.int32
    assert taken.tolist() == [[ids[y, x] for x in columns] for y in rows]


def test_maps_need_not_be_contiguous() -> None:
    ids = torch.arange(24, dtype=torch.int32).reshape(4, 6).t()
    assert torch.equal(find_ids(ids, torch.arange(24, dtype=torch.int32)), ids)
    assert torch.equal(take_pixels(ids, torch.arange(6), torch.arange(4)), ids)


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
def test_what_cannot_be_looked_up_is_refused(ids: Tensor, known: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        find_ids(ids, known)


@pytest.mark.parametrize(
    ("ids", "rows", "columns", "said"),
    [
        (SMALL.float(), ONE, ONE, "ids must be H x W int32"),
        (SMALL, ONE.int(), ONE, "must be int64 of one dimension"),
        (SMALL, ONE, ONE[None], "must be int64 of one dimension"),
        (SMALL, torch.tensor([0, 2]), ONE, "outside of the id map"),
        (SMALL, torch.tensor([-1]), ONE, "outside of the id map"),
        (SMALL, ONE, torch.tensor([3]), "outside of the id map"),
    ],
)
def test_what_cannot_be_taken_is_refused(ids: Tensor, rows: Tensor, columns: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        take_pixels(ids, rows, columns)


def test_opcheck() -> None:
    ids, known = SMALL.clone(), torch.tensor([0, 3], dtype=torch.int32)
    find_ids(ids, known)
    take_pixels(ids, ONE, ONE)
    torch.library.opcheck(torch.ops.seamseg.find_ids.default, (ids, known))
    torch.library.opcheck(torch.ops.seamseg.take_pixels.default, (ids, ONE, ONE))
