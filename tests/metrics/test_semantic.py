"""Scores of semantic segmentations, against hand-drawn maps and loops over pixels."""

from __future__ import annotations

import json
import math
import pickle

import pytest
import torch
from torch import Tensor

from seamseg.errors import SeamsegError
from seamseg.metrics.semantic import SemanticEvaluator, SemanticScores

NAMES = ("sky", "road", "car", "boat")


def pixels(text: str) -> Tensor:
    """Read a map with one digit per pixel; "." is void."""
    return torch.tensor([[255 if pixel == "." else int(pixel) for pixel in row] for row in text.split()])


def scores_of(*pairs: tuple[str, str]) -> SemanticScores:
    evaluator = SemanticEvaluator(len(NAMES))
    for number, (predicted, true) in enumerate(pairs):
        evaluator.update(number, pixels(predicted), pixels(true))
    return evaluator.compute(NAMES)


def test_scores_of_a_drawn_map() -> None:
    scores = scores_of(("0001 1122", "0000 111."))
    # sky: 3 of 4 right. road: 2 of 3 right, and one of sky. car: one false pixel, the other is void.
    assert [line.iou for line in scores.per_class.values()][:3] == pytest.approx([3 / 4, 2 / 4, 0])
    assert [line.accuracy for line in scores.per_class.values()][:2] == pytest.approx([3 / 4, 2 / 3])
    assert [line.pixels for line in scores.per_class.values()] == [4, 3, 0, 0]
    assert math.isnan(scores.per_class["car"].accuracy)
    assert math.isnan(scores.per_class["boat"].iou)
    assert scores.miou == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)
    assert scores.pixel_accuracy == pytest.approx(5 / 7)
    assert scores.mean_class_accuracy == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert scores.confusion[0].tolist() == [3, 1, 0, 0, 0]
    assert scores.num_images == 1


def test_scores_sum_pixels_over_images_before_they_divide() -> None:
    scores = scores_of(("00 00", "00 11"), ("11 11", "11 11"))
    assert scores.per_class["sky"].iou == pytest.approx(2 / 4)
    assert scores.per_class["road"].iou == pytest.approx(4 / 6)


def test_scores_of_random_maps_equal_loops_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randint(0, 5, (2, 9, 13), generator=generator) for _ in range(3)]
    pairs = [(predicted.clamp(max=3), true.masked_fill(true == 4, 255)) for predicted, true in maps]
    evaluator = SemanticEvaluator(4)
    for number, (predicted, true) in enumerate(pairs):
        evaluator.update(number, predicted, true)
    scores = evaluator.compute(NAMES)
    seen = [
        (int(found), int(right))
        for predicted, true in pairs
        for found, right in zip(predicted.flatten(), true.flatten(), strict=True)
        if right != 255
    ]
    for number, line in enumerate(scores.per_class.values()):
        both = sum(found == right == number for found, right in seen)
        either = sum(number in pair for pair in seen)
        annotated = sum(right == number for _, right in seen)
        assert (line.iou, line.accuracy) == pytest.approx((both / either, both / annotated))
        assert line.pixels == annotated
    assert scores.pixel_accuracy == pytest.approx(sum(found == right for found, right in seen) / len(seen))
    assert scores.miou == pytest.approx(sum(line.iou for line in scores.per_class.values()) / 4)


def test_update_returns_the_mean_iou_of_the_image() -> None:
    evaluator = SemanticEvaluator(4)
    assert evaluator.update("a", pixels("0011"), pixels("0111")) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert evaluator.update("b", pixels("1111"), pixels("1111")) == 1
    assert math.isnan(evaluator.update("c", pixels("0123"), pixels("....")))


def test_merged_evaluators_equal_one() -> None:
    pairs = [("0011", "0111"), ("2222", "2211"), ("3333", "30..")]
    joined = SemanticEvaluator(4)
    for number, (predicted, true) in enumerate(pairs):
        part = SemanticEvaluator(4)
        part.update(number, pixels(predicted), pixels(true))
        joined.merge([pickle.loads(pickle.dumps(part.state))])
    assert joined.compute(NAMES).to_json() == scores_of(*pairs).to_json()


def test_image_scored_twice_is_refused() -> None:
    evaluator = SemanticEvaluator(4)
    evaluator.update(7, pixels("0"), pixels("0"))
    with pytest.raises(SeamsegError, match="image 7"):
        evaluator.update(7, pixels("0"), pixels("0"))
    with pytest.raises(SeamsegError, match="image 7"):
        SemanticEvaluator.merge(evaluator, [evaluator.state])


def test_scores_without_any_class_are_nan_and_null_in_json() -> None:
    scores = scores_of(("0", "."))
    assert math.isnan(scores.miou)
    assert math.isnan(scores.pixel_accuracy)
    assert math.isnan(scores.mean_class_accuracy)
    content = json.loads(scores.to_json())
    assert (content["miou"], content["pixel_accuracy"], content["num_images"]) == (None, None, 1)
    assert content["per_class"]["sky"] == {"iou": None, "accuracy": None, "pixels": 0}
    assert content["confusion"] == [[0] * 5] * 4
