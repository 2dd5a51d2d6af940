"""Group norm in channels last, compared with the norm of one group at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import group_norm as oracle
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional

from seamseg.ops.group_norm import _GroupNorm, group_norm

Values = tuple[Tensor, Tensor, Tensor]
HALF = [torch.bfloat16, torch.float16]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def made(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, mean: float = 0) -> Values:
    """Return an input in channels last, weights of which one is 0, and biases, all of which require gradients."""
    x = (random(*shape) + mean).to(dtype).contiguous(memory_format=torch.channels_last)
    of_constants = torch.float64 if dtype == torch.float64 else torch.float32
    weight, bias = (random(shape[1], seed=seed, dtype=of_constants) for seed in (1, 2))
    weight[0] = 0
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def results(y: Tensor, values: Values) -> tuple[Tensor, ...]:
    """Return the output and the gradients of a weighted sum of its values."""
    upstream = random(*y.shape, seed=3, dtype=y.dtype)
    return y, *torch.autograd.grad(y, values, upstream)


def assert_equal_to_oracle(values: Values, num_groups: int, rounding: float) -> None:
    """Compare output and gradients; ``rounding`` is relative to the largest value."""
    found = results(group_norm(values[0], num_groups, *values[1:]), values)
    expected = results(oracle.group_norm(values[0], num_groups, *values[1:]), values)
    for one, right in zip(found, expected, strict=True):
        size = float(right.detach().abs().max()) if right.numel() else 0.0
        torch.testing.assert_close(one.double(), right.double(), rtol=0, atol=rounding * (size + 1))


@pytest.fixture
def native_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse PyTorch's operator."""
    monkeypatch.setattr(functional, "group_norm", None)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 20), st.integers(1, 9), st.integers(2, 9))
@settings(deadline=None)
def test_group_norm_of_random_sizes_equals_the_oracle(
    num_images: int, num_groups: int, group_size: int, height: int, width: int
) -> None:
    values = made((num_images, num_groups * group_size, height, width), torch.float64)
    assert_equal_to_oracle(values, num_groups, 1e-10)


# Sums of more rows than a kernel adds in float32, vectors and rests of them, gradients that leave the caches.
@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("shape", [(2, 64, 70, 90), (1, 48, 256, 192), (5, 130, 3, 3), (40, 32, 14, 14)], ids=str)
@pytest.mark.parametrize("num_groups", [1, 2])
def test_group_norm_of_many_pixels_equals_the_oracle(shape: tuple[int, ...], num_groups: int) -> None:
    assert_equal_to_oracle(made(shape), num_groups, 1e-5)


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("shape", [(2, 16, 100, 90), (9, 16, 70, 70)], ids=str)
def test_group_norm_on_several_threads_equals_the_oracle(shape: tuple[int, ...]) -> None:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert_equal_to_oracle(made(shape), 4, 1e-5)
    finally:
        torch.set_num_threads(num_threads)


