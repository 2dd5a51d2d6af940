from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from oracles import segment_boxes as oracle
from torch import Tensor

from seamseg.ops.id_maps import segment_boxes

NUM_SEGMENTS = 6


def assert_equals_oracle(ids: Tensor, num_segments: int) -> None:
    boxes, areas = segment_boxes(ids, num_segments)
    expected_boxes, expected_areas = oracle.segment_boxes(ids.numpy(), num_segments)
    assert boxes.dtype == torch.float32
    assert areas.dtype == torch.int64
    assert boxes.shape == (num_segments, 4)
    assert boxes.tolist() == expected_boxes
    assert areas.tolist() == expected_areas


def test_segment_boxes_of_a_drawn_map_are_as_expected() -> None:
    ids = torch.tensor(
        [
            [0, 0, 0, 0, 4],
            [0, 1, 0, 2, 2],
            [1, 1, 1, 2, 0],
            [0, 1, 0, 0, 0],
        ]
    )
    boxes, areas = segment_boxes(ids, 5)
    assert boxes.tolist() == [[0, 0, 4, 5], [1, 0, 4, 3], [1, 3, 3, 5], [-1, -1, -1, -1], [0, 4, 1, 5]]
    assert areas.tolist() == [11, 5, 3, 0, 1]


@given(
    st.sampled_from(["int32", "int64"]).flatmap(
        lambda dtype: npst.arrays(
            dtype, npst.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 5)
        )
    )
)
def test_segment_boxes_of_random_maps_equal_the_oracle(ids: NDArray[np.int32]) -> None:
    assert_equals_oracle(torch.from_numpy(ids), NUM_SEGMENTS)


@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.int32, torch.int64]))
def test_segment_boxes_of_maps_with_long_runs_equal_the_oracle(seed: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 70, (8,), generator=generator)
    row = torch.repeat_interleave(torch.randint(0, NUM_SEGMENTS, (8,), generator=generator), lengths)
    assert_equals_oracle(torch.stack([row, row.flip(0)]).to(dtype), NUM_SEGMENTS)


def test_segment_boxes_of_scattered_pixels_give_one_box() -> None:
    ids = torch.zeros((40, 30), dtype=torch.int64)
    ids[3, 20] = ids[30, 2] = ids[15, 29] = 1
    assert segment_boxes(ids, 2)[0][1].tolist() == [3, 2, 31, 30]


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (7, 0)])
def test_segment_boxes_of_a_map_without_pixels_are_empty(shape: tuple[int, int]) -> None:
    assert_equals_oracle(torch.zeros(shape, dtype=torch.int64), 3)


def test_segment_boxes_of_no_segments_have_zero_rows() -> None:
    boxes, areas = segment_boxes(torch.zeros((0, 5), dtype=torch.int64), 0)
    assert (boxes.shape, areas.shape) == ((0, 4), (0,))


def test_segment_boxes_of_strided_maps_equal_those_of_copies() -> None:
    ids = torch.randint(0, NUM_SEGMENTS, (11, 14), generator=torch.Generator().manual_seed(5))
    for view in (ids.t(), ids[::2, 1::3], ids[3:8, 4:9], ids[:1].expand(6, 14)):
        assert not view.is_contiguous()
        assert_equals_oracle(view, NUM_SEGMENTS)


def test_segment_boxes_keep_the_map() -> None:
    ids = torch.tensor([[2, 0], [1, 1]])
    segment_boxes(ids, 3)
    assert ids.tolist() == [[2, 0], [1, 1]]


@pytest.mark.parametrize("outsider", [-1, 6, 2**40, -(2**62)])
def test_segment_boxes_with_an_unknown_id_name_it_and_its_position(outsider: int) -> None:
    ids = torch.zeros((4, 5), dtype=torch.int64)
    ids[2, 3] = outsider
    with pytest.raises(ValueError, match=rf"row 2, column 3 has the id {outsider}, but with 6 segments"):
        segment_boxes(ids, NUM_SEGMENTS)


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.float32, torch.bool])
def test_segment_boxes_of_other_types_than_int32_and_int64_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="ids must be int32 or int64"):
        segment_boxes(torch.zeros((2, 2), dtype=dtype), 1)


@pytest.mark.parametrize("shape", [(), (4,), (1, 4, 4)])
def test_segment_boxes_of_maps_that_are_not_two_dimensional_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        segment_boxes(torch.zeros(shape, dtype=torch.int64), 1)


def test_segment_boxes_of_a_negative_number_of_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="num_segments must not be negative"):
        segment_boxes(torch.zeros((0, 0), dtype=torch.int64), -1)


@pytest.mark.parametrize("shape", [(5, 7), (0, 4)])
def test_segment_boxes_operator_passes_opcheck(shape: tuple[int, int]) -> None:
    segment_boxes(torch.zeros((1, 1), dtype=torch.int64), 1)  # loads the operator
    ids = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))
    torch.library.opcheck(torch.ops.seamseg.segment_boxes.default, (ids, 3))


def test_segment_boxes_compile_without_a_graph_break() -> None:
    ids = torch.tensor([[0, 1, 1], [3, 1, 0]])
    compiled = torch.compile(segment_boxes, fullgraph=True, backend="aot_eager")
    for expected, found in zip(segment_boxes(ids, 5), compiled(ids, 5), strict=True):
        assert torch.equal(expected, found)
