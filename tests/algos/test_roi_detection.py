"""Selection of detections, against loops over classes and boxes."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import selection as oracle
from torch import Tensor

from seamseg.algos.roi import DetectionSelector, FoundBoxes

SIZE = (40, 60)
SEPARATE = [[0.0, 0, 10, 10], [0, 20, 10, 30], [20, 0, 30, 10]]


def logits(*probabilities: list[float]) -> Tensor:
    """Return logits for the probabilities of the things; background gets the rest."""
    rows = [[1 - sum(row), *row] for row in probabilities]
    return torch.tensor(rows).log()


def select(
    proposals: list[list[float]], scores: Tensor, box_deltas: Tensor | None = None, **settings: float
) -> FoundBoxes:
    selector = DetectionSelector(**({"nms_threshold": 0.5, "score_threshold": 0.05, "max_predictions": 100} | settings))
    box_deltas = torch.zeros(len(proposals), scores.shape[1] - 1, 4) if box_deltas is None else box_deltas
    return selector(torch.tensor(proposals).reshape(-1, 4), scores, box_deltas, SIZE)


def test_select_can_detect_several_classes_in_one_region() -> None:
    found = select(SEPARATE[:2], logits([0.3, 0.6], [0.02, 0.4]))
    assert found.classes.tolist() == [1, 1, 0]
    assert found.scores.tolist() == pytest.approx([0.6, 0.4, 0.3])
    assert found.boxes.tolist() == [SEPARATE[0], SEPARATE[1], SEPARATE[0]]


def test_select_drops_a_detection_with_the_threshold_score() -> None:
    found = select(SEPARATE[:2], torch.zeros(2, 4), score_threshold=0.25)
    assert len(found.scores) == 0
    found = select(SEPARATE[:1], torch.zeros(1, 4), score_threshold=0.2499)
    assert found.classes.tolist() == [0, 1, 2]


def test_select_never_returns_background() -> None:
    assert len(select(SEPARATE[:1], logits([0.01, 0.01])).scores) == 0


def test_select_suppresses_only_within_a_class() -> None:
    twins = [[0.0, 0, 10, 10], [0, 1, 10, 11]]
    assert len(select(twins, logits([0.9, 0.0], [0.8, 0.0])).scores) == 1
    found = select(twins, logits([0.9, 0.0], [0.0, 0.8]))
    assert found.classes.tolist() == [0, 1]


def test_select_suppresses_by_the_decoded_boxes() -> None:
    box_deltas = torch.zeros(2, 1, 4)
    box_deltas[1, 0, 1] = 20.0  # weight 10: moves two widths to the right
    found = select([[0.0, 0, 10, 10]] * 2, logits([0.9], [0.8]), box_deltas)
    assert found.boxes.tolist() == [[0, 0, 10, 10], [0, 20, 10, 30]]


def test_select_divides_box_deltas_by_their_weights() -> None:
    box_deltas = torch.tensor([5.0, -2.5, 5 * math.log(2), 5 * math.log(0.5)]).reshape(1, 1, 4)
    found = select([[10.0, 20, 20, 40]], logits([0.9]), box_deltas)
    torch.testing.assert_close(found.boxes, torch.tensor([[10.0, 20, 30, 30]]))


def test_select_uses_the_box_deltas_of_each_class() -> None:
    box_deltas = torch.zeros(1, 2, 4)
    box_deltas[0, 1, 0] = 10.0
    found = select([[0.0, 0, 10, 10]], logits([0.5, 0.4]), box_deltas)
    assert found.boxes.tolist() == [[0, 0, 10, 10], [10, 0, 20, 10]]


def test_select_clips_boxes_and_drops_empty_ones() -> None:
    found = select([[-5.0, 50, 10, 80], [-9, 0, -1, 10], [0, 60, 10, 70]], logits([0.9], [0.8], [0.7]))
    assert found.boxes.tolist() == [[0, 50, 10, 60]]


def test_select_with_max_predictions_keeps_the_best() -> None:
    found = select(SEPARATE, logits([0.3, 0.1], [0.5, 0.2], [0.4, 0.15]), max_predictions=4)
    assert found.scores.tolist() == pytest.approx([0.5, 0.4, 0.3, 0.2])


def test_select_without_regions_returns_no_detections() -> None:
    found = select([], torch.zeros(0, 4))
    assert (found.boxes.shape, found.classes.shape, found.scores.shape) == ((0, 4), (0,), (0,))
    assert (found.classes.dtype, found.scores.dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize("seed", range(20))
def test_select_random_regions_equals_loops_over_classes_and_boxes(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(40, 2, 2, generator=generator) * 50 - 5
    proposals = torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1).tolist()
    scores = torch.randn(40, 5, generator=generator) * 2
    box_deltas = torch.randn(40, 4, 4, generator=generator) * 2
    settings = {
        "nms_threshold": (0.5, 0.3)[seed % 2],
        "score_threshold": (0.05, 0.2, 0.01)[seed % 3],
        "max_predictions": (1000, 15)[seed // 2 % 2],
    }
    found = select(proposals, scores, box_deltas, **settings)
    expected = oracle.select_detections(
        proposals, scores.tolist(), box_deltas.tolist(), SIZE, shift_weights=(10, 10, 5, 5), **settings
    )
    assert found.classes.tolist() == [klass for _, klass, _ in expected]
    torch.testing.assert_close(found.scores, torch.tensor([score for score, _, _ in expected]))
    torch.testing.assert_close(found.boxes, torch.tensor([box for _, _, box in expected]), atol=1e-4, rtol=1e-5)


def test_select_with_infinite_half_precision_logit_gives_probability_one() -> None:
    scores = torch.tensor([[0.0, 1e6, 3.0], [-torch.inf, 1e6, 1e6], [0.0, -torch.inf, 0.0]]).half()
    found = select(SEPARATE, scores)
    assert found.scores.tolist() == [1, 0.5, 0.5, 0.5]
    assert found.classes.tolist() == [0, 0, 1, 1]
