from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import norm as oracle
from torch import Tensor
from torch.autograd import gradcheck
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from seamseg.modules.abn import InPlaceABN
from seamseg.ops.inplace_abn import (
    Activation,
    Statistics,
    batch_moments,
    check_activation,
    inplace_abn,
    overwriting_obstacle,
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
    assert gradcheck(
        lambda x, *layer: norm(x, layer[0], layer[1], activation, slope, training), inputs, nondet_tol=1e-12
    )
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


MODES = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference": torch.inference_mode}
ALIASES: dict[str, Callable[[Tensor], Tensor]] = {
    "slice": lambda base: base[:, :3],
    "second half": lambda base: base.chunk(2, dim=1)[1],
    "reshaped": lambda base: base.view(8, 3, 5),
    "transposed": lambda base: base.view(4, 10, 3).transpose(1, 2),
    "expanded": lambda base: base[:, :3, :1].expand(4, 3, 5),
    "detached": lambda base: base.view(8, 3, 5).detach(),
    "data": lambda base: base.view(8, 3, 5).data,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("training", [True, False], ids=["batch", "running"])
@pytest.mark.parametrize("wants_gradients", [True, False], ids=["trained", "frozen"])
def test_inplace_abn_on_shared_memory_leaves_the_other_tensor_alone(
    mode: str, alias: str, training: bool, wants_gradients: bool
) -> None:
    gamma, beta = parameters(3)
    with MODES[mode]():
        base = random(4, 6, 5)
        x = ALIASES[alias](base)
        expected = norm(x.clone(), gamma, beta, "leaky_relu", 0.1, training, in_one=training)
        before = base.clone()
        statistics = None if training else Statistics(torch.full_like(gamma, 0.3), torch.full_like(gamma, 2.0))
        weight = gamma.clone().requires_grad_(wants_gradients)
        z, _ = inplace_abn(x, weight, beta, statistics, EPS, "leaky_relu", 0.1)
    assert torch.equal(base, before)
    torch.testing.assert_close(z.detach(), expected.detach())


@pytest.mark.parametrize("mode", MODES)
def test_inplace_abn_on_expanded_memory_of_its_own_gives_values_of_a_copy(mode: str) -> None:
    gamma, beta = parameters(3)
    with MODES[mode]():
        expected = norm(random(4, 3, 1).expand(4, 3, 5).clone(), gamma, beta, "identity", 1.0, True)
        z, _ = inplace_abn(random(4, 3, 1).expand(4, 3, 5), gamma, beta, None, EPS, "identity", 1.0)
    torch.testing.assert_close(z, expected)


@pytest.mark.parametrize("mode", MODES)
def test_inplace_abn_on_a_sole_owner_overwrites_it(mode: str) -> None:
    gamma, beta = parameters(3)
    with MODES[mode]():
        x = random(4, 3, 5)
        assert x[0, 0, 0] == random(4, 3, 5)[0, 0, 0]  # a view that is gone shares nothing
        z, _ = inplace_abn(x, gamma, beta, None, EPS, "identity", 1.0)
    assert z.data_ptr() == x.data_ptr()


def _refuse_to_unpack(_: object) -> Tensor:
    raise AssertionError("a saved tensor was unpacked")


def test_overwriting_obstacle_for_any_maker_unpacks_nothing() -> None:
    x, weight = random(4, 3, 5, dtype=torch.float32).requires_grad_(), torch.ones(3, requires_grad=True)
    with saved_tensors_hooks(lambda tensor: tensor, _refuse_to_unpack):
        refused = [x.exp(), x.softmax(1), functional.leaky_relu_(x * 1), x.cumprod(1), x.amax(2, keepdim=True)]
        refused.append(inplace_abn(x * 1, weight, weight, None, EPS, "identity", 1.0)[0])
        accepted = [
            x * x,
            functional.conv1d(x, torch.ones(3, 3, 1, requires_grad=True)),
            functional.max_pool1d(x, 2),  # which keeps its second output
            functional.layer_norm(x, [5]),  # and its third
            x ** torch.full((), 2.0),  # which keeps its output only for the exponent
            KeepsOutput.apply(x),  # its type does not tell; the norm copies what it shares
        ]
    assert [overwriting_obstacle(y) is not None for y in refused] == [True] * len(refused)
    assert [overwriting_obstacle(y) for y in accepted] == [None] * len(accepted)


class KeepsOutput(torch.autograd.Function):
    """exp."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        return dy * ctx.saved_tensors[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [torch.exp, KeepsOutput.apply], ids=["exp", "function"])
def test_inplace_abn_on_what_its_maker_keeps_has_right_gradients(make: Callable[[Tensor], Tensor]) -> None:
    results = []
    for copy in (True, False):
        x, (gamma, beta) = random(4, 3, 5).requires_grad_(), parameters(3)
        y = make(x).clone() if copy else make(x)
        z, _ = inplace_abn(y, gamma, beta, None, EPS, "leaky_relu", 0.1)
        results.append([z, *torch.autograd.grad(z.pow(3).sum(), x)])
    torch.testing.assert_close(*results)


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
    strides = {"channels_last": (90, 1, 18, 3), "slice": (180, 30, 6, 1), "transposed": (90, 30, 1, 5)}[layout]
    x = torch.empty_strided(moments_of.shape, strides, dtype=moments_of.dtype).copy_(moments_of)  # no view
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


@pytest.mark.parametrize("share", [torch.utils.dlpack.from_dlpack, lambda base: torch.from_numpy(base.numpy())])
def test_memory_shared_with_other_libraries_is_copied(share: Callable[[Tensor], Tensor]) -> None:
    base = torch.arange(16.0).reshape(1, 4, 2, 2)
    before = base.clone()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            InPlaceABN(4)(share(base))
        assert torch.equal(base, before)
