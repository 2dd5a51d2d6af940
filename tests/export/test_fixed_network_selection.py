"""Proposals and detections in fixed numbers, compared with the original selectors."""

from __future__ import annotations

import pytest
import torch

from seamseg.algos.roi import DetectionSelector
from seamseg.algos.rpn import ProposalSelector
from seamseg.export.fixed_network import select_detections, select_proposals

SIZE = (60, 90)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def boxes(number: int) -> torch.Tensor:
    corners = random(number, 2, 2).abs() * 25
    return torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)


@pytest.mark.parametrize("min_size", [0.0, 6.0, 1000.0])
@pytest.mark.parametrize("counts", [(300, 200), (100, 20), (1000, 1000)])
def test_select_proposals_equals_the_selector(min_size: float, counts: tuple[int, int]) -> None:
    selector = ProposalSelector(*counts, 0.7, min_size)
    anchors, objectness, box_deltas = boxes(400), random(400, seed=1), random(400, 4, seed=2) * 0.3
    expected = selector(anchors, objectness[None], box_deltas[None], [SIZE]).entry(0)
    found, valid = select_proposals(selector, anchors, objectness, box_deltas, SIZE)
    assert len(found) == min(counts[1], counts[0], 400)
    assert torch.equal(found[valid], expected)
    assert valid.tolist() == [True] * len(expected) + [False] * (len(valid) - len(expected))
    assert not found[~valid].any()


@pytest.mark.parametrize(("score_threshold", "max_predictions"), [(0.05, 30), (0.05, 10000), (0.6, 50), (1.0, 20)])
def test_select_detections_equals_the_selector(score_threshold: float, max_predictions: int) -> None:
    selector = DetectionSelector(0.4, score_threshold, max_predictions)
    proposals, valid = boxes(80), torch.arange(80) % 5 > 0
    logits, box_deltas = random(80, 6, seed=3) * 3, random(80, 5, 4, seed=4)
    expected = selector(proposals[valid], logits[valid], box_deltas[valid], SIZE)
    found = select_detections(selector, proposals, valid, logits, box_deltas, SIZE)
    assert len(found.valid) == min(max_predictions, 400)
    assert found.valid.tolist() == [True] * len(expected.boxes) + [False] * (len(found.valid) - len(expected.boxes))
    for name in ("boxes", "classes", "scores"):
        assert torch.equal(getattr(found, name)[found.valid], getattr(expected, name)), name
        assert not getattr(found, name)[~found.valid].any()
    assert (len(expected.boxes) == 0) == (score_threshold == 1)


def test_select_detections_infinite_logit_has_score_1() -> None:
    logits = torch.tensor([[0.0, torch.inf, 3.0]])
    found = select_detections(
        DetectionSelector(0.4, 0.05, 5), boxes(1), torch.tensor([True]), logits, torch.zeros(1, 2, 4), SIZE
    )
    assert found.scores[found.valid].tolist() == [1]
    assert found.classes[found.valid].tolist() == [0]
