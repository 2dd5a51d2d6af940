"""The in-place norm as a function: gradients, memory, accepted inputs, and the moments of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import norm as oracle
from support.keeps_output import ExpKeepingOutput
from support.pairwise import pairwise
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
    """Return γ of both signs, not near 0, and β."""
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
    """Call the function on a copy of ``x``; with ``in_one`` it computes the moments of the batch itself."""
    moments = batch_moments(x.detach())
    batch = None if in_one else Statistics(moments.mean, moments.var, moments.count)
    running = Statistics(torch.full_like(gamma, 0.3).detach(), torch.full_like(gamma, 2.0).detach())
    statistics = batch if training else running
    z, used = inplace_abn(x.clone(), gamma, beta, statistics, EPS, activation, slope, residual)
    if training:
        torch.testing.assert_close(used, torch.stack([moments.mean, moments.var]))
    return z


GRADIENT_SHAPES = [(5, 3), (3, 2, 4), (2, 3, 2, 3), (2, 2, 2, 1, 2)]


@pytest.mark.parametrize(("shape", "training", "layer"), pairwise(GRADIENT_SHAPES, [True, False], ACTIVATIONS))
def test_gradients_equal_finite_differences(
    shape: tuple[int, ...], training: bool, layer: tuple[Activation, float]
) -> None:
    activation, slope = layer
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
def test_values_by_given_or_own_moments_equal_batch_norm_and_activation(activation: Activation, slope: float) -> None:
    shape = (2, 3, 5, 4)
    x, (gamma, beta) = random(*shape), parameters(shape[1])
    normed = torch.nn.functional.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)
    expected = oracle.activate(normed, activation, slope)
    for in_one in (False, True):
        torch.testing.assert_close(norm(x, gamma, beta, activation, slope, True, in_one=in_one), expected)
    residual = random(*shape, seed=3)
    expected = oracle.activate(normed + residual, activation, slope)
    for in_one in (False, True):
        torch.testing.assert_close(norm(x, gamma, beta, activation, slope, True, residual, in_one), expected)


@pytest.mark.parametrize("activation", ["leaky_relu", "elu", "identity"])
@pytest.mark.parametrize("has_residual", [False, True], ids=["alone", "residual"])
def test_only_output_and_residual_are_kept_for_the_backward_pass(activation: Activation, has_residual: bool) -> None:
    x, residual, (gamma, beta) = random(2, 3, 40, 5).requires_grad_(), random(2, 3, 40, 5, seed=3), parameters(3)
    kept: list[Tensor] = []
    buffer = x * 1
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        z, _ = inplace_abn(buffer, gamma, beta, None, EPS, activation, 0.1, residual if has_residual else None)
    large = {tensor.data_ptr() for tensor in kept if tensor.numel() > 6}  # all but γ, β and the moments
    assert large == {z.data_ptr(), *[residual.data_ptr()] * has_residual}
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


@pytest.mark.parametrize(
    ("mode", "alias", "training", "wants_gradients"), pairwise(list(MODES), list(ALIASES), [True, False], [True, False])
)
def test_inplace_abn_on_shared_memory_keeps_the_other_tensor(
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
        assert x[0, 0, 0] == random(4, 3, 5)[0, 0, 0]  # this view no longer exists
        z, _ = inplace_abn(x, gamma, beta, None, EPS, "identity", 1.0)
    assert z.data_ptr() == x.data_ptr()


def _refuse_to_unpack(_: object) -> Tensor:
    raise AssertionError("a saved tensor was unpacked")


def test_overwriting_obstacle_for_any_maker_unpacks_nothing() -> None:
    x, weight = random(4, 3, 5, dtype=torch.float32).requires_grad_(), torch.ones(3, requires_grad=True)
    with saved_tensors_hooks(lambda tensor: tensor, _refuse_to_unpack):
        refused = [x.exp(), x.softmax(1), functional.leaky_relu_(x * 1), x.cumprod(1), x.amax(2, keepdim=True)]
        refused += [x.sigmoid(), x.tanh(), x.relu(), functional.elu_(x * 1), x.sqrt()]
        refused.append(inplace_abn(x * 1, weight, weight, None, EPS, "identity", 1.0)[0])
        accepted = [
            x * x,
            functional.conv1d(x, torch.ones(3, 3, 1, requires_grad=True)),
            functional.max_pool1d(x, 2),  # keeps its second output
            functional.layer_norm(x, [5]),  # keeps its third output
            x ** torch.full((), 2.0),  # keeps its output only for the exponent
            ExpKeepingOutput.apply(x),  # its type does not show it; the norm copies shared memory
        ]
    assert [overwriting_obstacle(y) is not None for y in refused] == [True] * len(refused)
    assert [overwriting_obstacle(y) for y in accepted] == [None] * len(accepted)


@pytest.mark.parametrize("make", [torch.exp, ExpKeepingOutput.apply], ids=["exp", "function"])
def test_inplace_abn_on_an_output_that_its_maker_keeps_has_right_gradients(make: Callable[[Tensor], Tensor]) -> None:
    results = []
    for copy in (True, False):
        x, (gamma, beta) = random(4, 3, 5).requires_grad_(), parameters(3)
        y = make(x).clone() if copy else make(x)
        z, _ = inplace_abn(y, gamma, beta, None, EPS, "leaky_relu", 0.1)
        results.append([z, *torch.autograd.grad(z.pow(3).sum(), x)])
    torch.testing.assert_close(*results)


def test_output_changed_before_the_backward_pass_fails() -> None:
    x, (gamma, beta) = random(2, 3).requires_grad_(), parameters(3)
    z = norm(x, gamma, beta, "leaky_relu", 0.01, training=True)
    z += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_second_derivative_is_refused() -> None:
    x, (gamma, beta) = random(4, 3).requires_grad_(), parameters(3)
    z = norm(x, gamma, beta, "leaky_relu", 0.01, training=True)
    (gradient,) = torch.autograd.grad(z.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("layout", ["channels_last", "slice", "transposed"])
def test_strided_input_is_overwritten_in_place(layout: str) -> None:
    gamma, beta = parameters(3)
    moments_of = random(4, 3, 5, 6)
    strides = {"channels_last": (90, 1, 18, 3), "slice": (180, 30, 6, 1), "transposed": (90, 30, 1, 5)}[layout]
    x = torch.empty_strided(moments_of.shape, strides, dtype=moments_of.dtype).copy_(moments_of)  # not a view
    moments = batch_moments(x)
    statistics = Statistics(moments.mean, moments.var, moments.count)
    z, _ = inplace_abn(x, gamma, beta, statistics, EPS, "leaky_relu", 0.01)
    assert z.data_ptr() == x.data_ptr()
    assert z.stride() == x.stride()
    torch.testing.assert_close(z, norm(moments_of, gamma, beta, "leaky_relu", 0.01, True))


def test_saturated_elu_has_finite_gradients() -> None:
    x = torch.tensor([[-300.0, 1.0], [200.0, 2.0], [100.0, -3.0]], requires_grad=True)
    gamma, beta = torch.tensor([40.0, 1.0]), torch.zeros(2)
    z = norm(x, gamma, beta, "elu", 1.0, training=True)
    assert z[0, 0] == -1
    z.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4).filter(lambda shape: shape[0] > 1)


@given(SHAPES, st.floats(-3, 3), st.floats(0.1, 5))
@settings(max_examples=50)
def test_moments_equal_mean_and_biased_variance(shape: list[int], mean: float, spread: float) -> None:
    x = random(*shape) * spread + mean
    moments = batch_moments(x)
    for channel in range(shape[1]):
        values = x.select(1, channel).flatten().tolist()
        average = sum(values) / len(values)
        assert moments.mean[channel].item() == pytest.approx(average)
        assert moments.var[channel].item() == pytest.approx(sum((v - average) ** 2 for v in values) / len(values))
        assert moments.count == len(values)


def test_moments_of_an_empty_batch_are_zeros() -> None:
    moments = batch_moments(torch.ones(0, 3, 4, 4))
    assert (moments.mean.tolist(), moments.var.tolist(), moments.count.item()) == ([0] * 3, [0] * 3, 0)


def test_moments_of_half_precision_are_float32() -> None:
    moments = batch_moments(torch.full((300, 1, 300), 1.0, dtype=torch.bfloat16))
    assert (moments.mean.dtype, moments.mean.item(), moments.count.item()) == (torch.float32, 1, 90000)


@pytest.mark.parametrize(
    ("activation", "slope", "message"),
    [
        ("relu", 0.01, "cannot use relu: it maps all negative values to 0"),
        ("gelu", 0.01, "unknown activation 'gelu'; known are leaky_relu, elu and identity"),
        ("leaky_relu", 0.0, "slope of leaky_relu must be greater than 0 to be inverted, not 0.0"),
        ("leaky_relu", -0.5, "not -0.5"),
        ("leaky_relu", float("nan"), "not nan"),
        ("elu", 0.0, "slope of elu"),
    ],
)
def test_activation_that_cannot_be_inverted_is_refused(activation: str, slope: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_activation(activation, slope)


@pytest.mark.parametrize(("activation", "slope"), [*ACTIVATIONS, ("identity", 0.0)])
def test_activation_that_can_be_inverted_is_accepted(activation: str, slope: float) -> None:
    check_activation(activation, slope)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@activations
def test_inplace_abn_on_a_gpu_equals_the_cpu(activation: Activation, slope: float) -> None:
    def run(device: str) -> list[Any]:
        gamma, beta = parameters(3)
        inputs = [tensor.to(device).requires_grad_() for tensor in (random(4, 3, 6, 5), gamma, beta)]
        z = norm(inputs[0], inputs[1], inputs[2], activation, slope, True)
        return [tensor.cpu() for tensor in (z, *torch.autograd.grad((z**3).sum(), inputs))]

    for found, expected in zip(run("cuda"), run("cpu"), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("share", [torch.utils.dlpack.from_dlpack, lambda base: torch.from_numpy(base.numpy())])
def test_memory_shared_with_another_library_is_copied(share: Callable[[Tensor], Tensor]) -> None:
    base = torch.arange(16.0).reshape(1, 4, 2, 2)
    before = base.clone()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            InPlaceABN(4)(share(base))
        assert torch.equal(base, before)
