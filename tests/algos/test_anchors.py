"""Anchors, against values computed by hand and by loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seamseg.algos.anchors import AnchorGrid

CPU = torch.device("cpu")
SIDES = st.integers(0, 5)
RATIOS = st.lists(st.sampled_from([0.2, 0.5, 1.0, 2.0, 5.0]), min_size=1, max_size=5, unique=True)


def test_square_anchors_are_centered_on_their_cells() -> None:
    anchors = AnchorGrid((1.0,), 2.0, (4,))([(2, 3)], CPU)
    assert anchors.tolist() == [
        [-2, -2, 6, 6],
        [-2, 2, 6, 10],
        [-2, 6, 6, 14],
        [2, -2, 10, 6],
        [2, 2, 10, 10],
        [2, 6, 10, 14],
    ]


def test_anchors_with_ratios_have_equal_area_and_the_ratio_height_to_width() -> None:
    upright, square, flat = AnchorGrid((4.0, 1.0, 0.25), 8.0, (4,))([(1, 1)], CPU)
    assert upright.tolist() == [-30, -6, 34, 10]
    assert square.tolist() == [-14, -14, 18, 18]
    assert flat.tolist() == [-6, -30, 10, 34]


def test_anchors_of_several_levels_are_concatenated_and_scale_with_the_stride() -> None:
    fine, coarse = AnchorGrid((1.0,), 2.0, (4, 8))([(1, 1), (1, 1)], CPU)
    assert fine.tolist() == [-2, -2, 6, 6]
    assert coarse.tolist() == [-4, -4, 12, 12]


@given(sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3), ratios=RATIOS, scale=st.sampled_from([2, 8]))
def test_random_grid_equals_loops_over_level_row_column_and_ratio(
    sizes: list[tuple[int, int]], ratios: list[float], scale: int
) -> None:
    strides = (4, 8, 16)[: len(sizes)]
    expected = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        for row in range(height):
            for column in range(width):
                for ratio in ratios:
                    y, x = (row + 0.5) * stride, (column + 0.5) * stride
                    tall, wide = stride * scale * math.sqrt(ratio), stride * scale / math.sqrt(ratio)
                    expected.append([y - tall / 2, x - wide / 2, y + tall / 2, x + wide / 2])
    anchors = AnchorGrid(ratios, scale, strides)(sizes, CPU)
    assert anchors.dtype == torch.float32
    torch.testing.assert_close(anchors, torch.tensor(expected).reshape(-1, 4))


@pytest.mark.parametrize("sizes", [[(2, 2)], [(2, 2)] * 3])
def test_grid_with_another_number_of_levels_raises_value_error(sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=f"{len(sizes)} feature levels .* 2 strides"):
        AnchorGrid((1.0,), 2.0, (4, 8))(sizes, CPU)
