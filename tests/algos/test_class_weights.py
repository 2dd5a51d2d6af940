"""Class weights from frequencies."""

from __future__ import annotations

import math

import pytest

from seamseg.algos.class_weights import balanced_weights


def test_balanced_weights_are_those_of_enet_up_to_a_factor_and_have_mean_one() -> None:
    counts = [700, 200, 99, 1, 0]
    weights = balanced_weights(counts)
    of_enet = [1 / math.log(1.02 + count / 1000) for count in counts]
    assert [weight / weights[0] for weight in weights] == pytest.approx([one / of_enet[0] for one in of_enet])
    mean = sum(weight * count for weight, count in zip(weights, counts, strict=True)) / 1000
    assert mean == pytest.approx(1)
    assert weights == sorted(weights)


def test_balanced_weights_of_equal_counts_are_one() -> None:
    assert balanced_weights([5, 5, 5]) == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("counts", [[], [0, 0]])
def test_balanced_weights_without_counts_are_one(counts: list[float]) -> None:
    assert balanced_weights(counts) == [1.0] * len(counts)
