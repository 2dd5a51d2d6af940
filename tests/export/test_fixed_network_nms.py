"""Non-maximum suppression of fixed size, compared with torchvision's."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor

from seamseg.export.fixed_network import survivors


def random_boxes(*shape: int, seed: int, spread: float = 60) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(*shape, 2, generator=generator) * spread
    return torch.cat([corners, corners + torch.rand(*shape, 2, generator=generator) * 40], dim=-1)


def greedy(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Run torchvision's suppression on one group after the other."""
    keep = torch.zeros_like(valid)
    for group, taking_part in enumerate(valid):
        indices = taking_part.nonzero().squeeze(1)
        falling = torch.arange(len(indices), 0, -1).float()
        keep[group, indices[torchvision.ops.nms(boxes[group, indices], falling, threshold)]] = True
    return keep


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("spread", [5, 60, 150])
def test_survivors_random_boxes_equal_torchvision(threshold: float, spread: float) -> None:
    boxes = random_boxes(4, 150, seed=int(spread), spread=spread)
    valid = torch.rand(4, 150, generator=torch.Generator().manual_seed(1)) > 0.2
    expected = greedy(boxes, valid, threshold)
    assert torch.equal(survivors(boxes, valid, threshold), expected)
    assert 0 < expected.sum() < valid.sum()


def test_survivors_long_chain_of_overlaps_is_resolved() -> None:
    """Each box overlaps only its neighbors, so every other box is kept, and each box depends on the previous one."""
    y0 = torch.arange(200.0) * 4
    boxes = torch.stack([y0, torch.zeros(200), y0 + 10, torch.ones(200)], dim=1)[None]
    keep = survivors(boxes, torch.ones(1, 200, dtype=torch.bool), 0.4)
    assert keep[0].tolist() == [number % 2 == 0 for number in range(200)]


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.25, 0.3, 0.6, 0.7, 0.9])
def test_survivors_overlap_equal_to_the_threshold_equals_torchvision(threshold: float) -> None:
    """The IoU equals a threshold that float32 rounds up or down."""
    sides = torch.arange(1.0, 101)
    boxes = torch.stack([torch.stack([torch.zeros(4), torch.tensor([0, 0, 100, side])]).sum(0) for side in sides])
    pairs = torch.stack([torch.tensor([0.0, 0, 100, 100]).expand_as(boxes), boxes], dim=1)
    valid = torch.ones(pairs.shape[:2], dtype=torch.bool)
    assert torch.equal(survivors(pairs, valid, threshold), greedy(pairs, valid, threshold))


def test_survivors_empty_and_invalid_boxes_are_handled() -> None:
    boxes = torch.zeros(1, 3, 4)
    assert survivors(boxes, torch.tensor([[True, True, False]]), 0.5).tolist() == [[True, True, False]]
    assert not survivors(boxes, torch.zeros(1, 3, dtype=torch.bool), 0.5).any()


def test_survivors_with_scores_equal_those_of_sorted_boxes() -> None:
    boxes, valid = random_boxes(4, 150, seed=1), torch.rand(4, 150, generator=torch.Generator().manual_seed(2)) > 0.2
    scores = torch.randint(0, 40, (4, 150), generator=torch.Generator().manual_seed(3)).float()  # many are equal
    order = scores.argsort(dim=1, descending=True, stable=True)
    expected = greedy(boxes.gather(1, order[..., None].expand(-1, -1, 4)), valid.gather(1, order), 0.5)
    found = survivors(boxes, valid, 0.5, scores)
    assert torch.equal(found.gather(1, order), expected)
    assert 0 < expected.sum() < valid.sum()
