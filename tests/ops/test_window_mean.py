"""Mean over a window, compared with average pooling."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import window_mean as oracle
from torch.autograd import gradcheck

from seamseg.ops import window_mean as module
from seamseg.ops.window_mean import window_mean

FORMATS = [torch.contiguous_format, torch.channels_last]


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 14), st.sampled_from(FORMATS))
@settings(deadline=None)
def test_window_mean_of_random_sizes_equals_average_pooling(
    height: int, width: int, window: int, memory_format: torch.memory_format
) -> None:
    x = random(2, 3, height, width).contiguous(memory_format=memory_format)
    found = window_mean(x, window)
    assert found.shape == x.shape
    assert found.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(found, oracle.window_mean(x, window), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_window_mean_of_many_channels_and_rows_equals_average_pooling(memory_format: torch.memory_format) -> None:
    """More lines than the kernel processes at once, along both axes."""
    x = random(2, 300, 70, 9).contiguous(memory_format=memory_format).requires_grad_()
    found, expected = window_mean(x, 6), oracle.window_mean(x, 6)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weights = random(2, 300, 70, 9)
    gradients = [torch.autograd.grad(mean, x, weights)[0] for mean in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [1, 4, 5, 9])
def test_window_mean_by_prefix_sums_equals_the_native_one(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefix sums compute on GPUs and in exported models."""
    x = random(2, 3, 8, 7).requires_grad_()
    native = window_mean(x, window)
    monkeypatch.setattr(module, "_TYPES", ())
    sums = window_mean(x, window)
    torch.testing.assert_close(sums, native, rtol=1e-4, atol=1e-5)
    weights = random(2, 3, 8, 7)
    gradients = [torch.autograd.grad(mean, x, weights)[0] for mean in (sums, native)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


class Mean(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return window_mean(x, 5)


def test_window_mean_in_a_program_for_any_size_equals_average_pooling() -> None:
    rows, columns = torch.export.Dim("rows", min=2), torch.export.Dim("columns", min=2)
    program = torch.export.export(Mean(), (random(2, 3, 8, 7),), dynamic_shapes=({2: rows, 3: columns},))
    for size in ((8, 7), (2, 3), (5, 6), (4, 20), (11, 2)):
        x = random(2, 3, *size)
        torch.testing.assert_close(program.module()(x), oracle.window_mean(x, 5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("num_images", [0, 2])
def test_window_mean_operators_pass_opcheck(num_images: int, memory_format: torch.memory_format) -> None:
    x = random(num_images, 3, 5, 4).contiguous(memory_format=memory_format)
    window_mean(x, 2)
    torch.library.opcheck(torch.ops.seamseg.window_mean.default, (x.requires_grad_(), 2))
    torch.library.opcheck(torch.ops.seamseg.window_mean_gradient.default, (x.detach(), 2))


@pytest.mark.parametrize(("shape", "window", "fact"), [((1, 2, 3), 2, "N x C x H x W"), ((1, 2, 3, 3), 0, "positive")])
def test_window_mean_refuses_wrong_arguments(shape: tuple[int, ...], window: int, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        window_mean(random(*shape), window)


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


@pytest.mark.parametrize("window", [3, 6, 64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_window_mean_has_the_memory_format_of_its_input(window: int, memory_format: torch.memory_format) -> None:
    x = random(2, 3, 9, 5).contiguous(memory_format=memory_format)
    found = window_mean(x, window)
    torch.testing.assert_close(found, oracle.window_mean(x, window), rtol=1e-4, atol=1e-5)
    if memory_format is torch.channels_last:
        assert found.is_contiguous(memory_format=torch.channels_last)
    inputs = random(2, 3, 9, 5, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    assert gradcheck(lambda x: window_mean(x, window), inputs)
