"""Mean over a window, compared with average pooling."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import window_mean as oracle
from torch.autograd import gradcheck

from seamseg.modules.semantic_head import window_mean


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 14))
@settings(deadline=None)
def test_window_mean_of_random_sizes_equals_average_pooling(height: int, width: int, window: int) -> None:
    x = random(2, 3, height, width)
    found = window_mean(x, window)
    assert found.shape == x.shape
    torch.testing.assert_close(found, oracle.window_mean(x, window), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [64, 63])
@pytest.mark.parametrize("size", [(20, 30), (63, 64), (64, 63), (65, 64), (64, 65), (66, 97), (120, 10)])
def test_window_mean_at_the_published_window_equals_average_pooling(size: tuple[int, int], window: int) -> None:
    x = random(1, 2, *size)
    torch.testing.assert_close(window_mean(x, window), oracle.window_mean(x, window), rtol=1e-4, atol=1e-5)


def test_window_mean_of_a_row_equals_values_computed_by_hand() -> None:
    x = torch.tensor([1.0, 2, 3, 4, 5]).reshape(1, 1, 1, 5)
    assert window_mean(x, 3).flatten().tolist() == pytest.approx([2, 2, 3, 4, 4])
    assert window_mean(x, 4).flatten().tolist() == pytest.approx([2.5, 2.5, 3.5, 3.5, 3.5])
    assert window_mean(x, 5).flatten().tolist() == pytest.approx([3] * 5)
    assert torch.equal(window_mean(x, 1), x)


def test_window_mean_on_a_long_axis_with_a_large_mean_is_accurate() -> None:
    x = random(1, 1, 4, 2000) + 100
    expected = oracle.window_mean(x.double(), 64).float()
    assert (window_mean(x, 64) - expected).abs().max() < 2e-3


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 6, 9])
def test_window_mean_gradients_equal_finite_differences(window: int) -> None:
    x = random(2, 2, 5, 4, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x: window_mean(x, window), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [(70, 1500), (30, 30)])
def test_window_mean_in_half_precision_sums_in_float32(dtype: torch.dtype, size: tuple[int, int]) -> None:
    x = (random(1, 2, *size) + 3).to(dtype)
    found = window_mean(x, 64)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), oracle.window_mean(x.double(), 64), rtol=1e-2, atol=0)


def test_window_mean_of_a_strided_input_keeps_it() -> None:
    x = random(1, 9, 7, 3).permute(0, 3, 1, 2)
    before = x.clone()
    torch.testing.assert_close(window_mean(x, 4), oracle.window_mean(before, 4), rtol=1e-4, atol=1e-5)
    assert torch.equal(x, before)