@pytest.mark.usefixtures("native_only")
def test_group_norm_with_one_channel_per_group_normalizes_each_channel() -> None:
    x, weight, bias = made((2, 6, 5, 4))
    assert_equal_to_oracle((x, weight, bias), 6, 1e-5)
    y = group_norm(x, 6, torch.ones(6), torch.zeros(6))
    torch.testing.assert_close(y.mean(dim=(2, 3)), torch.zeros(2, 6), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("native_only")
def test_group_norm_equals_values_computed_by_hand() -> None:
    """The groups have the values 1, 3, 5, 7 with the variance 5, and 0, 0, 0, 4 with the variance 3."""
    x = torch.tensor([[1.0, 3], [5, 7], [0, 0], [0, 4]]).view(1, 4, 1, 2).contiguous(memory_format=torch.channels_last)
    y = group_norm(x, 2, torch.tensor([1.0, 2, 1, 1]), torch.tensor([0.0, 0, 0, 10]), eps=0.0)
    expected = [-3 / 5**0.5, -1 / 5**0.5, 2 / 5**0.5, 6 / 5**0.5, -1 / 3**0.5, -1 / 3**0.5]
    assert y.flatten().tolist() == pytest.approx([*expected, 10 - 1 / 3**0.5, 10 + 3 / 3**0.5])


@pytest.mark.parametrize("mean", [1e3, 1e5])
def test_group_norm_of_values_with_a_large_mean_is_accurate(mean: float) -> None:
    """The rounding of the input itself is in both results."""
    assert_equal_to_oracle(made((2, 8, 30, 40), mean=mean), 2, mean * 1e-7 + 1e-5)


def test_group_norm_of_constant_values_is_the_bias() -> None:
    x = torch.full((1, 4, 3, 3), 1e4).contiguous(memory_format=torch.channels_last)
    bias = random(4, dtype=torch.float32)
    assert torch.equal(group_norm(x, 2, torch.ones(4), bias), bias.view(1, 4, 1, 1).expand(x.shape))


def test_group_norm_of_one_pixel_equals_the_oracle() -> None:
    x, weight, bias = made((3, 8, 1, 1))
    assert_equal_to_oracle((x, weight, bias), 2, 1e-5)
    group_norm(*(made((2, 8, 2, 2))[0], 2, weight, bias))  # registers the operator
    y, _ = torch.ops.seamseg.group_norm(x, 2, weight, bias, 1e-5)
    torch.testing.assert_close(y.double(), oracle.group_norm(x, 2, weight, bias), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("dtype", HALF)
def test_group_norm_in_half_precision_equals_that_of_float32_up_to_rounding(dtype: torch.dtype) -> None:
    values = made((3, 32, 17, 19), dtype, mean=2)
    y = group_norm(values[0], 4, *values[1:])
    assert y.dtype == dtype
    assert_equal_to_oracle(values, 4, 2 * torch.finfo(dtype).eps)
    rounded = (values[0], *(value.detach().to(dtype).requires_grad_() for value in values[1:]))
    assert_equal_to_oracle(rounded, 4, 2 * torch.finfo(dtype).eps)
    gradients = results(group_norm(rounded[0], 4, *rounded[1:]), rounded)
    assert {gradient.dtype for gradient in gradients} == {dtype}


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_group_norm_in_autocast_keeps_the_type_of_its_input(dtype: torch.dtype) -> None:
    values = made((1, 8, 6, 5), dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = group_norm(values[0], 2, *values[1:])
    assert found.dtype == dtype
    assert torch.equal(found, group_norm(values[0], 2, *values[1:]))


@pytest.mark.usefixtures("native_only")
def test_group_norm_and_its_gradient_are_in_channels_last() -> None:
    values = made((2, 8, 6, 5))
    y = group_norm(values[0], 2, *values[1:])
    y.sum().backward()  # a gradient whose strides are 0
    assert values[0].grad is not None
    assert all(result.is_contiguous(memory_format=torch.channels_last) for result in (y, values[0].grad))


@pytest.mark.usefixtures("native_only")
def test_group_norm_of_a_strided_input_keeps_it() -> None:
    whole, weight, bias = made((2, 8, 9, 12))
    part = whole[:, :, 2:7, 1::2]
    before = part.clone()
    assert_equal_to_oracle((whole[:, :, 2:7, 1::2].detach().requires_grad_(), weight, bias), 4, 1e-5)
    assert torch.equal(part, before)


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("shape", [(0, 8, 3, 3), (2, 8, 0, 3)], ids=str)
def test_group_norm_without_values_gives_zero_gradients(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape[0] or 1, 8, 3, 4).contiguous(memory_format=torch.channels_last)
    x = x[: shape[0], :, : shape[2], : shape[3]].requires_grad_()
    weight, bias = torch.ones(8, requires_grad=True), torch.zeros(8, requires_grad=True)
    module_operator()
    y = _GroupNorm.apply(x, 2, weight, bias, 1e-5)
    assert y.shape == shape
    y.sum().backward()
    assert [parameter.grad.tolist() for parameter in (weight, bias) if parameter.grad is not None] == [[0.0] * 8] * 2


def module_operator() -> torch._ops.OpOverload:
    """Return the native operator, registered."""
    values = made((1, 2, 2, 2))
    group_norm(values[0], 1, *values[1:])
    return torch.ops.seamseg.group_norm.default


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6), (2, 6, 2, 3, 4), (2, 6, 4, 5)], ids=str)
def test_group_norm_of_contiguous_inputs_is_that_of_pytorch(shape: tuple[int, ...]) -> None:
    x, (weight, bias) = random(*shape, dtype=torch.float32), made((1, 6, 2, 2))[1:]
    assert torch.equal(group_norm(x, 3, weight, bias), functional.group_norm(x, 3, weight, bias))


def test_group_norm_in_transforms_and_traces_is_that_of_pytorch() -> None:
    x, weight, bias = (value.detach() for value in made((2, 6, 4, 5)))
    expected = group_norm(x, 3, weight, bias)
    traced = torch.jit.trace(lambda x: group_norm(x, 3, weight, bias), x)  # type: ignore[no-untyped-call]
    assert "seamseg" not in str(traced.graph)
    torch.testing.assert_close(traced(x), expected)
    gradient = torch.func.grad(lambda x: group_norm(x, 3, weight, bias).square().sum())(x)
    leaf = x.clone().requires_grad_()
    group_norm(leaf, 3, weight, bias).square().sum().backward()
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("native_only")
def test_group_norm_gradients_equal_finite_differences() -> None:
    values = made((2, 6, 3, 2), torch.float64)
    assert gradcheck(lambda *values: group_norm(values[0], 3, *values[1:]), values)


@pytest.mark.parametrize("num_images", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_group_norm_operators_pass_opcheck(num_images: int, dtype: torch.dtype) -> None:
    operator = module_operator()
    x, weight, bias = made((num_images, 6, 5, 4), dtype)
    x, weight, bias = (value.detach() for value in (x, weight, bias))
    torch.library.opcheck(operator, (x, 3, weight, bias, 1e-5))
    y, statistics = operator(x, 3, weight, bias, 1e-5)
    torch.library.opcheck(torch.ops.seamseg.group_norm_gradient.default, (x, y, statistics, weight))


@pytest.mark.parametrize(("num_groups", "num_channels"), [(4, 6), (0, 6), (3, 5)])
def test_group_norm_refuses_wrong_arguments(num_groups: int, num_channels: int) -> None:
    x, weight, bias = made((1, 6, 3, 3))
    with pytest.raises(ValueError, match=r"groups must divide|one number per channel"):
        group_norm(x, num_groups, weight[:num_channels], bias[:num_channels])
