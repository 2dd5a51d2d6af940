"""Expected errors of predictions without annotation."""

from __future__ import annotations

import pytest
import torch

from seamseg.predict.predictor import Prediction
from seamseg.predict.ranking import expected_error, ranked, thing_error
from seamseg.structures import VOID, Detections, PanopticSegmentation, SemanticLogits


def prediction(
    confidence: torch.Tensor | None, scores: list[float], mask_side: int = 28, shown_score: float | None = None
) -> Prediction:
    size, num = (2, 2), len(scores)
    segmentation = PanopticSegmentation(
        torch.ones(size, dtype=torch.int64), torch.tensor([VOID, 0]), torch.zeros(2) > 0, torch.tensor([0.0, 1.0])
    )
    found = Detections(
        torch.zeros(num, 4), torch.zeros(num).long(), torch.tensor(scores), torch.zeros(num, mask_side, mask_side)
    )
    return Prediction(segmentation, found, SemanticLogits(torch.zeros(1, 2, 2), size, size), shown_score, confidence)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], 0),
        ([1.0, 0.0], 0),
        ([0.5], 1),  # not predicted, and missed with a probability of one half
        ([0.8], 0.1 / 0.9),  # TP 0.8, FP 0.2
        ([0.8, 0.4], 0.3 / 1.1),  # FN 0.4
    ],
)
def test_thing_error_by_hand(scores: list[float], expected: float) -> None:
    assert thing_error(torch.tensor(scores)) == pytest.approx(expected)


def test_expected_error_is_the_mean_of_pixels_and_things() -> None:
    confidence = torch.tensor([[1.0, 0.5], [0.0, 0.5]])
    found = expected_error(prediction(confidence, [0.8]))
    assert (found.pixels, found.things) == pytest.approx((0.5, 0.1 / 0.9))
    assert found.expected_error == pytest.approx((0.5 + 0.1 / 0.9) / 2)


def test_expected_error_without_any_detection_counts_things_as_right() -> None:
    assert expected_error(prediction(torch.full((2, 2), 0.5), [])).expected_error == 0.25


def test_expected_error_of_other_tasks_has_only_their_part() -> None:
    semantic = expected_error(prediction(torch.full((2, 2), 0.5), [], mask_side=0))
    assert (semantic.expected_error, semantic.things) == (0.5, None)
    detection = expected_error(prediction(None, [0.8], mask_side=0, shown_score=0.5))
    assert (detection.expected_error, detection.pixels) == (pytest.approx(0.1 / 0.9), None)


def test_ranked_puts_the_largest_error_first_and_keeps_the_order_of_equal_ones() -> None:
    entries = [{"file_name": name, "expected_error": error} for name, error in (("a", 0.1), ("b", 0.3), ("c", 0.1))]
    assert [entry["file_name"] for entry in ranked(entries)] == ["b", "a", "c"]
