"""Top-1 and top-5 accuracy."""

from __future__ import annotations

import json
import math

import torch

from seamseg.metrics.accuracy import Accuracy, CorrectCounts, count_correct
from seamseg.structures import Unreadable


def test_count_correct_equals_counting_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 12, generator=generator)
    labels = torch.randint(12, (50,), generator=generator)
    top1 = top5 = 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        higher = sum(value > row[label] for value in row)
        top1 += higher == 0
        top5 += higher < 5
    assert count_correct(logits, labels) == CorrectCounts(50, top1, top5)
    assert 0 < top1 < top5 < 50


def test_count_correct_with_fewer_than_five_classes_counts_all_in_top5() -> None:
    logits, labels = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([0, 0])
    assert count_correct(logits, labels) == CorrectCounts(2, 1, 2)


def test_accuracy_adds_up_counts_and_skipped_images() -> None:
    accuracy = Accuracy.from_counts([CorrectCounts(3, 1, 2), CorrectCounts(0, 0, 0), CorrectCounts(1, 1, 1)])
    assert accuracy == Accuracy(4, 0.5, 0.75)
    unreadable = (Unreadable("cat/ö.png", "cat/ö.png is an empty file"),)
    content = json.loads(Accuracy(4, 0.5, 0.75, unreadable).to_json())
    assert content == {
        "images": 4,
        "top1": 0.5,
        "top5": 0.75,
        "unreadable": [{"file_name": "cat/ö.png", "error": "cat/ö.png is an empty file"}],
    }


def test_accuracy_without_images_is_not_a_number() -> None:
    assert math.isnan(Accuracy.from_counts([CorrectCounts()]).top1)
