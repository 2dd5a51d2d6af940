"""Learning rates against the formulas written out."""

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
def test_warm_up_rises_linearly_from_a_third(length: int) -> None:
    rate = LearningRate(0.01, constant, length, 1 / 3)
    for k in (1, 2, 77, length - 1, length):
        assert rate(k) == pytest.approx(0.01 * (Fraction(1, 3) + Fraction(2, 3) * Fraction(k, length)), rel=1e-12)
    assert rate(length) == pytest.approx(0.01, rel=1e-12)
    assert rate(length + 1) == rate(10 * length) == 0.01


def test_no_warm_up() -> None:
    assert [LearningRate(0.5, constant, 0, 1 / 3)(k) for k in (1, 2, 3)] == [0.5] * 3


def test_warm_up_and_decay_multiply() -> None:
    rate = LearningRate(2.0, step_decay([2], 0.1), 4, 0.0)
    assert [rate(k) for k in range(1, 6)] == pytest.approx([0.5, 0.1, 0.15, 0.2, 0.2])


def test_steps_fall_from_each_milestone_on() -> None:
    decay = step_decay([3, 5], 0.1)
    assert [decay(k) for k in range(1, 8)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_steps_need_no_order_and_no_milestone() -> None:
    assert [step_decay([5, 3], 0.5)(k) for k in (2, 3, 4, 5)] == [1, 0.5, 0.5, 0.25]
    assert step_decay([], 0.5)(10**6) == 1


def test_poly_falls_from_one_and_still_learns_at_the_end() -> None:
    decay = poly_decay(0.9, 10)
    assert [decay(k) for k in range(1, 11)] == pytest.approx([(1 - j / 10) ** 0.9 for j in range(10)])
    assert decay(1) == 1
    assert decay(10) > 0


def test_cosine_falls_from_one_towards_zero() -> None:
    decay = cosine_decay(4)
    assert [decay(k) for k in range(1, 5)] == pytest.approx([1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4])


def test_the_published_config() -> None:
    rate = LearningRate(0.01, step_decay([144000, 176000], 0.1), 200, 1 / 3)
    found = [rate(k) for k in (1, 100, 200, 143999, 144000, 175999, 176000)]
    assert found == pytest.approx([0.01 / 3 * 1.01, 0.02 / 3, 0.01, 0.01, 0.001, 0.001, 0.0001])


def test_all_groups_of_an_optimizer_get_the_rate() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([{"params": [layer.weight]}, {"params": [layer.bias], "lr": 7.0}], lr=3.0)
    assert LearningRate(0.2, constant, 0, 1.0).apply(optimizer, 5) == 0.2
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.2]
