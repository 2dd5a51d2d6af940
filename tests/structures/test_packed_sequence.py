from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seamseg.structures import PackedSequence

COUNTS = st.lists(st.none() | st.integers(0, 4), max_size=6)
"""Number of rows of each entry; None for an absent entry."""


def numbered(counts: list[int | None]) -> list[Tensor | None]:
    """Return R×2 entries in which no value repeats."""
    entries, start = [], 0
    for count in counts:
        entries.append(None if count is None else torch.arange(start, start + 2 * count).reshape(count, 2))
        start += 2 * (count or 0)
    return entries


def assert_same(sequence: PackedSequence, entries: list[Tensor | None]) -> None:
    assert len(sequence) == len(entries)
    for found, expected in zip(sequence, entries, strict=True):
        assert found is expected


@given(COUNTS)
@settings(deadline=None)
def test_sequence_holds_the_given_entries(counts: list[int | None]) -> None:
    entries = numbered(counts)
    sequence = PackedSequence(iter(entries))
    assert_same(sequence, entries)
    assert [sequence[position] for position in range(len(entries))] == entries
    expected = [entry for entry in entries if entry is not None]
    assert len(sequence.present) == len(expected)
    assert all(found is entry for found, entry in zip(sequence.present, expected, strict=True))
    assert sequence.all_absent == (not expected)


@given(COUNTS, COUNTS)
@settings(deadline=None)
def test_addition_concatenates_two_sequences(first: list[int | None], second: list[int | None]) -> None:
    entries, others = numbered(first), numbered(second)
    assert_same(PackedSequence(entries) + PackedSequence(others), entries + others)


@given(COUNTS, st.slices(6))
@settings(deadline=None)
def test_slices_equal_those_of_a_list(counts: list[int | None], part: slice) -> None:
    entries = numbered(counts)
    assert_same(PackedSequence(entries)[part], entries[part])


@given(COUNTS)
@settings(deadline=None)
def test_contiguous_returns_the_image_of_every_row(counts: list[int | None]) -> None:
    sequence = PackedSequence(numbered(counts))
    if sequence.all_absent:
        with pytest.raises(ValueError, match="every entry is absent"):
            sequence.contiguous()
        return
    rows, image_index = sequence.contiguous()
    expected = [(row, image) for image, entry in enumerate(sequence) if entry is not None for row in entry.tolist()]
    assert image_index.dtype == torch.int64
    assert rows.shape == (len(expected), 2)
    assert list(zip(rows.tolist(), image_index.tolist(), strict=True)) == expected


@given(COUNTS)
@settings(deadline=None)
def test_from_rows_inverts_contiguous(counts: list[int | None]) -> None:
    sequence = PackedSequence(numbered(counts))
    if sequence.all_absent:
        return
    again = PackedSequence.from_rows(*sequence.contiguous(), len(sequence))
    assert len(again) == len(sequence)
    for found, entry in zip(again, sequence, strict=True):
        assert found is not None
        assert found.tolist() == ([] if entry is None else entry.tolist())
        assert found.shape[1:] == (2,)


def test_from_rows_in_any_order_sorts_rows_by_image() -> None:
    split = PackedSequence.from_rows(torch.tensor([5.0, 6, 7, 8]), torch.tensor([2, 0, 2, 0]), 4)
    assert [split.entry(image).tolist() for image in range(4)] == [[6, 8], [], [5, 7], []]


@pytest.mark.parametrize(("index", "message"), [([0, 3, 1, 3], r"\[3\], .* 3 images"), ([-1, 0, 1, 7], r"\[-1, 7\]")])
def test_from_rows_with_index_out_of_range_raises_value_error(index: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=f"images {message}"):
        PackedSequence.from_rows(torch.zeros(4, 2), torch.tensor(index), 3)


@pytest.mark.parametrize(
    ("rows", "index"), [((4, 2), (3,)), ((4, 2), (5,)), ((4, 2), (4, 2)), ((), ()), ((4,), ())], ids=str
)
def test_from_rows_without_one_index_per_row_raises_value_error(rows: tuple[int, ...], index: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="needs the index of its image"):
        PackedSequence.from_rows(torch.zeros(rows), torch.zeros(index, dtype=torch.int64), 2)


