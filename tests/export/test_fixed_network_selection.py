"""Proposals and detections in fixed numbers, compared with the original selectors."""

from __future__ import annotations

import pytest
import torch

from seamseg.algos.roi import DetectionSelector
from seamseg.algos.rpn import ProposalSelector
from seamseg.export import fixed_network
from seamseg.export.fixed_network import largest, select_detections, select_proposals

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
    anchors, objectness, box_deltas = boxes(400), random(2, 400, seed=1), random(2, 400, 4, seed=2) * 0.3
    expected = selector(anchors, objectness, box_deltas, [SIZE, SIZE])
    found, valid = select_proposals(selector, anchors, objectness, box_deltas, SIZE)
    assert found.shape == (2, min(counts[1], counts[0], 400), 4)
    for image in range(2):
        entry = expected.entry(image)
        assert torch.equal(found[image][valid[image]], entry)
        assert valid[image].tolist() == [True] * len(entry) + [False] * (valid.shape[1] - len(entry))
        assert not found[image][~valid[image]].any()


@pytest.mark.parametrize(("score_threshold", "max_predictions"), [(0.05, 30), (0.05, 10000), (0.6, 50), (1.0, 20)])
def test_select_detections_equals_the_selector(score_threshold: float, max_predictions: int) -> None:
    selector = DetectionSelector(0.4, score_threshold, max_predictions)
    proposals, valid = torch.stack([boxes(80), boxes(80).flip(0)]), torch.arange(80).expand(2, 80) % 5 > 0
    logits, box_deltas = random(2, 80, 6, seed=3) * 3, random(2, 80, 5, 4, seed=4)
    found = select_detections(selector, proposals, valid, logits, box_deltas, SIZE)
    assert found.valid.shape == (2, min(max_predictions, 400))
    for image, taking_part in enumerate(valid):
        expected = selector(
            proposals[image][taking_part], logits[image][taking_part], box_deltas[image][taking_part], SIZE
        )
        rows, num = found.valid[image], len(expected.boxes)
        assert rows.tolist() == [True] * num + [False] * (len(rows) - num)
        for name in ("boxes", "classes", "scores"):
            assert torch.equal(getattr(found, name)[image][rows], getattr(expected, name)), name
            assert not getattr(found, name)[image][~rows].any()
        assert (num == 0) == (score_threshold == 1)


def test_select_detections_infinite_logit_has_score_1() -> None:
    logits = torch.tensor([[[0.0, torch.inf, 3.0]]])
    found = select_detections(
        DetectionSelector(0.4, 0.05, 5), boxes(1)[None], torch.tensor([[True]]), logits, torch.zeros(1, 1, 2, 4), SIZE
    )
    assert found.scores[found.valid].tolist() == [1]
    assert found.classes[found.valid].tolist() == [0]


@pytest.mark.parametrize("seed", range(3))
def test_select_detections_equal_scores_are_ordered_by_class_and_proposal(seed: int) -> None:
    """All scores are equal, and boxes are far apart or the same: of the same boxes, the first one is kept."""
    place = torch.randint(0, 6, (40,), generator=torch.Generator().manual_seed(seed))
    corners = torch.stack([place * 0, place * 15, place * 0 + 10, place * 15 + 10], dim=1).float()
    found = select_detections(
        DetectionSelector(0.5, 0.05, 100),
        corners[None],
        torch.ones(1, 40, dtype=torch.bool),
        torch.zeros(1, 40, 3),
        torch.zeros(1, 40, 2, 4),
        SIZE,
    )
    first = list(dict.fromkeys(place.tolist()))
    assert found.classes[found.valid].tolist() == [0] * len(first) + [1] * len(first)
    assert found.boxes[found.valid][:, 1].tolist() == [15.0 * column for column in first] * 2


@pytest.mark.parametrize("number", [5, 10, 37, 50])
def test_largest_in_several_steps_equals_sorting(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(fixed_network, "MAX_TOP", 10)
    values = random(3, 50)
    found, columns = largest(values, number)
    assert torch.equal(found, values.sort(dim=1, descending=True).values[:, :number])
    assert torch.equal(values.gather(1, columns), found)


def test_largest_with_too_few_numbers_ends_with_minus_infinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_network, "MAX_TOP", 4)
    values = torch.tensor([[3.0, -torch.inf, 1.0, -torch.inf, 2.0, -torch.inf, -torch.inf]])
    assert largest(values, 7)[0].tolist() == [[3.0, 2.0, 1.0] + [-torch.inf] * 4]
