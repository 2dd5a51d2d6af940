from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.norm import NormThenActivation, stir
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.norm import AffineAct, GroupNormAct
from seamseg.ops.inplace_abn import Activation, Scale

ACTIVATIONS: list[Activation] = ["leaky_relu", "elu", "identity"]
SCALES: list[Scale] = ["abs", "signed"]

activations = pytest.mark.parametrize("activation", ACTIVATIONS)
scales = pytest.mark.parametrize("scale", SCALES)
kinds = pytest.mark.parametrize("kind", [ABN, InPlaceABN, InPlaceABNSync])
residuals = pytest.mark.parametrize("has_residual", [False, True], ids=["alone", "residual"])
layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["planar", "channels last"])

pytestmark = pytest.mark.filterwarnings("ignore:synchronized norms without a process group")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def laid_out(x: Tensor, channels_last: bool) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if channels_last else x.contiguous()


def running(norm: ABN) -> list[list[float]]:
    return [buffer.tolist() for buffer in norm.buffers()]


@kinds
@scales
@activations
@residuals
@layouts
@pytest.mark.parametrize("shape", [(7, 5), (3, 5, 4), (4, 5, 6, 7), (2, 5, 3, 2, 3)], ids=str)
def test_equals_batch_norm_and_activation(
    kind: type[ABN],
    scale: Scale,
    activation: Activation,
    shape: tuple[int, ...],
    channels_last: bool,
    has_residual: bool,
) -> None:
    """Three steps of training, then inference: values, gradients, running statistics, layout."""
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


@kinds
@scales
@activations
@residuals
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_gradients(
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


@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=5).filter(lambda shape: shape[0] > 1),
    st.sampled_from(ACTIVATIONS),
    st.sampled_from(SCALES),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_in_place_equals_out_of_place(
    shape: list[int], activation: Activation, scale: Scale, training: bool, channels_last: bool, has_residual: bool
) -> None:
    norms = [kind(shape[1], activation, 0.3, scale=scale).double().train(training) for kind in (ABN, InPlaceABN)]
    results = []
    for norm in norms:
        stir(norm)
        inputs = [random(*shape, seed=seed, dtype=torch.float64) for seed in range(1 + has_residual)]
        inputs = [laid_out(x, channels_last).requires_grad_() for x in inputs]
        z = norm(inputs[0] * 1, *inputs[1:])
        upstream = random(*shape, seed=5, dtype=torch.float64)
        results.append([z, *torch.autograd.grad(z, [*inputs, *norm.parameters()], upstream), *norm.buffers()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@kinds
def test_without_momentum_the_average_is_cumulative(kind: type[ABN]) -> None:
    norm = kind(3, momentum=None)
    batches = [random(4, 3, 5, seed=step) * (step + 1) + step for step in range(4)]
    norm(torch.zeros(0, 3, 5))  # nothing, which does not count
    for batch in batches:
        norm(batch.clone())
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean((0, 2)) for b in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var((0, 2)) for b in batches]).mean(0))
    assert norm.num_batches_tracked == 4


@pytest.mark.parametrize("kind", [InPlaceABN, InPlaceABNSync])
def test_the_input_is_overwritten(kind: type[ABN]) -> None:
    x = random(2, 3, 4, 4)
    before = x.clone()
    z = kind(3)(x)
    assert z.data_ptr() == x.data_ptr()
    assert torch.equal(z, x)
    assert not torch.equal(x, before)


def test_out_of_place_the_input_stays() -> None:
    x = random(2, 3, 4, 4)
    before = x.clone()
    ABN(3)(x)
    assert torch.equal(x, before)


