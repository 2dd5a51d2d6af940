"""Max pooling without its input against PyTorch's layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.memory import saved_bytes
from seamseg.modules.max_pool import LeanMaxPool2d


def step(pool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output and gradient of the input, for a loss with another weight for every value."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = pool(x)
    weight = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((y * weight).sum(), x)
    return y, gradient


@pytest.mark.parametrize("size", [(8, 12), (7, 9), (1, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_values_and_gradients_equal_torch_pool(
    size: tuple[int, int], memory_format: torch.memory_format, dtype: torch.dtype
) -> None:
    x = torch.randn(2, 4, *size).round(decimals=1).to(dtype).contiguous(memory_format=memory_format)  # with ties
    found, expected = step(LeanMaxPool2d(3, stride=2, padding=1), x), step(nn.MaxPool2d(3, stride=2, padding=1), x)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()


def test_empty_batch_has_empty_gradient() -> None:
    y, gradient = step(LeanMaxPool2d(3, stride=2, padding=1), torch.zeros(0, 4, 8, 8))
    assert (y.shape, gradient.shape) == ((0, 4, 4, 4), (0, 4, 8, 8))


def test_second_derivatives_pass_gradcheck() -> None:
    x = torch.randperm(2 * 6 * 7).double().view(1, 2, 6, 7).requires_grad_()
    assert torch.autograd.gradgradcheck(LeanMaxPool2d(3, stride=2, padding=1), x)


def test_only_positions_are_kept() -> None:
    convolution, x = nn.Conv2d(3, 4, 1), torch.randn(2, 3, 8, 8)
    input_values, output_values = 2 * 4 * 8 * 8, 2 * 4 * 4 * 4
    ours, theirs = LeanMaxPool2d(3, stride=2, padding=1), nn.MaxPool2d(3, stride=2, padding=1)
    assert saved_bytes(nn.Sequential(convolution, ours), x) == 4 * output_values
    assert saved_bytes(nn.Sequential(convolution, theirs), x) == 4 * input_values + 8 * output_values


def test_traced_and_compiled_layers_compute_the_same() -> None:
    pool, x = LeanMaxPool2d(3, stride=2, padding=1), torch.randn(1, 2, 8, 8)
    expected, gradient = step(pool, x)
    assert torch.equal(torch.jit.trace(pool, x)(x), expected)
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    found = step(compiled, x)
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], gradient)
