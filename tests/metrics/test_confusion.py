"""Confusion matrix and mean IoU, compared with counting by hand and with loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch

from seamseg.metrics.confusion import ConfusionMatrix


def matrix(prediction: list[list[int]], truth: list[list[int]], num_classes: int = 3) -> ConfusionMatrix:
    counts = ConfusionMatrix(num_classes)
    counts.update(torch.tensor(prediction), torch.tensor(truth))
    return counts


def test_confusion_of_a_small_map_equals_counting_by_hand() -> None:
    counts = matrix([[0, 0, 1, 1], [0, 1, 1, 2]], [[0, 0, 0, 1], [1, 1, 1, 1]])
    assert counts.state.tolist() == [[2, 1, 0, 0], [1, 3, 1, 0], [0, 0, 0, 0]]
    assert counts.iou().tolist() == pytest.approx([2 / 4, 3 / 6, 0])
    assert counts.mean_iou() == pytest.approx(1 / 3)


def test_confusion_on_unlabeled_pixels_ignores_every_prediction() -> None:
    counts = matrix([[0, 1, 2, 255]], [[0, 255, 255, 255]])
    assert counts.iou()[0] == 1
    assert counts.iou()[1:].isnan().all()
    assert counts.mean_iou() == 1


def test_confusion_of_predicted_void_counts_as_a_miss() -> None:
    counts = matrix([[0, 255, 255, 1]], [[0, 0, 1, 1]])
    assert counts.iou()[:2].tolist() == [0.5, 0.5]
    assert counts.state[:, 3].tolist() == [1, 1, 0]


def test_mean_iou_without_labeled_pixels_is_nan() -> None:
    assert math.isnan(matrix([[0]], [[255]]).mean_iou())


def test_iou_of_merged_random_maps_equals_loops_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 2, 3, 255])
    prediction, truth = (labels[torch.randint(0, 5, (20, 30), generator=generator)] for _ in range(2))
    counts = ConfusionMatrix(5)  # class 4 never appears
    for half in (slice(0, 11), slice(11, 20)):
        part = ConfusionMatrix(5)
        part.update(prediction[half].to(torch.uint8), truth[half].to(torch.uint8))
        counts.merge(part.state)
    pairs = list(zip(prediction.flatten().tolist(), truth.flatten().tolist(), strict=True))
    for klass in range(4):
        both = sum(p == klass == t for p, t in pairs)
        either = sum(t != 255 and klass in (p, t) for p, t in pairs)
        assert float(counts.iou()[klass]) == pytest.approx(both / either)
    assert counts.iou()[4].isnan()
    assert counts.mean_iou() == pytest.approx(float(counts.iou()[:4].mean()))


@pytest.mark.parametrize(("prediction", "truth"), [([[3]], [[0]]), ([[0]], [[3]]), ([[-1]], [[0]]), ([[0]], [[-1]])])
def test_update_with_a_class_out_of_range_raises(prediction: list[list[int]], truth: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"classes are 0 … 2"):
        matrix(prediction, truth)


def test_update_with_two_sizes_raises() -> None:
    with pytest.raises(ValueError, match="same size"):
        matrix([[0, 1]], [[0], [1]])