def test_contiguous_with_scalar_entries_names_their_positions() -> None:
    with pytest.raises(ValueError, match=r"entries \[1, 2\] of a PackedSequence have no dimension"):
        PackedSequence([torch.zeros(1), torch.zeros(()), torch.ones(())]).contiguous()


def test_contiguous_passes_gradients_to_the_entries() -> None:
    entries = [torch.ones(2, 3, requires_grad=True), torch.ones(1, 3, requires_grad=True)]
    rows, image_index = PackedSequence(entries).contiguous()
    (rows * (image_index + 1)[:, None]).sum().backward()
    assert [entry.grad.unique().tolist() for entry in entries if entry.grad is not None] == [[1], [2]]


def test_entries_of_any_shape_are_accepted_until_contiguous() -> None:
    sequence = PackedSequence([torch.zeros(3, 4, 5), None, torch.zeros(3, 6, 5), torch.zeros(())])
    assert repr(sequence) == "PackedSequence((3, 4, 5), none, (3, 6, 5), ())"
    with pytest.raises(ValueError, match=r"all but their first dimension.* \[\(4, 5\), \(6, 5\)\]"):
        sequence[:3].contiguous()


def test_negative_positions_count_from_the_end_of_the_sequence() -> None:
    entries = [torch.zeros(1), None, torch.ones(1)]
    sequence = PackedSequence(entries)
    assert sequence[-1] is entries[2]
    assert sequence.entry(-3) is entries[0]
    with pytest.raises(IndexError):
        sequence[3]


def test_entry_at_an_absent_position_raises_value_error() -> None:
    sequence = PackedSequence([torch.zeros(1), None])
    assert sequence[1] is None
    with pytest.raises(ValueError, match="entry 1 of the PackedSequence is absent"):
        sequence.entry(1)


@pytest.mark.parametrize("entries", [[], [None, None]])
@pytest.mark.parametrize("read", [lambda s: s.dtype, lambda s: s.device])
def test_dtype_and_device_without_entries_raise_value_error(
    entries: list[None], read: Callable[[PackedSequence], object]
) -> None:
    sequence = PackedSequence(entries)
    assert sequence.all_absent
    with pytest.raises(ValueError, match="no dtype and no device"):
        read(sequence)


def test_dtype_and_device_come_from_the_entries() -> None:
    sequence = PackedSequence([None, torch.zeros(2, dtype=torch.int16, device="meta")])
    assert (sequence.dtype, sequence.device) == (torch.int16, torch.device("meta"))


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (torch.zeros(1, dtype=torch.float64), r"entry 2 .* torch.float64 on cpu, .* torch.float32 on cpu"),
        (torch.zeros(1, device="meta"), r"entry 2 .* is torch.float32 on meta"),
        ([0.0], "entry 2 of a PackedSequence is a list, not a tensor"),
        (3, "entry 2 of a PackedSequence is a int, not a tensor"),
    ],
)
def test_entries_of_another_dtype_device_or_type_raise_value_error(odd: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackedSequence([None, torch.zeros(1), odd])  # type: ignore[list-item]


def test_first_entry_that_is_not_a_tensor_raises_value_error() -> None:
    with pytest.raises(ValueError, match="entry 0 of a PackedSequence is a str, not a tensor"):
        PackedSequence(["a", torch.zeros(1)])  # type: ignore[list-item]


def test_addition_of_incompatible_sequences_raises() -> None:
    sequence = PackedSequence([torch.zeros(1)])
    with pytest.raises(ValueError, match="convert them first"):
        sequence + PackedSequence([torch.zeros(1, dtype=torch.int64)])
    with pytest.raises(TypeError):
        sequence + 3  # type: ignore[operator]


def test_to_keeps_absent_entries() -> None:
    moved = PackedSequence([torch.zeros(2, 3), None]).to("meta")
    assert moved.device == torch.device("meta")
    assert repr(moved) == "PackedSequence((2, 3), none)"
    assert PackedSequence([None]).to("meta").all_absent


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_pin_memory_then_to_moves_entries_to_the_gpu() -> None:
    pinned = PackedSequence([torch.arange(3), None]).pin_memory()
    assert pinned.entry(0).is_pinned()
    moved = pinned.to("cuda", non_blocking=True)
    rows, image_index = moved.contiguous()
    assert rows.is_cuda
    assert image_index.is_cuda
    assert rows.tolist() == [0, 1, 2]