@kinds
@scales
def test_a_weight_of_zero_moves_as_if_it_were_positive(kind: type[ABN], scale: Scale) -> None:
    norm = kind(3, "leaky_relu", 0.01, scale=scale).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.0, -0.0, 1e-9]))
        norm.bias.fill_(0.3)
    assert norm.gamma().tolist() == pytest.approx([1e-5, 1e-5, 1e-5 + 1e-9], rel=1e-9)
    x, upstream = random(6, 3, dtype=torch.float64), random(6, 3, seed=1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(norm(x.clone()), norm.weight, upstream)
    normalized = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    # The tiny factor leaves every value near the bias, on the positive side.
    torch.testing.assert_close(gradient, (normalized * upstream).sum(0), rtol=1e-5, atol=1e-6)


def test_factors_of_both_scales_keep_away_from_zero() -> None:
    weight = torch.tensor([2.0, -2.0, 0.0, -1e-7])
    for scale, expected in (("abs", [2 + 1e-5, 2 + 1e-5, 1e-5, 1.01e-5]), ("signed", [2.00001, -2.00001, 1e-5])):
        norm = InPlaceABN(4, scale=scale)  # type: ignore[arg-type]
        norm.load_state_dict(norm.state_dict() | {"weight": weight})
        assert norm.gamma()[: len(expected)].tolist() == pytest.approx(expected, rel=1e-6)
    assert norm.gamma()[3].item() == pytest.approx(-1.01e-5)


def test_state_dict_names_are_those_of_batch_norm() -> None:
    expected = {name: tuple(value.shape) for name, value in nn.BatchNorm2d(4).state_dict().items()}
    for norm in (ABN(4), InPlaceABN(4), InPlaceABNSync(4), AffineAct(4)):
        assert {name: tuple(value.shape) for name, value in norm.state_dict().items()} == expected
    assert set(GroupNormAct(4, 2).state_dict()) == {"weight", "bias"}


@kinds
@activations
def test_an_empty_batch_gives_zero_gradients_and_teaches_nothing(kind: type[ABN], activation: Activation) -> None:
    norm = kind(3, activation)
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
def test_one_sample_per_channel_has_no_variance(kind: type[ABN], shape: tuple[int, ...]) -> None:
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
def test_frozen_norms_use_stored_statistics_and_still_pass_gradients(kind: type[ABN]) -> None:
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


@kinds
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_half_types_keep_their_type_and_statistics_stay_single(kind: type[ABN], training: bool) -> None:
    norm = kind(3).train(training)
    stir(norm)
    single = copy.deepcopy(norm)
    x = random(8, 3, 6, 6).bfloat16()
    leaf = x.clone().requires_grad_()
    z = norm(leaf * 1)
    z.float().square().sum().backward()
    assert (z.dtype, leaf.grad is not None and leaf.grad.dtype) == (torch.bfloat16, torch.bfloat16)
    assert {buffer.dtype for buffer in norm.buffers()} == {torch.float32, torch.int64}
    assert norm.weight.grad is not None
    assert norm.weight.grad.dtype == torch.float32
    torch.testing.assert_close(z.float(), single(x.float()), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(norm.running_var, single.running_var, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [ABN, InPlaceABN, AffineAct, GroupNormAct])
def test_activations_that_cannot_be_inverted_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="cannot use relu"):
        kind(16, activation="relu")
    with pytest.raises(ValueError, match="slope of elu must be greater than 0"):
        kind(16, activation="elu", slope=0.0)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(
    ("x", "residual", "message"),
    [
        (torch.zeros(2, 4), None, r"norm over 3 channels got an input of shape \(2, 4\)"),
        (torch.zeros(3), None, r"of shape \(3,\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 1), r"residual of a norm is torch\.float32 \(2, 3, 1\) and its input"),
        (torch.zeros(2, 3), torch.zeros(2, 3).double(), r"residual of a norm is torch\.float64 .* must be the same"),
        (torch.zeros(2, 3, device="meta"), None, r"weight of a norm is on cpu and its input on meta; move one"),
        (torch.zeros(2, 3), torch.zeros(2, 3, device="meta"), r"residual of a norm is on meta and its input on cpu"),
        (torch.zeros(2, 3, dtype=torch.int64), None, "must be float32, float64, bfloat16 or float16"),
        (torch.zeros(2, 3, dtype=torch.complex64), None, "must be float32, float64, bfloat16 or float16"),
    ],
)
def test_what_does_not_fit_is_refused(x: Tensor, residual: Tensor | None, message: str, training: bool) -> None:
    norm = InPlaceABN(3).train(training)
    before = running(norm)
    with pytest.raises(ValueError, match=message):
        norm(x, residual)
    assert running(norm) == before


@pytest.mark.parametrize("eps", [0.0, -1e-5, float("nan")])
def test_an_eps_that_keeps_nothing_from_zero_is_refused(eps: float) -> None:
    with pytest.raises(ValueError, match="eps of a norm must be greater than 0"):
        ABN(3, eps=eps)


def test_a_slope_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="must be greater than 0 to be inverted, not nan"):
        InPlaceABN(3, slope=float("nan"))


@kinds
def test_no_channels_are_no_work(kind: type[ABN]) -> None:
    for shape in ((2, 0), (2, 0, 3, 3), (0, 0)):
        assert kind(0)(torch.zeros(shape)).shape == shape
