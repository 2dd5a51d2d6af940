"""Standardized filters compared with their definition in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from seamseg.ops import native
from seamseg.ops.standardized_filters import _gradient_shapes, _shapes, standardize_filters

EPS = 1e-10
# Filters of fewer numbers than a vector holds, of some vectors and a part, and of more than one sum.
SHAPES = [(1, 1), (3, 2), (5, 3, 1, 1), (4, 3, 3, 3), (2, 70, 3, 3), (3, 5000), (2, 1100, 2, 2)]


def weight_of(shape: tuple[int, ...], memory_format: torch.memory_format, offset: float = 0.3) -> Tensor:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.1 + offset
    if len(shape) == 4:
        weight = weight.contiguous(memory_format=memory_format)
    return weight.requires_grad_()


def definition(weight: Tensor) -> Tensor:
    dims = list(range(1, weight.ndim))
    var, mean = torch.var_mean(weight.double(), dim=dims, correction=0, keepdim=True)
    return (weight.double() - mean) / (var + EPS).sqrt()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("offset", [0.3, 1000.0])
def test_filters_and_gradients_equal_the_definition(
    shape: tuple[int, ...], memory_format: torch.memory_format, offset: float
) -> None:
    weight = weight_of(shape, memory_format, offset)
    found, expected = standardize_filters(weight, EPS), definition(weight)
    assert (found.dtype, found.stride()) == (torch.float32, weight.stride())
    tolerance = 1e-5 if offset < 1 else 2e-3  # float32 itself has only so many digits at 1000
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1)).contiguous()
    (gradient,) = torch.autograd.grad(found, weight, upstream)
    (right,) = torch.autograd.grad(expected, weight, upstream.double())
    assert gradient.stride() == weight.stride(), "an optimizer would copy it otherwise"
    # The terms that cancel are as large as the upstream gradient divided by the standard deviation.
    std = weight.detach().double().flatten(1).std(dim=1, correction=0)
    scale = float((upstream.abs().max() / (std * std + EPS).sqrt()).max())
    torch.testing.assert_close(gradient.double(), right.double(), rtol=1e-3, atol=tolerance * scale)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_filters_under_autocast_are_rounded_once(memory_format: torch.memory_format) -> None:
    weight = weight_of((4, 6, 3, 3), memory_format)
    with torch.autocast("cpu", torch.bfloat16):
        found = standardize_filters(weight, EPS)
    in_float32 = standardize_filters(weight, EPS)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, in_float32.bfloat16())
    upstream = torch.randn_like(weight).bfloat16()
    (gradient,) = torch.autograd.grad(found, weight, upstream)
    (right,) = torch.autograd.grad(in_float32, weight, upstream.float())
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient, right, rtol=1e-4, atol=1e-4)


def test_other_weights_take_the_operators_of_torch() -> None:
    for weight in (torch.randn(4, 3, 3, 3).double(), torch.randn(3, 4, 2, 2).transpose(0, 1), torch.zeros(0, 3)):
        found = standardize_filters(weight, EPS).double()
        torch.testing.assert_close(found, definition(weight), rtol=1e-5, atol=1e-6)  # one of the weights is float32


def test_gradients_equal_finite_differences_in_double_precision() -> None:
    weight = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: standardize_filters(x, EPS), weight)


def test_constant_filter_is_zero_and_has_a_finite_gradient() -> None:
    weight = torch.full((2, 3, 3, 3), 0.5).requires_grad_()
    found = standardize_filters(weight, EPS)
    assert not found.any()
    (gradient,) = torch.autograd.grad(found, weight, torch.randn_like(weight))
    assert gradient.isfinite().all()


@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_operators_pass_the_checks_of_torch(in_bfloat16: bool) -> None:
    native.require("standardize_filters", _shapes)
    native.require("standardize_filters_gradient", _gradient_shapes)
    weight = weight_of((4, 3, 3, 3), torch.channels_last).detach()
    opcheck(torch.ops.seamseg.standardize_filters, (weight, in_bfloat16, EPS))
    filters, statistics = torch.ops.seamseg.standardize_filters(weight, in_bfloat16, EPS)
    opcheck(torch.ops.seamseg.standardize_filters_gradient, (weight, filters, statistics))


def test_operators_refuse_other_arguments() -> None:
    weight = torch.randn(4, 3)
    for wrong in (weight.double(), weight.T, weight[:0]):
        with pytest.raises((RuntimeError, ValueError), match="standardize_filters: the weight must"):
            torch.ops.seamseg.standardize_filters(wrong, False, EPS)
    with pytest.raises((RuntimeError, ValueError), match="the gradient must have the shape"):
        torch.ops.seamseg.standardize_filters_gradient(weight, weight.T, torch.empty(4, 2))
    with pytest.raises((RuntimeError, ValueError), match="two float32 numbers per filter"):
        torch.ops.seamseg.standardize_filters_gradient(weight, weight, torch.empty(4, 3))
