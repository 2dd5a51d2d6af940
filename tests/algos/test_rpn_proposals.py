"""Selection of proposals, against loops over boxes."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import selection as oracle
from torch import Tensor

from seamseg.algos.rpn import ProposalSelector

SIZE = (40, 60)


def select(
    anchors: list[list[float]], objectness: list[float], box_deltas: Tensor | None = None, **settings: float
) -> Tensor:
    defaults = {"num_before_nms": 1000, "num_after_nms": 1000, "nms_threshold": 0.7, "min_size": 0}
    box_deltas = torch.zeros(len(anchors), 4) if box_deltas is None else box_deltas
    rows = torch.tensor(anchors).reshape(-1, 4)
    return ProposalSelector(**(defaults | settings))(rows, torch.tensor([objectness]), box_deltas[None], [SIZE]).entry(
        0
    )


def test_select_sorts_boxes_by_descending_objectness() -> None:
    found = select([[0.0, 0, 5, 5], [10, 10, 20, 20], [30, 30, 40, 40]], [0.1, -3.0, 2.0])
    assert found.tolist() == [[30, 30, 40, 40], [0, 0, 5, 5], [10, 10, 20, 20]]


def test_select_decodes_box_deltas_relative_to_the_sides() -> None:
    box_deltas = torch.tensor([[0.5, -0.25, math.log(2), math.log(0.5)]])
    found = select([[10.0, 20, 20, 40]], [0.0], box_deltas)
    torch.testing.assert_close(found, torch.tensor([[10.0, 20, 30, 30]]))


def test_select_clips_boxes_to_the_unpadded_image() -> None:
    found = select([[-5.0, -7, 50, 70], [-9, 10, -3, 20]], [1.0, 0.0])
    assert found.tolist() == [[0, 0, 40, 60], [0, 10, 0, 20]]  # without area, but min_size is 0


def test_select_with_huge_box_deltas_stays_finite() -> None:
    found = select([[19.0, 29, 21, 31]], [0.0], torch.tensor([[0.0, 0, 500, 1]]))
    assert found[0, [0, 2]].tolist() == [0, 40]
    assert found.isfinite().all()
    # The largest factor is 1000/16: a side of 0.5 becomes 31.25.
    found = select([[19.75, 29, 20.25, 31]], [0.0], torch.tensor([[0.0, 0, 500, 0]]))
    torch.testing.assert_close(found, torch.tensor([[4.375, 29, 35.625, 31]]))


def test_select_drops_small_boxes_after_clipping() -> None:
    anchors = [[0.0, 0, 4, 9], [0, 0, 3.9, 9], [0, 0, 9, 3.9], [-2, 0, 3, 9], [0, 58, 9, 70]]
    found = select(anchors, [5.0, 4.0, 3.0, 2.0, 1.0], min_size=4)
    assert found.tolist() == [[0, 0, 4, 9]]


def test_select_drops_small_boxes_before_counting_the_best() -> None:
    found = select([[0.0, 0, 1, 1], [5, 5, 10, 10]], [9.0, 1.0], num_before_nms=1, min_size=2)
    assert found.tolist() == [[5, 5, 10, 10]]


def test_select_limits_boxes_before_and_after_suppression() -> None:
    anchors = [[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30], [20, 40, 30, 50]]
    scores = [4.0, 3.0, 2.0, 1.0]
    assert select(anchors, scores, num_before_nms=2).tolist() == [anchors[0]]
    assert select(anchors, scores, num_before_nms=3).tolist() == [anchors[0], anchors[2]]
    assert select(anchors, scores, num_after_nms=2).tolist() == [anchors[0], anchors[2]]


def test_select_ignores_suppressed_boxes_in_the_suppression() -> None:
    chain = [[0.0, 0, 10, 10], [0, 2, 10, 12], [0, 4, 10, 14]]  # neighbors overlap by 2/3, the ends by 3/7
    assert select(chain, [3.0, 2.0, 1.0], nms_threshold=0.5).tolist() == [chain[0], chain[2]]


def test_select_clips_and_counts_per_image() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 10, 10, 20]])
    selector = ProposalSelector(10, 10, 0.7, 4)
    found = selector(anchors, torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.zeros(2, 2, 4), [(8, 20), (12, 11)])
    assert found.entry(0).tolist() == [[0, 10, 8, 20], [0, 0, 8, 10]]
    assert found.entry(1).tolist() == [[0, 0, 10, 10]]


def test_select_without_anchors_returns_no_proposals() -> None:
    assert select([], []).shape == (0, 4)


def test_select_returns_proposals_without_gradient() -> None:
    box_deltas = torch.zeros(1, 4, requires_grad=True)
    assert not select([[0.0, 0, 10, 10]], [0.0], box_deltas).requires_grad


@pytest.mark.parametrize("seed", range(20))
def test_select_random_anchors_equals_loops_over_boxes(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(120, 2, 2, generator=generator) * 50 - 5
    anchors = torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1).tolist()
    objectness = torch.randn(120, generator=generator).tolist()
    box_deltas = torch.randn(120, 4, generator=generator) * 0.3
    settings = {
        "num_before_nms": (200, 60)[seed % 2],
        "num_after_nms": (200, 20)[seed % 3 % 2],
        "nms_threshold": (0.7, 0.4, 0.2)[seed % 3],
        "min_size": (0, 6)[seed // 2 % 2],
    }
    expected = oracle.select_proposals(anchors, objectness, box_deltas.tolist(), SIZE, **settings)
    torch.testing.assert_close(select(anchors, objectness, box_deltas, **settings), torch.tensor(expected))
