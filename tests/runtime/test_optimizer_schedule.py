"""Learning rates compared with written-out formulas."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from seamseg.runtime.optimizer import LearningRate, cosine_decay, poly_decay, step_decay


def constant(iteration: int) -> float:
    return 1.0


@pytest.mark.parametrize("length", [200, 500])
def test_warmup_rises_linearly_from_a_third(length: int) -> None:
    rate = LearningRate(0.01, constant, length, 1 / 3)
    for k in (1, 2, 77, length - 1, length):
        assert rate(k) == pytest.approx(0.01 * (Fraction(1, 3) + Fraction(2, 3) * Fraction(k, length)), rel=1e-12)
    assert rate(length) == pytest.approx(0.01, rel=1e-12)
    assert rate(length + 1) == rate(10 * length) == 0.01


def test_schedule_without_warmup_starts_at_the_full_rate() -> None:
    assert [LearningRate(0.5, constant, 0, 1 / 3)(k) for k in (1, 2, 3)] == [0.5] * 3


def test_warmup_and_decay_are_multiplied() -> None:
    rate = LearningRate(2.0, step_decay([2], 0.1), 4, 0.0)
    assert [rate(k) for k in range(1, 6)] == pytest.approx([0.5, 0.1, 0.15, 0.2, 0.2])


def test_step_decay_falls_at_each_milestone() -> None:
    decay = step_decay([3, 5], 0.1)
    assert [decay(k) for k in range(1, 8)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_step_decay_accepts_unordered_and_empty_milestones() -> None:
    assert [step_decay([5, 3], 0.5)(k) for k in (2, 3, 4, 5)] == [1, 0.5, 0.5, 0.25]
    assert step_decay([], 0.5)(10**6) == 1


def test_poly_decay_falls_from_one_and_stays_positive() -> None:
    decay = poly_decay(0.9, 10)
    assert [decay(k) for k in range(1, 11)] == pytest.approx([(1 - j / 10) ** 0.9 for j in range(10)])
    assert decay(1) == 1
    assert decay(10) > 0


def test_cosine_decay_falls_from_one_toward_zero() -> None:
    decay = cosine_decay(4)
    assert [decay(k) for k in range(1, 5)] == pytest.approx([1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4])


def test_schedule_of_the_published_config_has_known_rates() -> None:
    rate = LearningRate(0.01, step_decay([144000, 176000], 0.1), 200, 1 / 3)
    found = [rate(k) for k in (1, 100, 200, 143999, 144000, 175999, 176000)]
    assert found == pytest.approx([0.01 / 3 * 1.01, 0.02 / 3, 0.01, 0.01, 0.001, 0.001, 0.0001])


def test_learning_rate_is_applied_to_all_groups() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([{"params": [layer.weight]}, {"params": [layer.bias], "lr": 7.0}], lr=3.0)
    assert LearningRate(0.2, constant, 0, 1.0).apply(optimizer, 5) == 0.2
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.2]
