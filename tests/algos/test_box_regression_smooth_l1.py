from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import losses as oracle
from torch.autograd import gradcheck

from seamseg.algos.box_regression import smooth_l1

NUMBERS = st.floats(-50, 50)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=6), st.sampled_from([0.5, 1.0, 3.0, 10.0]))
@settings(deadline=None)
def test_smooth_l1_of_random_values_equals_the_formula(pairs: list[tuple[float, float]], sigma: float) -> None:
    prediction = torch.tensor([p for p, _ in pairs], dtype=torch.float64)
    target = torch.tensor([t for _, t in pairs], dtype=torch.float64)
    expected = [oracle.smooth_l1(p, t, sigma) for p, t in pairs]
    assert smooth_l1(prediction, target, sigma).tolist() == pytest.approx(expected, abs=1e-12)


def test_smooth_l1_equals_values_computed_by_hand() -> None:
    prediction = torch.tensor([0.0, 0.5, -1.0, 3.0])
    assert smooth_l1(prediction, torch.zeros(4), 1.0).tolist() == [0, 0.125, 0.5, 2.5]
    assert smooth_l1(prediction, torch.zeros(4), 2.0).tolist() == [0, 0.375, 0.875, 2.875]


@pytest.mark.parametrize("sigma", [0.7, 1.0, 3.0])
def test_smooth_l1_is_continuous_in_value_and_slope(sigma: float) -> None:
    bend = 1 / sigma**2
    distance = torch.tensor([bend * (1 - 1e-6), bend * (1 + 1e-6)], dtype=torch.float64, requires_grad=True)
    values = smooth_l1(distance, torch.zeros_like(distance), sigma)
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)
    assert torch.autograd.grad(values.sum(), distance)[0].tolist() == pytest.approx([1, 1], rel=1e-5)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_smooth_l1_gradients_of_both_arguments_pass_gradcheck(sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda p, t: smooth_l1(p, t, sigma), (prediction.detach().requires_grad_(), target))


def test_smooth_l1_keeps_shapes_with_zero_rows() -> None:
    rows = torch.zeros(0, 3, 4, requires_grad=True)
    loss = smooth_l1(rows, torch.zeros(0, 3, 4), 1.0)
    assert loss.shape == (0, 3, 4)
    loss.sum().backward()
    assert rows.grad is not None
