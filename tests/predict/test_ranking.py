"""Expected errors of predictions without annotation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seamseg.predict.predictor import Prediction
from seamseg.predict.ranking import expected_error, expected_quality, ranked, thing_error
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


def test_expected_error_of_pixels_and_things_by_hand() -> None:
    found = expected_error(prediction(torch.tensor([[1.0, 0.5], [0.0, 0.5]]), [0.8]), num_stuff=1)
    assert (found.pixels, found.things) == pytest.approx((0.5, 0.1 / 0.9))


def street(scores: list[float], classes: list[int], masks: torch.Tensor) -> Prediction:
    """2×4 pixels of road (class 0) and sky (class 1) beside a car (class 2), in an input that is padded to 2×8."""
    ids = torch.tensor([[1, 1, 2, 3], [1, 1, 2, 3]])
    none = torch.zeros(4) > 0
    segmentation = PanopticSegmentation(ids, torch.tensor([VOID, 0, 1, 2]), none, torch.tensor([0.0, 1.0, 1.0, 0.9]))
    probabilities = torch.full((3, 2, 8), 1 / 3)
    probabilities[:, :, :2] = torch.tensor([0.8, 0.1, 0.1])[:, None, None]
    probabilities[:, :, 2] = torch.tensor([0.3, 0.6, 0.1])[:, None]
    probabilities[:, :, 3] = torch.tensor([0.2, 0.2, 0.6])[:, None]
    found = Detections(torch.zeros(len(scores), 4), torch.tensor(classes), torch.tensor(scores), masks)
    return Prediction(segmentation, found, SemanticLogits(probabilities.log(), (2, 8), (2, 4)), confidence=ids.float())


ROAD, SKY = 3.2 / (4 + 2 * 0.3 + 2 * 0.2), 1.2 / (2 + 4 * 0.1 + 2 * 0.2)
"""Expected IoUs of the segments of `street`: agreement divided by the area and the probability elsewhere."""


def test_expected_quality_by_hand_is_the_mean_of_the_classes() -> None:
    masks = torch.tensor([[[0.9, 0.2], [0.9, 0.9]], [[0.1, 0.1], [0.6, 0.1]]]).logit()
    iou = 2.7 / (3 + 0.2)
    car = 0.9 * iou / (0.9 + 0.05 + 0.15)  # a car of 0.9 is found, and one of 0.3 is not
    found = street([0.9, 0.3], [0, 0], masks)
    assert expected_quality(found, num_stuff=2) == pytest.approx((ROAD + SKY + car) / 3, abs=1e-6)
    assert expected_error(found, num_stuff=2).expected_error == pytest.approx(1 - (ROAD + SKY + car) / 3, abs=1e-6)


def test_expected_quality_weights_classes_that_are_not_predicted_by_their_probability() -> None:
    found = street([0.4, 0.2], [1, 1], torch.ones(2, 2, 2))
    weight = 1 - 0.6 * 0.8
    assert expected_quality(found, num_stuff=2) == pytest.approx((ROAD + SKY) / (2 + weight), abs=1e-6)


def test_expected_quality_does_not_depend_on_the_size_of_the_image() -> None:
    small = street([], [], torch.zeros(0, 2, 2))
    ids = small.segmentation.ids.repeat_interleave(5, 0).repeat_interleave(5, 1)
    large = replace(small, segmentation=replace(small.segmentation, ids=ids))
    assert expected_quality(large, 2) == expected_quality(small, 2) == pytest.approx((ROAD + SKY) / 2, abs=1e-6)


def test_expected_quality_of_a_confident_prediction_is_1() -> None:
    found = street([1.0], [0], torch.full((1, 2, 2), 100.0))
    certain = torch.full((3, 2, 8), -1e4)
    for place, category in enumerate((0, 0, 1, 2)):
        certain[category, :, place] = 1e4
    assert expected_quality(replace(found, semantics=SemanticLogits(certain, (2, 8), (2, 4))), 2) == 1


def test_expected_quality_of_other_tasks_has_only_their_classes() -> None:
    semantic = street([], [], torch.zeros(0, 0, 0))
    car = 1.2 / (2 + 6 * 0.1)
    assert expected_quality(semantic, num_stuff=2) == pytest.approx((ROAD + SKY + car) / 3, abs=1e-6)
    nothing = SemanticLogits(torch.zeros(0, 0, 0), (2, 8), (2, 4))
    detection = replace(street([0.8], [0], torch.zeros(1, 0, 0)), semantics=nothing, shown_score=0.5)
    assert expected_quality(detection, num_stuff=2) == pytest.approx(0.8 / 0.9)


def test_expected_quality_without_any_class() -> None:
    nothing = SemanticLogits(torch.zeros(0, 0, 0), (2, 8), (2, 4))
    empty = street([], [], torch.zeros(0, 2, 2))
    assert expected_quality(replace(empty, semantics=nothing), num_stuff=2) == 1
    void = replace(empty.segmentation, ids=torch.zeros(2, 4, dtype=torch.int64))
    assert expected_quality(replace(empty, segmentation=void), num_stuff=2) == 0


def test_expected_error_of_other_tasks_has_only_their_part() -> None:
    semantic = expected_error(prediction(torch.full((2, 2), 0.5), [], mask_side=0), num_stuff=1)
    assert (semantic.pixels, semantic.things) == (0.5, None)
    detection = expected_error(prediction(None, [0.8], mask_side=0, shown_score=0.5), num_stuff=1)
    assert (detection.pixels, detection.things) == (None, pytest.approx(0.1 / 0.9))


def test_ranked_puts_the_largest_error_first_and_keeps_the_order_of_equal_ones() -> None:
    entries = [{"file_name": name, "expected_error": error} for name, error in (("a", 0.1), ("b", 0.3), ("c", 0.1))]
    assert [entry["file_name"] for entry in ranked(entries)] == ["b", "a", "c"]
