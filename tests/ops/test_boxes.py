from __future__ import annotations

import math
from random import Random

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import box_deltas, overlap
from oracles import nms as nms_oracle
from torch import Tensor
from torch.library import opcheck

from seamseg.ops.boxes import (
    MAX_LOG_SCALE,
    best_overlaps,
    box_area,
    box_iou,
    clip_boxes,
    coverage,
    decode_boxes,
    encode_boxes,
    nms,
    scale_boxes,
)

Box = tuple[float, float, float, float]

GRID = st.integers(0, 7)
ANY_BOX = st.tuples(GRID, GRID, GRID, GRID)
"""Integer corners in any order: boxes without area and inside out are among them."""

EDGE = st.floats(-5, 15, width=32)
LOOSE_BOX = st.tuples(EDGE, EDGE, EDGE, EDGE)

CENTER, SIDE = st.floats(-100, 100), st.floats(0.5, 30)
REAL_BOX = st.builds(lambda y, x, h, w: (y - h / 2, x - w / 2, y + h / 2, x + w / 2), CENTER, CENTER, SIDE, SIDE)
"""Sides of ½ to 30, so that no side is more than 60 times another."""


def tensor(boxes: list[Box], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(boxes, dtype=dtype).reshape(-1, 4)


def pixels(box: Box) -> set[tuple[int, int]]:
    y0, x0, y1, x1 = (int(edge) for edge in box)
    return {(y, x) for y in range(y0, y1) for x in range(x0, x1)}


@given(ANY_BOX)
@settings(deadline=None)
def test_area_of_an_integer_box_is_its_number_of_pixels(box: Box) -> None:
    assert box_area(tensor([box])).item() == len(pixels(box))


def test_area_keeps_leading_dimensions() -> None:
    assert box_area(torch.tensor([0.0, 0, 2.5, 4]).expand(2, 3, 4)).tolist() == [[10.0] * 3] * 2


@given(st.lists(ANY_BOX, max_size=5), st.lists(ANY_BOX, max_size=5))
@settings(deadline=None)
def test_iou_of_integer_boxes_counts_common_pixels(boxes: list[Box], others: list[Box]) -> None:
    found = box_iou(tensor(boxes), tensor(others))
    assert found.shape == (len(boxes), len(others))
    for row, box in zip(found.tolist(), boxes, strict=True):
        for iou, other in zip(row, others, strict=True):
            union = pixels(box) | pixels(other)
            assert iou == pytest.approx(len(pixels(box) & pixels(other)) / len(union) if union else 0)


@given(LOOSE_BOX, LOOSE_BOX)
@settings(deadline=None)
def test_iou_of_any_boxes_is_symmetric_and_between_zero_and_one(box: Box, other: Box) -> None:
    found = box_iou(tensor([box]), tensor([other])).item()
    assert found == box_iou(tensor([other]), tensor([box])).item() == overlap.iou(box, other)
    assert 0 <= found <= 1


@given(st.lists(ANY_BOX, max_size=7), st.lists(ANY_BOX, max_size=5), st.integers(1, 40))
@settings(deadline=None)
def test_best_overlaps_equal_those_of_the_full_matrix(boxes: list[Box], objects: list[Box], num_pairs: int) -> None:
    """Corners on a small grid give many ties."""
    found = best_overlaps(tensor(boxes), tensor(objects), num_pairs)
    matrix = [[overlap.iou(box, other) for other in objects] for box in boxes]
    for index, row in enumerate(matrix):
        best = max(row, default=0)
        assert found.box_iou[index] == best
        assert found.box_object[index] == (row.index(best) if row else 0)
    for index in range(len(objects)):
        column = [row[index] for row in matrix]
        best = max(column, default=0)
        assert found.object_iou[index] == best
        assert found.object_box[index] == (column.index(best) if column else 0)
    assert [len(found.box_iou), len(found.box_object)] == [len(boxes)] * 2
    assert [len(found.object_iou), len(found.object_box)] == [len(objects)] * 2


def test_best_overlaps_of_ties_across_chunks_have_the_lowest_index() -> None:
    boxes = tensor([(9, 9, 10, 10), (0, 0, 2, 2), (0, 0, 2, 2), (0, 0, 1, 2), (0, 0, 2, 2)])
    objects = tensor([(0, 0, 2, 2), (0, 0, 2, 2), (20, 20, 21, 21)])
    for num_pairs in range(1, 19):
        found = best_overlaps(boxes, objects, num_pairs)
        assert found.object_box.tolist() == [1, 1, 0]
        assert found.object_iou.tolist() == [1, 1, 0]
        assert found.box_object.tolist() == [0] * 5
        assert found.box_iou.tolist() == [0, 1, 1, 0.5, 1]


@given(st.lists(st.tuples(REAL_BOX, REAL_BOX), max_size=5))
@settings(deadline=None)
def test_encode_boxes_equals_its_definition_and_is_inverted_by_decode(pairs: list[tuple[Box, Box]]) -> None:
    boxes = tensor([box for box, _ in pairs], torch.float64)
    targets = tensor([target for _, target in pairs], torch.float64)
    found = encode_boxes(boxes, targets)
    expected = tensor([tuple(box_deltas.encode(box, target)) for box, target in pairs], torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(decode_boxes(boxes, found), targets, rtol=1e-9, atol=1e-9)


SHIFT = st.floats(-4, 4)


@given(REAL_BOX, st.tuples(SHIFT, SHIFT, SHIFT, SHIFT))
@settings(deadline=None)
def test_encode_boxes_of_a_decoded_box_gives_its_deltas(box: Box, shift: Box) -> None:
    boxes, shift_rows = tensor([box], torch.float64), tensor([shift], torch.float64)
    moved = decode_boxes(boxes, shift_rows)
    torch.testing.assert_close(moved[0].tolist(), box_deltas.decode(box, shift), rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(encode_boxes(boxes, moved), shift_rows, rtol=1e-7, atol=1e-7)


def test_decode_boxes_equals_a_result_computed_by_hand() -> None:
    shift = tensor([(0.1, 0.2, math.log(2), 0)])
    expected = [-4.0, 4, 16, 24]  # center (6, 14), 20×20
    torch.testing.assert_close(decode_boxes(tensor([(0, 0, 10, 20)]), shift), tensor([tuple(expected)]))


@pytest.mark.parametrize("log_scale", [MAX_LOG_SCALE, 5.0, 1000.0, math.inf])
def test_decode_boxes_limits_growth_to_1000_over_16(log_scale: float) -> None:
    moved = decode_boxes(tensor([(0, 0, 16, 32)]), tensor([(0, 0, log_scale, log_scale)]))
    torch.testing.assert_close(moved[0, 2:] - moved[0, :2], torch.tensor([1000.0, 2000.0]))


def test_decode_boxes_applies_the_deltas_of_every_class_to_one_box() -> None:
    boxes = tensor([(0, 0, 2, 4), (5, 5, 9, 9)])
    class_shifts = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    moved = decode_boxes(boxes[:, None], class_shifts)
    assert moved.shape == (2, 3, 4)
    for klass in range(3):
        torch.testing.assert_close(moved[:, klass], decode_boxes(boxes, class_shifts[:, klass]))


@given(st.lists(LOOSE_BOX, max_size=4), st.tuples(st.integers(1, 12), st.integers(1, 12)))
@settings(deadline=None)
def test_clip_boxes_moves_each_edge_into_the_image(boxes: list[Box], size: tuple[int, int]) -> None:
    clipped = clip_boxes(tensor(boxes), size)
    assert clipped.tolist() == [box_deltas.clip(box, size) for box in boxes]
    assert torch.equal(clip_boxes(clipped, size), clipped)


def test_clip_boxes_of_a_box_outside_the_image_gives_no_area() -> None:
    assert box_area(clip_boxes(tensor([(-5, 2, -1, 4), (3, 30, 6, 40)]), (10, 20))).tolist() == [0, 0]


def test_clip_boxes_keeps_its_argument() -> None:
    boxes = tensor([(-1, -1, 50, 50)])
    clip_boxes(boxes, (10, 10))
    assert boxes.tolist() == [[-1, -1, 50, 50]]


def test_scale_boxes_equals_a_result_computed_by_hand() -> None:
    assert scale_boxes(tensor([(1, 2, 3, 4), (0, 0, 10, 20)]), (10, 20), (20, 10)).tolist() == [
        [2, 1, 6, 2],
        [0, 0, 20, 10],
    ]


SIZE = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@given(REAL_BOX, SIZE, SIZE)
@settings(deadline=None)
def test_scale_boxes_and_back_gives_the_same_boxes(box: Box, size: tuple[int, int], new_size: tuple[int, int]) -> None:
    boxes = tensor([box], torch.float64)
    torch.testing.assert_close(scale_boxes(scale_boxes(boxes, size, new_size), new_size, size), boxes)


@given(st.lists(LOOSE_BOX, max_size=4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
@settings(deadline=None)
def test_coverage_counts_marked_pixels_in_truncated_boxes(boxes: list[Box], height: int, width: int, seed: int) -> None:
    marked = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.5
    found = coverage(tensor(boxes), marked)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([float(overlap.coverage(box, marked)) for box in boxes], rel=1e-5)


def test_coverage_equals_values_computed_by_hand() -> None:
    marked = torch.tensor([[True, True, False], [True, False, False]])
    boxes = [
        (0, 0, 2, 2),  # three of four
        (0, 0, 2, 3),  # three of six
        (0.9, 0.9, 1.9, 2.9),  # corners 0, 0, 1, 2: two pixels over an area of two
        (-2, 0, 2, 1),  # two of four, two of them outside
        (1, 1, 1, 2),  # no area
        (2, 2, 0, 0),  # inside out
        (7, 7, 9, 9),  # outside
    ]
    expected = [0.75, 0.5, 1, 0.5, 0, 0, 0]
    assert coverage(tensor(boxes), marked).tolist() == pytest.approx(expected)


def test_coverage_without_marked_pixels_is_zero() -> None:
    assert coverage(tensor([(0, 0, 3, 3)]), torch.zeros(5, 5, dtype=torch.bool)).tolist() == [0]
    assert coverage(tensor([]), torch.ones(5, 5, dtype=torch.bool)).shape == (0,)


@given(
    st.lists(ANY_BOX, max_size=9),
    st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    st.integers(0, 9),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_suppression_equals_its_definition(boxes: list[Box], threshold: float, max_kept: int, random: Random) -> None:
    scores = [rank / 16 for rank in range(len(boxes))]
    random.shuffle(scores)
    boxes = [box for box in boxes if pixels(box)]  # torchvision divides 0 by 0
    scores = scores[: len(boxes)]
    kept = nms(tensor(boxes), torch.tensor(scores), threshold, max_kept)
    assert kept.tolist() == nms_oracle.nms(boxes, scores, threshold)[:max_kept]


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.7, 1.0])
def test_suppression_of_many_boxes_equals_torchvision(threshold: float) -> None:
    """Coordinates on a coarse grid make many overlaps equal to the threshold, and the scores have ties."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 12, (700, 2), generator=generator).float()
    boxes = torch.cat([corners, corners + torch.randint(0, 11, (700, 2), generator=generator)], dim=1)
    boxes[::50] = float("nan")
    scores = torch.randint(0, 40, (700,), generator=generator).float()
    expected = torchvision.ops.nms(boxes, scores, threshold)
    for max_kept in (0, 1, 33, 700):
        assert nms(boxes, scores, threshold, max_kept).tolist() == expected[:max_kept].tolist()


def test_suppression_of_no_boxes_keeps_none() -> None:
    assert nms(torch.empty(0, 4), torch.empty(0), 0.5, 9).tolist() == []


@pytest.mark.parametrize(
    ("boxes", "max_kept", "fact"), [(torch.ones(2, 3), 1, "B x 4"), (torch.ones(2, 4), -1, "negative")]
)
def test_suppression_refuses_wrong_arguments(boxes: Tensor, max_kept: int, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        nms(boxes, torch.ones(2), 0.5, max_kept)


def test_suppression_operator_has_a_shape_function() -> None:
    nms(torch.ones(1, 4), torch.ones(1), 0.5, 1)
    opcheck(torch.ops.seamseg.nms.default, (torch.rand(5, 4), 0.5, 3))
