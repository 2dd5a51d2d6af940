"""Values, gradients, running statistics and refusals of the norms with batch statistics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from oracles.norm import NormThenActivation, stir
from support.pairwise import pairwise
from torch import Tensor
from torch.autograd import gradcheck
from torch.func import functional_call

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.norm import AffineAct, GroupNormAct
from seamseg.ops.inplace_abn import Activation, Scale

ACTIVATIONS: list[Activation] = ["leaky_relu", "elu", "identity"]
SCALES: list[Scale] = ["abs", "signed"]

KINDS: list[type[ABN]] = [ABN, InPlaceABN, InPlaceABNSync]
SHAPES = [(7, 5), (3, 5, 4), (4, 5, 6, 7), (2, 5, 3, 2, 3)]
BOTH = [False, True]

kinds = pytest.mark.parametrize("kind", KINDS)

pytestmark = pytest.mark.filterwarnings("ignore:synchronized norms without a process group")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def laid_out(x: Tensor, channels_last: bool) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if channels_last else x.contiguous()


def running(norm: ABN) -> list[list[float]]:
    return [buffer.tolist() for buffer in norm.buffers()]


@pytest.mark.parametrize(
    ("kind", "scale", "activation", "shape", "channels_last", "has_residual"),
    pairwise(KINDS, SCALES, ACTIVATIONS, SHAPES, BOTH, BOTH),
)
def test_norm_over_training_and_inference_equals_batch_norm_and_activation(
    kind: type[ABN],
    scale: Scale,
    activation: Activation,
    shape: tuple[int, ...],
    channels_last: bool,
    has_residual: bool,
) -> None:
    """Compare values, gradients, running statistics and strides in three training steps and one of inference."""
    norm = kind(5, activation, 0.1, scale=scale)
    stir(norm)
    expected = NormThenActivation(norm.weight, norm.bias, activation, 0.1, scale)
    expected.running_mean.copy_(norm.running_mean)
    expected.running_var.copy_(norm.running_var)
    for step in range(4):
        if step == 3:
            norm.eval()
            expected.eval()
        x, upstream = random(*shape, seed=step) * 2 + 1, random(*shape, seed=10 + step)
        results: list[list[Tensor]] = []
        for module in (norm, expected):
            leaf = laid_out(x, channels_last).requires_grad_()
            shortcut = [laid_out(random(*shape, seed=20 + step), channels_last).requires_grad_()] * has_residual
            z = module(leaf * 1, *shortcut)
            inputs = [leaf, module.weight, module.bias, *shortcut]
            results.append([z, *torch.autograd.grad(z, inputs, upstream)])
            if module is norm and kind is not ABN:
                assert z.stride() == results[0][1].stride() == leaf.stride()
        for found, wanted in zip(*results, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * max(1, wanted.detach().abs().max().item()))
        torch.testing.assert_close(norm.running_mean, expected.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.running_var, expected.running_var, rtol=1e-5, atol=1e-6)
    assert norm.num_batches_tracked == 3


@pytest.mark.parametrize(
    ("kind", "scale", "activation", "training", "affine", "has_residual"),
    pairwise(KINDS, SCALES, ACTIVATIONS, BOTH, BOTH, BOTH),
)
def test_gradients_equal_finite_differences(
    kind: type[ABN], scale: Scale, activation: Activation, training: bool, affine: bool, has_residual: bool
) -> None:
    norm = kind(3, activation, 0.2, scale=scale, affine=affine).double().train(training)
    stir(norm)
    names = [name for name, _ in norm.named_parameters()]
    tensors = [random(4, 3, 2, seed=seed, dtype=torch.float64).requires_grad_() for seed in range(1 + has_residual)]
    assert len(names) == 2 * affine

    def call(*inputs: Tensor) -> Any:
        buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}
        x, *residual = inputs[: len(tensors)]
        parameters = dict(zip(names, inputs[len(tensors) :], strict=True))
        return functional_call(norm, {**parameters, **buffers}, (x * 1, *residual))

    assert gradcheck(call, [*tensors, *norm.parameters()], nondet_tol=1e-12)


@kinds
def test_momentum_none_gives_cumulative_averages(kind: type[ABN]) -> None:
    norm = kind(3, momentum=None)
    batches = [random(4, 3, 5, seed=step) * (step + 1) + step for step in range(4)]
    norm(torch.zeros(0, 3, 5))  # empty, so it does not count
    for batch in batches:
        norm(batch.clone())
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean((0, 2)) for b in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var((0, 2)) for b in batches]).mean(0))
    assert norm.num_batches_tracked == 4


@kinds
def test_only_in_place_norms_overwrite_their_input(kind: type[ABN]) -> None:
    x = random(2, 3, 4, 4)
    before = x.clone()
    z = kind(3)(x)
    assert torch.equal(x, before if kind is ABN else z)
    assert (z.data_ptr() == x.data_ptr()) == (kind is not ABN)
    assert not torch.equal(z, before)


@pytest.mark.parametrize(("kind", "scale"), [(ABN, "abs"), (InPlaceABN, "abs"), (InPlaceABN, "signed")])
def test_weight_of_zero_gets_the_gradient_of_a_positive_weight(kind: type[ABN], scale: Scale) -> None:
    norm = kind(3, "leaky_relu", 0.01, scale=scale).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.0, -0.0, 1e-9]))
        norm.bias.fill_(0.3)
    assert norm.gamma().tolist() == pytest.approx([1e-5, 1e-5, 1e-5 + 1e-9], rel=1e-9)
    x, upstream = random(6, 3, dtype=torch.float64), random(6, 3, seed=1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(norm(x.clone()), norm.weight, upstream)
    normalized = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    # The tiny gamma leaves every value near the bias, which is positive.
    torch.testing.assert_close(gradient, (normalized * upstream).sum(0), rtol=1e-5, atol=1e-6)


def test_gamma_of_both_scales_is_at_least_eps() -> None:
    weight = torch.tensor([2.0, -2.0, 0.0, -1e-7])
    for scale, expected in (("abs", [2 + 1e-5, 2 + 1e-5, 1e-5, 1.01e-5]), ("signed", [2.00001, -2.00001, 1e-5])):
        norm = InPlaceABN(4, scale=scale)  # type: ignore[arg-type]
        norm.load_state_dict(norm.state_dict() | {"weight": weight})
        assert norm.gamma()[: len(expected)].tolist() == pytest.approx(expected, rel=1e-6)
    assert norm.gamma()[3].item() == pytest.approx(-1.01e-5)


@pytest.mark.parametrize(("kind", "activation", "training"), pairwise(KINDS, ACTIVATIONS, BOTH))
def test_empty_batch_gives_zero_gradients_and_keeps_the_statistics(
    kind: type[ABN], activation: Activation, training: bool
) -> None:
    norm = kind(3, activation).train(training)
    stir(norm)
    before = running(norm)
    x = torch.zeros(0, 3, 2, 2, requires_grad=True)
    z = norm(x * 1)
    assert z.shape == (0, 3, 2, 2)
    z.sum().backward()
    assert running(norm) == before
    assert x.grad is not None
    for parameter in norm.parameters():
        assert parameter.grad is not None
        assert parameter.grad.tolist() == [0, 0, 0]


@kinds
@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)], ids=str)
def test_one_sample_per_channel_is_refused_in_training(kind: type[ABN], shape: tuple[int, ...]) -> None:
    norm = kind(3)
    before = running(norm)
    with pytest.raises(ValueError, match=r"norm over 3 channels got one sample per channel .* norm\.name=gn"):
        norm(torch.zeros(shape))
    assert running(norm) == before
    norm(torch.zeros(2, *shape[1:]))
    norm.eval()(torch.zeros(shape))
    frozen = kind(3)
    frozen.freeze()
    frozen(torch.zeros(shape))


@kinds
def test_frozen_norm_uses_running_statistics_and_passes_gradients_to_its_input(kind: type[ABN]) -> None:
    norm = kind(3)
    stir(norm)
    before = copy.deepcopy(norm.state_dict())
    x = random(4, 3, 5)
    expected = norm.eval()(x.clone())
    norm.freeze()
    norm.train()
    leaf = x.clone().requires_grad_()
    z = norm(leaf * 1)
    torch.testing.assert_close(z, expected)
    z.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.count_nonzero() == leaf.numel()
    assert all(parameter.grad is None for parameter in norm.parameters())
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_activation_that_cannot_be_inverted_is_refused_in_place() -> None:
    with pytest.raises(ValueError, match="cannot use relu"):
        ABN(16, activation="relu")


@pytest.mark.parametrize("kind", [ABN, AffineAct, GroupNormAct])
def test_elu_with_slope_zero_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="slope of elu must be greater than 0"):
        kind(16, activation="elu", slope=0.0)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(
    ("x", "residual", "message"),
    [
        (torch.zeros(2, 4), None, r"norm over 3 channels got an input of shape \(2, 4\)"),
        (torch.zeros(3), None, r"of shape \(3,\)"),
        (torch.zeros(2, 1, 3), None, r"of shape \(2, 1, 3\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 1), r"residual of a norm is torch\.float32 \(2, 3, 1\) and its input"),
        (torch.zeros(2, 3), torch.zeros(2, 3).double(), r"residual of a norm is torch\.float64 .* must be the same"),
        (torch.zeros(2, 3, device="meta"), None, r"weight of a norm is on cpu and its input on meta; move one"),
        (torch.zeros(2, 3), torch.zeros(2, 3, device="meta"), r"residual of a norm is on meta and its input on cpu"),
        (torch.zeros(2, 3, dtype=torch.int64), None, "must be float32, float64, bfloat16 or float16"),
        (torch.zeros(2, 3, dtype=torch.complex64), None, "must be float32, float64, bfloat16 or float16"),
    ],
)
def test_input_or_residual_that_does_not_fit_is_refused(
    x: Tensor, residual: Tensor | None, message: str, training: bool
) -> None:
    kinds_with_check: list[type[ABN]] = [ABN, InPlaceABN] if "shape" in message else [InPlaceABN]
    for kind in kinds_with_check:
        norm = kind(3).train(training)
        before = running(norm)
        with pytest.raises(ValueError, match=message):
            norm(x, residual)
        assert running(norm) == before


def test_residual_that_would_broadcast_is_refused_out_of_place() -> None:
    with pytest.raises(ValueError, match=r"residual of a norm .* \(1, 3, 4\)"):
        ABN(3)(torch.zeros(2, 3, 4), torch.zeros(1, 3, 4))


@pytest.mark.parametrize("eps", [0.0, -1e-5, float("nan")])
def test_eps_that_is_not_positive_is_refused(eps: float) -> None:
    with pytest.raises(ValueError, match="eps of a norm must be greater than 0"):
        ABN(3, eps=eps)


@kinds
def test_zero_channels_give_an_empty_output(kind: type[ABN]) -> None:
    for shape in ((2, 0), (2, 0, 3, 3), (0, 0)):
        assert kind(0)(torch.zeros(shape)).shape == shape
