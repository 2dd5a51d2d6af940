from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import norm as oracle
from torch import Tensor
from torch.autograd import gradcheck
from torch.autograd.graph import saved_tensors_hooks

from seamseg.ops.inplace_abn import (
    Activation,
    Statistics,
    batch_moments,
    check_activation,
    inplace_abn,
)

EPS = 1e-5
ACTIVATIONS: list[tuple[Activation, float]] = [("leaky_relu", 0.01), ("leaky_relu", 0.4), ("elu", 1.0), ("elu", 0.3)]
ACTIVATIONS.append(("identity", 0.01))
activations = pytest.mark.parametrize(("activation", "slope"), ACTIVATIONS)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def parameters(channels: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Factors of both signs that are not small, and shifts."""
    gamma = random(channels, seed=1, dtype=dtype)
    return gamma + 0.5 * torch.where(gamma >= 0, 1.0, -1.0), random(channels, seed=2, dtype=dtype) * 0.5


def norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    activation: Activation,
    slope: float,
    training: bool,
    residual: Tensor | None = None,
    in_one: bool = False,
) -> Tensor:
    """The function under test on a copy of ``x``, so that the caller keeps it.

    ``in_one``: the function finds the moments of the batch itself.
    """
    moments = batch_moments(x.detach())
    batch = None if in_one else Statistics(moments.mean, moments.var, moments.count)
    running = Statistics(torch.full_like(gamma, 0.3).detach(), torch.full_like(gamma, 2.0).detach())
    statistics = batch if training else running
    z, used = inplace_abn(x.clone(), gamma, beta, statistics, EPS, activation, slope, residual)
    if training:
        torch.testing.assert_close(used, torch.stack([moments.mean, moments.var]))
    return z


@activations
@pytest.mark.parametrize("training", [True, False], ids=["batch", "running"])
@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 4), (2, 3, 2, 3), (2, 2, 2, 1, 2)], ids=str)
def test_gradients(shape: tuple[int, ...], training: bool, activation: Activation, slope: float) -> None:
    gamma, beta = parameters(shape[1])
    inputs = [tensor.requires_grad_() for tensor in (random(*shape), gamma, beta)]
    assert gradcheck(lambda *args: norm(*args, activation, slope, training), inputs, nondet_tol=1e-12)
    inputs.append(random(*shape, seed=3).requires_grad_())

    def with_residual(x: Tensor, gamma: Tensor, beta: Tensor, residual: Tensor) -> Tensor:
        return norm(x, gamma, beta, activation, slope, training, residual, in_one=training)

    assert gradcheck(with_residual, inputs, nondet_tol=1e-12)


@activations
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 5, 4), (2, 3, 2, 3, 2)], ids=str)
def test_values_are_those_of_a_norm_and_an_activation(
    shape: tuple[int, ...], activation: Activation, slope: float
) -> None:
    x, (gamma, beta) = random(*shape), parameters(shape[1])
    normed = torch.nn.functional.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)
    expected = oracle.activate(normed, activation, slope)
    for in_one in (False, True):
        torch.testing.assert_close(norm(x, gamma, beta, activation, slope, True, in_one=in_one), expected)
    residual = random(*shape, seed=3)
    expected = oracle.activate(normed + residual, activation, slope)
    for in_one in (False, True):
        torch.testing.assert_close(norm(x, gamma, beta, activation, slope, True, residual, in_one), expected)


def test_the_output_is_the_input_overwritten() -> None:
    x, (gamma, beta) = random(2, 3, 4, 5), parameters(3)
    buffer = x.clone()
    moments = batch_moments(buffer)
    z, _ = inplace_abn(buffer, gamma, beta, Statistics(moments.mean, moments.var, moments.count), EPS, "elu", 1.0)
    assert z.data_ptr() == buffer.data_ptr()
    assert torch.equal(z, buffer)
    assert not torch.equal(z, x)


@activations
def test_the_output_alone_is_kept(activation: Activation, slope: float) -> None:
    x, (gamma, beta) = random(2, 3, 40, 5).requires_grad_(), parameters(3)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    buffer = x * 1
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        z, _ = inplace_abn(buffer, gamma.requires_grad_(), beta, Statistics(beta, gamma.abs()), EPS, activation, slope)
    large = [tensor for tensor in kept if tensor.numel() > 6]  # but γ, β and the moments
    assert [tensor.data_ptr() for tensor in large] == [z.data_ptr()]
    assert z.data_ptr() == buffer.data_ptr()


def test_with_a_residual_that_is_kept_besides() -> None:
    x, residual, (gamma, beta) = random(2, 3, 40, 5).requires_grad_(), random(2, 3, 40, 5, seed=3), parameters(3)
    kept: list[Tensor] = []
    buffer = x * 1
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        z, _ = inplace_abn(buffer, gamma, beta, None, EPS, "leaky_relu", 0.1, residual)
    large = {tensor.data_ptr() for tensor in kept if tensor.numel() > 6}
    assert large == {z.data_ptr(), residual.data_ptr()}
    assert z.data_ptr() == buffer.data_ptr()


def test_a_view_is_copied_only_where_gradients_are_wanted() -> None:
    gamma, beta = parameters(3)
    base = random(4, 6, 5)
    before = base.clone()
    z, _ = inplace_abn(base[:, :3], gamma, beta, None, EPS, "identity", 1.0)
    assert z.data_ptr() == base.data_ptr()
    assert torch.equal(base[:, 3:], before[:, 3:])
    assert not torch.equal(base[:, :3], before[:, :3])
    base = before.clone()
    z, _ = inplace_abn(base[:, :3], gamma.requires_grad_(), beta, None, EPS, "identity", 1.0)
    assert torch.equal(base, before)
    assert not torch.equal(z, before[:, :3])


def test_overwriting_what_another_operation_needs_is_noticed() -> None:
    x, (gamma, beta) = random(2, 3).requires_grad_(), parameters(3)
    hidden = x.exp()  # its backward pass reads its output
    z, _ = inplace_abn(hidden, gamma, beta, Statistics(beta, beta.abs()), EPS, "identity", 1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_changing_the_output_before_the_backward_pass_is_noticed() -> None:
    x, (gamma, beta) = random(2, 3).requires_grad_(), parameters(3)
    z = norm(x, gamma, beta, "leaky_relu", 0.01, training=True)
    z += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_there_is_no_second_derivative() -> None:
    x, (gamma, beta) = random(4, 3).requires_grad_(), parameters(3)
    z = norm(x, gamma, beta, "leaky_relu", 0.01, training=True)
    (gradient,) = torch.autograd.grad(z.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@activations
@pytest.mark.parametrize("training", [True, False], ids=["batch", "running"])
def test_no_samples_give_no_output_and_zero_gradients(activation: Activation, slope: float, training: bool) -> None:
    x = torch.zeros(0, 3, 2, 2, requires_grad=True)
    gamma, beta = (parameter.requires_grad_() for parameter in parameters(3, torch.float32))
    z = norm(x, gamma, beta, activation, slope, training)
    assert z.shape == x.shape
    z.sum().backward()
    assert x.grad is not None
    for parameter in (gamma, beta):
        assert parameter.grad is not None
        assert parameter.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [True, False], ids=["batch", "running"])
@activations
def test_half_types_compute_in_single_precision(
    dtype: torch.dtype, training: bool, activation: Activation, slope: float
) -> None:
    gamma, beta = parameters(3, torch.float32)
    x = random(8, 3, 6, 5, dtype=torch.float32).to(dtype)
    weights = random(8, 3, 6, 5, seed=3, dtype=torch.float32)

    def run(x: Tensor) -> list[Tensor]:
        inputs = [tensor.detach().clone().requires_grad_() for tensor in (x, gamma, beta)]
        z = norm(inputs[0], inputs[1], inputs[2], activation, slope, training)
        return [z, *torch.autograd.grad((z.float() * weights).sum(), inputs)]

    found, expected = run(x), run(x.float())
    assert [tensor.dtype for tensor in found] == [dtype, dtype, torch.float32, torch.float32]
    for half, single in zip(found, expected, strict=True):
        # What is inverted is the rounded output: the error is that of its last bit, relative to the largest values.
        torch.testing.assert_close(half.float(), single, rtol=2e-2, atol=1e-2 * single.detach().abs().max().item())


@pytest.mark.parametrize("layout", ["channels_last", "slice", "transposed"])
def test_strided_inputs_are_overwritten_where_they_lie(layout: str) -> None:
    gamma, beta = parameters(3)
    moments_of = random(4, 3, 5, 6)
    x = {
        "channels_last": lambda: moments_of.contiguous(memory_format=torch.channels_last),
        "slice": lambda: torch.cat([moments_of, moments_of], dim=1)[:, :3],
        "transposed": lambda: moments_of.transpose(2, 3).contiguous().transpose(2, 3),
    }[layout]()
    moments = batch_moments(x)
    statistics = Statistics(moments.mean, moments.var, moments.count)
    z, _ = inplace_abn(x, gamma, beta, statistics, EPS, "leaky_relu", 0.01)
    assert z.data_ptr() == x.data_ptr()
    assert z.stride() == x.stride()
    torch.testing.assert_close(z, norm(moments_of, gamma, beta, "leaky_relu", 0.01, True))


def test_a_saturated_elu_has_finite_gradients() -> None:
    x = torch.tensor([[-300.0, 1.0], [200.0, 2.0], [100.0, -3.0]], requires_grad=True)
    gamma, beta = torch.tensor([40.0, 1.0]), torch.zeros(2)
    z = norm(x, gamma, beta, "elu", 1.0, training=True)
    assert z[0, 0] == -1
    z.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4).filter(lambda shape: shape[0] > 1)


@given(SHAPES, st.floats(-3, 3), st.floats(0.1, 5))
@settings(deadline=None)
def test_moments_are_mean_and_biased_variance(shape: list[int], mean: float, spread: float) -> None:
    x = random(*shape) * spread + mean
    moments = batch_moments(x)
    for channel in range(shape[1]):
        values = x.select(1, channel).flatten().tolist()
        average = sum(values) / len(values)
        assert moments.mean[channel].item() == pytest.approx(average)
        assert moments.var[channel].item() == pytest.approx(sum((v - average) ** 2 for v in values) / len(values))
        assert moments.count == len(values)


def test_moments_keep_small_variances_at_large_means() -> None:
    x = random(50, 2, 20, dtype=torch.float32) + 1e4
    torch.testing.assert_close(batch_moments(x).var.double(), x.double().var((0, 2), correction=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0, 4)], ids=str)
def test_moments_of_nothing_are_zeros(shape: tuple[int, ...]) -> None:
    moments = batch_moments(torch.ones(shape))
    assert (moments.mean.tolist(), moments.var.tolist(), moments.count.item()) == ([0] * 3, [0] * 3, 0)


def test_moments_of_half_types_are_single_precision() -> None:
    moments = batch_moments(torch.full((300, 1, 300), 1.0, dtype=torch.bfloat16))
    assert (moments.mean.dtype, moments.mean.item(), moments.count.item()) == (torch.float32, 1, 90000)


@pytest.mark.parametrize(
    ("activation", "slope", "message"),
    [
        ("relu", 0.01, "cannot use relu: it maps all negative values to 0"),
        ("gelu", 0.01, "unknown activation 'gelu'; known are leaky_relu, elu and identity"),
        ("leaky_relu", 0.0, "slope of leaky_relu must be greater than 0 to be inverted, not 0.0"),
        ("leaky_relu", -0.5, "not -0.5"),
        ("elu", 0.0, "slope of elu"),
    ],
)
def test_what_cannot_be_inverted_is_refused(activation: str, slope: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_activation(activation, slope)


@pytest.mark.parametrize(("activation", "slope"), [*ACTIVATIONS, ("identity", 0.0)])
def test_what_can_be_inverted_is_accepted(activation: str, slope: float) -> None:
    check_activation(activation, slope)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@activations
def test_the_gpu_computes_the_same(activation: Activation, slope: float) -> None:
    def run(device: str) -> list[Any]:
        gamma, beta = parameters(3)
        inputs = [tensor.to(device).requires_grad_() for tensor in (random(4, 3, 6, 5), gamma, beta)]
        z = norm(inputs[0], inputs[1], inputs[2], activation, slope, True)
        return [tensor.cpu() for tensor in (z, *torch.autograd.grad((z**3).sum(), inputs))]

    for found, expected in zip(run("cuda"), run("cpu"), strict=True):
        torch.testing.assert_close(found, expected)
