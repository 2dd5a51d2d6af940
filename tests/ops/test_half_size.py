"""Means over 2×2 positions that share a gradient with the maps themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from seamseg.ops.half_size import with_half_size

FORMATS = [torch.contiguous_format, torch.channels_last]


def maps(memory_format: torch.memory_format = torch.contiguous_format, count: int = 3) -> Tensor:
    x = torch.randn(count, 2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.contiguous(memory_format=memory_format).requires_grad_()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("uses", ["both", "whole", "half", "expanded"])
def test_values_and_gradients_equal_those_of_the_pool(memory_format: torch.memory_format, uses: str) -> None:
    x = maps(memory_format)

    def loss(whole: Tensor, half: Tensor) -> Tensor:
        if uses == "expanded":  # the gradient of a sum is one number with strides of 0
            return whole.sum() + half.square().sum()
        total = x.new_zeros(())
        if uses in ("both", "whole"):
            total = total + whole.sin().sum()
        if uses in ("both", "half"):
            total = total + half.square().sum()
        return total

    whole, half = with_half_size(x)
    torch.testing.assert_close(half, functional.avg_pool2d(x, 2))
    assert torch.equal(whole, x)
    (found,) = torch.autograd.grad(loss(whole, half), x)
    (expected,) = torch.autograd.grad(loss(x, functional.avg_pool2d(x, 2)), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("count", [0, 3])
def test_gradients_of_all_entries_are_those_of_finite_differences(count: int) -> None:
    assert torch.autograd.gradcheck(lambda x: tuple(one.sin() for one in with_half_size(x)), maps(count=count))


def test_backward_pass_adds_the_means_into_the_gradient_of_the_maps() -> None:
    x = maps()
    whole, half = with_half_size(x)
    loss = whole.sin().sum() + half.sum()
    made = 0

    class CountMaps(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal made
            result = func(*args, **(kwargs or {}))
            made += isinstance(result, Tensor) and result.shape == x.shape and not func._schema.is_mutable
            return result

    with CountMaps():
        torch.autograd.grad(loss, x)
    assert made == 3  # ones expanded, cos(x), and their product


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("uses", ["both", "rows", "half"])
def test_values_and_gradients_of_some_rows_equal_indexing(memory_format: torch.memory_format, uses: str) -> None:
    x, rows = maps(memory_format, count=5), torch.tensor([3, 0])

    def loss(some: Tensor, half: Tensor) -> Tensor:
        none = x.new_zeros(())
        return (some.sin().sum() if uses != "half" else none) + (half.square().sum() if uses != "rows" else none)

    some, half = with_half_size(x, rows)
    assert torch.equal(some, x[rows])
    (found,) = torch.autograd.grad(loss(some, half), x)
    (expected,) = torch.autograd.grad(loss(x[rows], functional.avg_pool2d(x, 2)), x)
    torch.testing.assert_close(found, expected)
    if uses == "both":
        assert found.stride() == x.stride(), "the next operator would copy it otherwise"
    none = with_half_size(x, rows[:0])
    torch.testing.assert_close(torch.autograd.grad(none[1].sum() + none[0].sum(), x)[0], torch.full_like(x, 0.25))


def test_without_gradients_the_maps_are_returned_as_they_are() -> None:
    x = maps()
    with torch.no_grad():
        assert with_half_size(x)[0] is x
    assert with_half_size(x.detach())[1].requires_grad is False
