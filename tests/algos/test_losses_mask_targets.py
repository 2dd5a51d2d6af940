"""Mask targets, against drawings and a loop over positions."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import mask_targets as oracle
from support.drawn_truth import drawn
from torch import Tensor

from seamseg.algos.losses import IGNORED, mask_targets, point_targets
from seamseg.structures import LayeredSegmentation


def layers(*maps: Tensor) -> LayeredSegmentation:
    """Return id maps as layers; the classes of the segments do not matter."""
    number = 1 + max(int(ids.max()) for ids in maps)
    return LayeredSegmentation(torch.stack(maps), torch.zeros(number, dtype=torch.int64), torch.zeros(number) > 0)


def targets(ids: Tensor, box: list[float], segment: int, size: int, void_is_background: bool = False) -> list[str]:
    found = mask_targets(layers(ids), torch.tensor([box]), torch.tensor([segment]), size, void_is_background)
    return ["".join({1: "#", 0: ".", IGNORED: "?"}[int(pixel)] for pixel in row) for row in found[0]]


IDS = drawn("110022 113022 333022").ids


def test_targets_distinguish_object_other_segments_and_void() -> None:
    assert targets(IDS, [0, 0, 2, 4], 1, 2) == ["#?", "#?"]
    assert targets(IDS, [0, 0, 3, 6], 1, 3) == ["#?.", "#?.", ".?."]
    assert targets(IDS, [1, 0, 3, 3], 3, 2) == [".#", "##"]


def test_targets_with_void_is_background_have_zeros_in_void() -> None:
    assert targets(IDS, [0, 0, 3, 6], 1, 3, void_is_background=True) == ["#..", "#..", "..."]


def test_targets_of_overlapping_objects_read_the_layer_of_each() -> None:
    front, behind = drawn("1100 1100 0033").ids, drawn("0222 0222 0000").ids
    boxes = torch.tensor([[0.0, 0, 3, 4], [0, 0, 3, 4]])
    masks = mask_targets(layers(front, behind), boxes, torch.tensor([1, 2]), 12, void_is_background=True)
    assert masks[:, ::4, ::3].tolist() == [
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]],
        [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]],
    ]


def test_target_positions_read_the_pixel_that_contains_them() -> None:
    ids = drawn("12").ids
    assert targets(ids, [0, 0, 1, 2], 1, 4) == ["##.."] * 4
    assert targets(ids, [0, 0.4, 1, 1.4], 1, 2) == ["#.", "#."]
    assert targets(ids, [0, 0.6, 1, 1.6], 1, 2) == ["#.", "#."]
    assert targets(ids, [0, 0.8, 1, 1.8], 1, 2) == ["..", ".."]


def test_target_positions_outside_the_image_read_its_border() -> None:
    assert targets(drawn("12 12").ids, [-2, -2, 4, 4], 2, 6) == ["...###"] * 6


def test_mask_targets_without_boxes_are_empty() -> None:
    found = mask_targets(layers(IDS), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 28, False)
    assert (found.shape, found.dtype) == ((0, 28, 28), torch.int64)


@pytest.mark.parametrize("void_is_background", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_random_targets_equal_a_loop_over_positions(seed: int, void_is_background: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    size = (28, 5)[seed % 2]
    ids = torch.randint(0, 4, (17, 23), generator=generator)
    corners = torch.rand(6, 2, 2, generator=generator) * 30 - 4
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    segments = torch.randint(1, 4, (6,), generator=generator)
    found = mask_targets(layers(ids), boxes, segments, size, void_is_background)
    for target, box, segment in zip(found, boxes.tolist(), segments.tolist(), strict=True):
        expected = torch.tensor(oracle.mask_target(ids, box, segment, size, void_is_background))
        assert torch.equal(target[away_from_edges(box, size)], expected[away_from_edges(box, size)])


def away_from_edges(box: list[float], size: int) -> Tensor:
    """Return the positions that rounding in float32 cannot move to another pixel."""
    rows, columns = (
        [abs(at - round(at)) > 1e-4 for i in range(size) for at in [low + (i + 0.5) / size * (high - low)]]
        for low, high in ((box[0], box[2]), (box[1], box[3]))
    )
    assert math.prod([sum(rows), sum(columns)]) > 0.9 * size * size
    return torch.tensor(rows)[:, None] & torch.tensor(columns)[None]


@pytest.mark.parametrize("void_is_background", [False, True])
def test_point_targets_have_the_value_of_the_pixel_of_each_point(void_is_background: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    front, behind = (torch.randint(0, 3, (17, 23), generator=generator) for _ in range(2))
    behind = torch.where(behind == 2, 3, 0)
    front[0, 0] = 2
    points = torch.rand(4, 30, 2, generator=generator) * torch.tensor([17.0, 23])
    points[:, :3] = torch.tensor([[0.0, 0], [17, 23], [-1, 30]])  # the last two read the border
    segments = torch.tensor([1, 3, 2, 1])
    found = point_targets(layers(front, behind), points, segments, void_is_background)
    for row, segment in enumerate(segments.tolist()):
        ids = behind if segment == 3 else front
        for number, (y, x) in enumerate(points[row].tolist()):
            pixel = int(ids[min(max(math.floor(y), 0), 16), min(max(math.floor(x), 0), 22)])
            void = 0 if void_is_background else IGNORED
            assert found[row, number] == (void if pixel == 0 else int(pixel == segment))


def test_point_targets_without_regions_are_empty() -> None:
    found = point_targets(layers(IDS), torch.zeros(0, 9, 2), torch.zeros(0, dtype=torch.int64), False)
    assert (found.shape, found.dtype) == ((0, 9), torch.int64)
