"""Exact sums of IoUs, compared with Python's own exact sums."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seamseg.metrics.panoptic_quality import from_digits, to_digits

AREA = 2**43


@given(st.lists(st.tuples(st.integers(0, AREA), st.integers(1, AREA)), max_size=40))
def test_sum_of_iou_digits_is_rounded_once(areas: list[tuple[int, int]]) -> None:
    ious = [min(areas) / max(areas) for areas in areas]
    total = sum((to_digits(np.array([iou])) for iou in ious), to_digits(np.zeros(1)))
    assert from_digits(total).item() == math.fsum(ious) == float(sum(map(Fraction, ious)))


def test_sums_of_digits_in_any_order_are_equal() -> None:
    values = np.random.default_rng(0).uniform(1e-3, 1, (1000, 5)) ** 4
    total = sum(map(to_digits, values), torch.zeros(3, 5, dtype=torch.int64))
    backwards = sum(map(to_digits, values[::-1]), torch.zeros(3, 5, dtype=torch.int64))
    assert torch.equal(total, backwards)
    assert from_digits(total).tolist() == [math.fsum(column) for column in values.T]
    assert from_digits(total).tolist() != values.sum(0).tolist()


def test_digits_of_the_smallest_and_largest_numbers_are_exact() -> None:
    values = np.array([0, 1, 2.0**-43 * (1 + 2.0**-52), 2.0**31 - 2.0**-22])
    assert from_digits(to_digits(values)).tolist() == values.tolist()
    with pytest.raises(AssertionError):
        to_digits(np.array([2.0**-97]))
